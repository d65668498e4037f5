"""A dataset as the trainer needs it: two checked arrays in the program's dtypes, and the rows of each step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchlean.data import Dataset
from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.ir import TensorType, i64
from torchlean.run.program import Program
from torchlean.train.metrics import check_labels


@dataclass(frozen=True, eq=False)
class Examples:
    """x [n, *inputs] in the program's dtype and y [n, *outputs], or labels i64[n]."""

    x: np.ndarray
    y: np.ndarray

    def digest(self) -> str:
        """SHA-256 of both arrays: what a checkpoint names its data by."""
        sha = hashlib.sha256()
        for array in (self.x, self.y):
            sha.update(f"{array.dtype}{array.shape}".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


def target_type(program: Program, y: np.ndarray) -> TensorType:
    """The type of a batch of targets: the prediction's for float targets, i64[batch] for labels."""
    ((_, output),) = program.graph.output_types.items()
    if y.dtype.kind == "f":
        return output
    return TensorType((output.shape[0],), i64)


def examples(program: Program, data: Any, name: str = "data") -> Examples:
    """Check a dataset, or a pair (x, y), against a program, and round it once to the program's dtypes.

    A float target [n] of a program that gives [batch, 1] is read as [n, 1].
    Raises   ShapeError where the sizes do not fit, DataError for NaN, infinity, no rows or a label outside the classes,
             UsageError for something that is no dataset
    """
    x, y = _pair(data, name)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ShapeError(
            "x and y have different numbers of examples",
            where=name,
            expected=f"y: [{len(x) if x.ndim else 'n'}, ...]",
            got=f"x: {list(x.shape)}, y: {list(y.shape)}",
            fix="give one target per example",
        )
    if len(x) == 0:
        raise DataError(
            "the dataset has no examples",
            where=name,
            expected="one example or more",
            got="none",
            fix="check how the data were split",
        )
    kind, ((_, output),) = program.input_type, program.graph.output_types.items()
    if len(kind.shape) != x.ndim or any(
        isinstance(s, int) and s != n for s, n in zip(kind.shape[1:], x.shape[1:], strict=True)
    ):
        raise ShapeError(
            "the examples do not fit the program's input",
            where=f"{name}.x",
            expected=f"{kind}",
            got=f"{x.dtype}{list(x.shape)}",
            fix="reshape the examples, or trace the program for this type",
        )
    _finite(f"{name}.x", x)
    _finite(f"{name}.y", y)
    x = np.ascontiguousarray(x.astype(kind.dtype.numpy, copy=False))
    if y.dtype.kind == "f":
        sizes = tuple(int(s) for s in output.shape[1:] if isinstance(s, int))
        if y.shape[1:] != sizes and y.shape[1:] == tuple(s for s in sizes if s != 1):
            y = y.reshape(len(y), *sizes)
        if y.shape[1:] != sizes:
            raise ShapeError(
                "the targets do not fit the program's output",
                where=f"{name}.y",
                expected=f"{output}",
                got=f"{y.dtype}{list(y.shape)}",
                fix="give the model as many outputs as there are targets",
            )
        return Examples(x, np.ascontiguousarray(y.astype(output.dtype.numpy, copy=False)))
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ShapeError(
            "class labels are one integer per example",
            where=f"{name}.y",
            expected="i64[n]",
            got=f"{y.dtype}{list(y.shape)}",
            fix="use float targets for regression",
        )
    y = y.astype(np.int64)
    if isinstance(output.shape[-1], int):
        check_labels(y, output.shape[-1])
    return Examples(x, y)


def _pair(data: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(data, Dataset):
        return data.x, data.y
    if isinstance(data, tuple) and len(data) == 2:
        return np.asarray(data[0]), np.asarray(data[1])
    raise UsageError(
        "a dataset is needed",
        where=name,
        expected="a Dataset, or a pair (x, y) of arrays",
        got=type(data).__name__,
        fix="data.csv(...), or (x, y)",
    )


def _finite(where: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        at = np.argwhere(~np.isfinite(array))[0]
        raise DataError(
            "the data hold a value that is not finite",
            where=f"{where}{[int(i) for i in at]}",
            expected="finite numbers",
            got=str(array[tuple(at)]),
            fix="drop or fill these rows first",
        )
    if array.dtype.kind not in "fiub":
        raise DataError(
            "the data hold something else than numbers",
            where=where,
            expected="a numeric array",
            got=str(array.dtype),
            fix="convert with .astype(np.float32)",
        )


class Order:
    """Which examples each step reads: a new seeded permutation per epoch, a pure function of the step.

    partial   what becomes of the last examples of an epoch that do not fill a batch: `drop` leaves them out of this
              epoch (the next one is shuffled anew), `keep` makes them a smaller batch
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int, partial: str) -> None:
        n = len(examples.x)
        if partial not in ("drop", "keep"):
            raise UsageError(
                "no such policy for the last batch",
                where="fit(partial=...)",
                expected="'drop' or 'keep'",
                got=repr(partial),
                fix="partial='drop'",
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= n:
            raise UsageError(
                "the batch size does not fit the dataset",
                where="fit(batch_size=...)",
                expected=f"1 to {n}",
                got=repr(batch_size),
                fix=f"batch_size={n} makes one batch of all examples",
            )
        self._data = Dataset(np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32))
        self.batch, self.seed = batch_size, seed
        self.per_epoch = n // batch_size if partial == "drop" else -(-n // batch_size)
        self._epoch = -1
        self._rows = np.zeros(0, np.int64)

    def epoch(self, step: int) -> int:
        """The epoch of the update number `step`, both from 0."""
        return step // self.per_epoch

    def rows(self, step: int) -> np.ndarray:
        """i64[batch]: the examples of the update number `step`."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._rows = epoch, self._data.order(seed=self.seed, epoch=epoch)
        return self._rows[place * self.batch : (place + 1) * self.batch]
