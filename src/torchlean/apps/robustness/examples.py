"""Labelled examples as a program takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean import data
from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.run.program import Program

INPUTS, LABELS = ("x", "X", "images"), ("y", "Y", "labels")


@dataclass(frozen=True)
class Examples:
    """Inputs and class labels.

    Shapes   x: float32 [n, *shape of the program's input, symbols as 1]   y: int64 [n]
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


def read_examples(
    path: str | os.PathLike[str],
    program: Program,
    count: int | None = None,
    scale: Fraction = Fraction(1),
    target: str = "label",
) -> Examples:
    """The first `count` examples of a file.

    path     .npz with the arrays x, X or images, and y, Y or labels; else CSV with a column `target`
    scale    values are divided by it, in float64, and rounded to float32 once
    Raises   FileError; DataError: no such array, no example, values that are not finite, labels that are no class of
             the program; ShapeError: examples that do not fit the program's input
    """
    name = os.fspath(path)
    if Path(name).suffix in (".npz", ".npy"):
        arrays = data.load(name)
        x, y = _named(arrays, INPUTS, name), _named(arrays, LABELS, name)
    else:
        table = data.csv(name, target=target)
        x, y = table.x, table.y[:, 0]
    _check(x, y, name)
    x, y = x[:count], y[:count]
    with np.errstate(over="ignore"):
        scaled = (x.astype(np.float64) / float(scale)).astype(np.float32)
    if not bool(np.isfinite(scaled).all()):
        raise _bad("the examples must be finite", name, "finite float32 values", "NaN or infinity",
                   "repair the values, or correct --scale")  # fmt: skip
    examples = Examples(np.ascontiguousarray(_fitted(scaled, program, name)), y.astype(np.int64))
    classes = classes_of(program)
    if not bool(((examples.y >= 0) & (examples.y < classes)).all()):
        k = int(np.flatnonzero((examples.y < 0) | (examples.y >= classes))[0])
        raise _bad("a label is no class of the program", f"{name}, example {k}", f"0 to {classes - 1}",
                   str(examples.y[k]), "count classes from 0, and use the program that has them")  # fmt: skip
    return examples


def classes_of(program: Program) -> int:
    """How many classes the only output has. Raises UsageError where there is another output, or one value only."""
    program = program.specialise(**dict.fromkeys(program.graph.symbols(), 1))
    outputs = program.graph.outputs
    size = prod(program.graph.type(outputs[0][1]).sizes)
    if len(outputs) != 1 or size < 2:
        raise UsageError("robustness is about a classifier", where="the program's outputs",
                         expected="one output with one value for each of two classes or more",
                         got=", ".join(f"{n}: {program.graph.type(v)}" for n, v in outputs),
                         fix="export the network up to its logits")  # fmt: skip
    return size


def _check(x: NDArray[Any], y: NDArray[Any], name: str) -> None:
    if x.dtype.kind not in "fiu" or x.ndim < 2:
        raise _bad("the examples must be arrays of numbers", name, "[n, ...] integers or floats",
                   f"{x.dtype}{list(x.shape)}", "save images or rows of features")  # fmt: skip
    if y.size != len(y) if y.ndim else True:
        raise _bad("the labels must be one number each", name, f"[{len(x)}]", str(list(y.shape)), "save class numbers")
    whole = y.dtype.kind in "iu" or (y.dtype.kind == "f" and bool((y == np.rint(y)).all()))  # false for NaN
    if len(y) != len(x) or not whole:
        raise _bad("each example needs a whole number as its label", name, f"{len(x)} whole numbers",
                   f"{y.dtype}{list(y.shape)}", "save one class number for each example")  # fmt: skip
    if len(y) == 0:
        raise _bad("there is no example", name, "one or more", "none", "name a file that holds examples")


def _named(arrays: dict[str, NDArray[Any]], names: tuple[str, ...], path: str) -> NDArray[Any]:
    for name in names:
        if name in arrays:
            return arrays[name].ravel() if names is LABELS and arrays[name].ndim > 1 else arrays[name]
    raise _bad("the file lacks an array", path, " or ".join(names), ", ".join(arrays) or "no arrays",
               "save it with numpy.savez(path, x=images, y=labels)")  # fmt: skip


def _fitted(x: NDArray[np.float32], program: Program, where: str) -> NDArray[np.float32]:
    """The examples in the program's shape: equal up to axes of size 1, one channel or none flattened row-major, or
    channels moved from the last axis to the first.
    """
    wanted = tuple(n if isinstance(n, int) else 1 for n in program.input_type.shape)
    have, want = ([n for n in shape if n != 1] for shape in (x.shape[1:], wanted))
    if program.input_type.dtype.numpy == "float32":
        if have == want or (len(want) == 1 and len(have) <= 2 and prod(have) == want[0]):
            return x.reshape(len(x), *wanted)
        if len(have) == 3 and [have[2], *have[:2]] == want:
            return np.moveaxis(x.reshape(len(x), *have), 3, 1).reshape(len(x), *wanted)
    raise ShapeError("the examples do not fit the program's input", where=where,
                     expected=f"[n, ...] like {program.input_type}, channels first or last",
                     got=f"{list(x.shape)}",
                     fix="save them in the program's shape; several channels are not flattened here")  # fmt: skip


def _bad(what: str, where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(what, where=where, expected=expected, got=got, fix=fix)
