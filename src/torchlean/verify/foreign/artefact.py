"""An artefact's bytes: which tool they are from, told from what they hold; no byte of them is ever run."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from torchlean.errors import FileError, Unsupported
from torchlean.verify.dual import Boxes
from torchlean.verify.foreign.cases import Hints, refuse
from torchlean.verify.foreign.crown import HISTORY, read_bounds, read_domains
from torchlean.verify.problem import Problem
from torchlean_check.network import Affine, Input, Relu

WHERE = "artefact"
KNOWN = ("Marabou's JSON proof, alpha-beta-CROWN histories (torch.save or JSON), "
         "LiRPA bounds (torch.save, npz or safetensors)")  # fmt: skip


def read_artefact(data: bytes, problem: Problem) -> Hints:
    """What the bytes say about the problem's network and region. Raises FileError, Unsupported."""
    others = {type(node).__name__ for node in problem.network.nodes if not isinstance(node, (Input, Affine, Relu))}
    if others:
        raise Unsupported("artefacts are read for networks of affine nodes and relus", where=WHERE,
                          expected="Affine and Relu", got=", ".join(sorted(others)),
                          fix="torchlean verify")  # fmt: skip
    boxes: Boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in problem.kernel.start().boxes.items()}
    content = _load(data)
    if isinstance(content, Mapping) and "proof" in content:
        from torchlean.verify.foreign.marabou import read_proof

        return read_proof(content, problem.target)
    if isinstance(content, list) or (isinstance(content, Mapping) and any(name in content for name in HISTORY)):
        return read_domains(content, problem.network, boxes)
    if isinstance(content, Mapping) and content and all(isinstance(name, str) for name in content):
        if all(_is_bound(value) for value in content.values()):
            return read_bounds(content, boxes)
        if "results" in content:
            raise Unsupported("the file holds a tool's results, and no leaves", where=WHERE, expected=KNOWN,
                              got=", ".join(content)[:200], fix="save the domains' histories")  # fmt: skip
    got = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise refuse("the artefact is of no known kind", WHERE, KNOWN, got)


def _is_bound(value: Any) -> bool:
    return hasattr(value, "shape") or (isinstance(value, (tuple, list)) and len(value) == 2)


def _load(data: bytes) -> Any:
    """The file's values. Raises FileError, Unsupported."""
    start = data.lstrip()[:1]
    if start in (b"{", b"["):
        return _json(data)
    if start in (b"(", b";"):
        raise Unsupported("an SMT-LIB or Alethe proof is not read", where=WHERE, expected=KNOWN,
                          got=data[:60].decode(errors="replace"), fix="let Marabou write its JSON proof")  # fmt: skip
    if data[:4] == b"PK\x03\x04":
        return _zip(data)
    if data[:1] == b"\x80":
        return _torch(data)
    if data[8:9] == b"{":
        return _safetensors(data)
    raise refuse("the artefact is of no known kind", WHERE, KNOWN, data[:16])


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise Unsupported("the JSON is nested too deeply", where=WHERE, expected="about 400 splits on one path at most",
                          got="more", fix="split the property into smaller regions") from None  # fmt: skip
    except (ValueError, UnicodeDecodeError) as error:
        raise refuse("the artefact is not JSON", WHERE, "one JSON value", error) from None


def _zip(data: bytes) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            names = file.namelist()
            if not any(name.endswith(".npy") for name in names):
                return _torch(data)
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise refuse("the archive cannot be read", WHERE, "npz of plain arrays, or a file of torch.save",
                     error) from None  # fmt: skip


def _torch(data: bytes) -> Any:
    """Tensors, numbers, strings and their containers: what torch's restricted loader lets through."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles by newer protocols, which are refused below
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise FileError("the file is none of torch.save, or holds more than tensors, numbers and names", where=WHERE,
                        expected="tensors, numbers, strings, lists, tuples and dicts; a plain pickle is never loaded",
                        got=str(error).splitlines()[0][:160] if str(error) else type(error).__name__,
                        fix="torch.save({'history': [...]}, path)") from None  # fmt: skip


def _safetensors(data: bytes) -> Any:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise refuse("the safetensors file is damaged", WHERE, "a whole file", error) from None
