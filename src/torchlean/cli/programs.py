"""What commands share: loading a program from a file, and drawing inputs for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from torchlean.errors import FileError, UsageError
from torchlean.run.extremes import extreme_inputs, random_inputs
from torchlean.run.program import Program


def load(path: str) -> Program:
    """A program from an ONNX file (`.onnx`, `.onnx.gz`) or TorchLean's own file form."""
    if path.endswith((".onnx", ".onnx.gz")):
        from torchlean.io.onnx import read_onnx

        return read_onnx(path)
    return Program.load(path)


def read_array(path: str) -> np.ndarray:
    """An `.npy` file. Raises FileError; pickled objects are refused."""
    from torchlean.data import npy

    return npy(Path(path))


def chosen_inputs(
    program: Program, options: Any, *, extremes: bool = False
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The inputs that `--input`, `--batch-size` and `--seed` ask for: a file, or random and perhaps extreme ones."""
    types = program.graph.source_types("input")
    if options.input is not None:
        if len(types) != 1:
            raise UsageError(
                "--input takes a program with one input",
                where="--input",
                expected="one input",
                got=", ".join(types),
                fix="leave --input out",
            )
        yield options.input, {next(iter(types)): fitted(program, read_array(options.input), options.input)}
        return
    sizes = dict.fromkeys(program.graph.symbols(), options.batch_size)
    sized = {n: t.substitute(sizes) for n, t in types.items()}
    yield from random_inputs(sized, options.seed)
    if extremes:
        yield from extreme_inputs(sized, options.seed)


def one_input(program: Program, options: Any) -> tuple[str, dict[str, np.ndarray]]:
    """The file of `--input`, or standard normal numbers; and what to call it."""
    label = "standard normal" if options.input is None else options.input
    return label, dict(chosen_inputs(program, options))[label]


def fitted(program: Program, array: np.ndarray, path: str) -> np.ndarray:
    """An array for the only input: float64 is rounded once, and a missing batch axis is added. Raises FileError."""
    t = program.input_type
    if array.dtype.kind == "f" and t.dtype.kind == "float":
        array = array.astype(t.dtype.numpy)
    if array.ndim == t.rank - 1:
        array = array[None]
    fits = array.ndim == t.rank and all(
        not isinstance(s, int) or s == n for s, n in zip(t.shape, array.shape, strict=True)
    )
    if not fits or array.dtype.name != t.dtype.numpy:
        raise FileError(
            "the array does not fit the program's input",
            where=path,
            expected=str(t),
            got=f"{array.dtype.name}{list(array.shape)}",
            fix="save an array of that shape and dtype",
        )
    return array
