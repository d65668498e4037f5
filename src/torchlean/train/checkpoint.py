"""Checkpoints: every state of a run in one safetensors file, so that a resumed run makes the same bits.

Tensors   the trained parameters, the program's states, `optimizer/...`, `history/...`, `best/...`
Header    one metadata entry `torchlean`, JSON: version, step, the run's settings, hash of the program, early stopping
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from torchlean.errors import FileError, UsageError
from torchlean.files import atomic_write, read_bytes

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What must be equal for a resumed run to continue the same run."""

    program: str
    loss: str
    optimizer: str
    batch_size: int
    seed: int
    partial: str
    examples: int
    data: str
    backend: str


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` updates.

    values    every state of the step graph, by name
    arrays    history and early stopping: float64 and int64 arrays by name
    """

    settings: Settings
    step: int
    values: Mapping[str, np.ndarray]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a whole checkpoint or nothing. Raises FileError."""
    from safetensors.numpy import save

    tensors = {f"value/{n}": np.array(a, order="C") for n, a in checkpoint.values.items()}
    tensors |= {f"run/{n}": np.array(a, order="C") for n, a in checkpoint.arrays.items()}
    header = {"version": VERSION, "step": checkpoint.step, "settings": asdict(checkpoint.settings)}
    # One entry: safetensors writes several in no fixed order, and equal runs should make equal files.
    atomic_write(path, save(tensors, {"torchlean": json.dumps(header, sort_keys=True)}))


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint. Raises FileError for a missing, truncated, damaged or foreign file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = read_bytes(path)
    try:
        tensors = load(raw)
        (size,) = struct.unpack("<Q", raw[:8])
        header = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["torchlean"])
        if header["version"] != VERSION:
            raise _damaged(path, f"version {header['version']}")
        step = header["step"]
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise _damaged(path, f"step {step!r}")
        settings = Settings(**header["settings"])
    except (SafetensorError, KeyError, TypeError, ValueError, struct.error) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}"[:200]) from error
    unknown = [n for n in tensors if not n.startswith(("value/", "run/"))]
    if unknown or set(header) != {"version", "step", "settings"}:
        raise _damaged(path, "unknown entries " + ", ".join([*unknown, *sorted(header)]))
    parts: dict[str, dict[str, np.ndarray]] = {"value": {}, "run": {}}
    for name, array in tensors.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = array
    return Checkpoint(settings, step, parts["value"], parts["run"])


def check_fits(path: Any, found: Checkpoint, settings: Settings, values: Mapping[str, np.ndarray]) -> None:
    """A checkpoint continues a run only if all settings and all arrays' types are the run's.

    Raises   FileError for a checkpoint of another program; UsageError for other settings
    """
    if found.settings.program != settings.program:
        raise FileError(
            "the checkpoint belongs to another program",
            where=str(path),
            expected=f"program {settings.program[:16]}",
            got=f"program {found.settings.program[:16]}",
            fix="resume with the program that was trained",
        )
    for name, wanted in asdict(settings).items():
        got = getattr(found.settings, name)
        if got != wanted:
            raise UsageError(
                f"the run has another {name} than the checkpoint",
                where=str(path),
                expected=f"{name}: {got}",
                got=f"{name}: {wanted}",
                fix="resume with the settings of the first part",
            )
    for name in sorted(set(values) ^ set(found.values)):
        raise _misfit(
            path, name, "present" if name in values else "absent", "present" if name in found.values else "absent"
        )
    for name, array in values.items():
        other = found.values[name]
        if (other.shape, other.dtype) != (array.shape, array.dtype):
            raise _misfit(path, name, f"{array.dtype}{list(array.shape)}", f"{other.dtype}{list(other.shape)}")


def _misfit(path: Any, name: str, expected: str, got: str) -> FileError:
    return FileError(
        "an array of the checkpoint does not fit the run",
        where=f"{path}, {name}",
        expected=expected,
        got=got,
        fix="resume with the program and optimizer that were trained",
    )


def _damaged(path: Any, got: str) -> FileError:
    return FileError(
        "the file is not a readable checkpoint",
        where=str(path),
        expected="a complete checkpoint",
        got=got,
        fix="use an earlier checkpoint",
    )
