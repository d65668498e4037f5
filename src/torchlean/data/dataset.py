"""A dataset: inputs and targets with one row each, in a seeded order.

Shuffling sorts the raw output of Philox, a counter-based generator whose bits numpy guarantees, so a seed gives the
same order on every machine and version, with torch or without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import DataError, ShapeError, UsageError

Array = NDArray[Any]
Indices = NDArray[np.int64]

_SPLIT, _SHUFFLE = 1, 2  # what an order is for: a split must not repeat the order of an epoch


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of inputs and targets.

    x        [n, *features], float32 or an integer type
    y        [n, *targets], float32, or int64 class labels [n]
    names    what the columns of x are called, where x is a table; () elsewhere
    targets  what the columns of y are called; () elsewhere
    missing  rows of the source that were left out because a value was missing
    Errors   ShapeError where the counts do not fit; DataError where a value is NaN or infinite, or there is no row
    """

    x: Array
    y: Array
    names: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    missing: int = 0

    def __post_init__(self) -> None:
        if self.x.ndim == 0 or self.y.ndim == 0 or len(self.x) != len(self.y):
            raise _shape("x and y need one row for each example", f"x: [n, ...], y: [n, ...], not {self._shapes()}")
        if self.names and (self.x.ndim != 2 or self.x.shape[1] != len(self.names)):
            raise _shape(
                "a table needs a name for each column of x", f"x: [n, {len(self.names)}], not {self._shapes()}"
            )
        if len(self.x) == 0:
            raise DataError(
                "a dataset must have at least one row",
                where="Dataset",
                expected="one row or more",
                got="none",
                fix="check the file, and how many rows were left out for missing values",
            )
        for name, array in (("x", self.x), ("y", self.y)):
            if array.dtype.kind not in "fiub":
                raise _shape(f"{name} must hold numbers", f"a float, integer or bool array, not {array.dtype}")
            if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
                raise _not_finite(name, array)

    def __len__(self) -> int:
        return len(self.x)

    def columns(self, *names: str) -> tuple[int, ...]:
        """The positions of the named columns of x.

        Errors   UsageError that lists the names there are
        """
        for name in names:
            if name not in self.names:
                raise UsageError(
                    "no column has this name",
                    where=f"columns({name!r})",
                    expected=", ".join(self.names) or "a dataset that has column names",
                    got=name,
                    fix="use one of these names",
                )
        return tuple(self.names.index(name) for name in names)

    def take(self, rows: Sequence[int] | Indices) -> Dataset:
        """The given rows, in the given order."""
        chosen = np.asarray(rows, np.int64)
        return Dataset(self.x[chosen], self.y[chosen], self.names, self.targets, self.missing)

    def split(self, fraction: float, *, seed: int) -> tuple[Dataset, Dataset]:
        """Two datasets without a common row: round(fraction * n) rows that the seed draws, and the rest; in file order.

        Errors   UsageError when either would be empty
        """
        first = round(fraction * len(self)) if 0 < fraction < 1 else 0
        if not 0 < first < len(self):
            raise UsageError(
                "a split must leave rows on both sides",
                where=f"split({fraction})",
                expected=f"a fraction between 0 and 1 that gives 1 to {len(self) - 1} of {len(self)} rows",
                got=str(fraction),
                fix="split(0.8, seed=0)",
            )
        order = _order(len(self), seed, 0, _SPLIT)
        return self.take(np.sort(order[:first])), self.take(np.sort(order[first:]))

    def order(self, *, seed: int, epoch: int = 0) -> Indices:
        """The order of the rows in one epoch: a permutation that depends on seed and epoch alone."""
        return _order(len(self), seed, epoch, _SHUFFLE)

    def batches(
        self, batch_size: int, *, seed: int | None = None, epoch: int = 0, last: Literal["keep", "drop"] = "keep"
    ) -> Iterator[tuple[Array, Array]]:
        """One epoch: every row once.

        seed     shuffles; None keeps the order of the rows
        last     what becomes of the rows that do not fill a batch: a smaller batch, or left out of this epoch
        Errors   UsageError for a batch size that is not positive, or larger than the dataset when `last` is "drop"
        """
        size = self._batch_size(batch_size, full=last == "drop")
        rows = np.arange(len(self)) if seed is None else self.order(seed=seed, epoch=epoch)
        end = len(rows) - len(rows) % size if last == "drop" else len(rows)
        for start in range(0, end, size):
            chosen = rows[start : start + size]
            yield self.x[chosen], self.y[chosen]

    def stream(self, batch_size: int, *, seed: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """Full batches without end, a new order each epoch; the rows left over in an epoch are left out of it.

        start    how many batches have been drawn before: a resumed run continues where it stopped
        Errors   UsageError for a batch size that is not positive or larger than the dataset
        """
        size = self._batch_size(batch_size, full=True)
        first, skip = divmod(start, len(self) // size)
        for epoch in count(first):
            rows = self.order(seed=seed, epoch=epoch)
            for at in range(skip * size, len(rows) - size + 1, size):
                chosen = rows[at : at + size]
                yield self.x[chosen], self.y[chosen]
            skip = 0

    def _batch_size(self, size: int, *, full: bool) -> int:
        if size < 1 or (full and size > len(self)):
            raise UsageError(
                "the batch size does not fit the dataset",
                where=f"batch_size={size}",
                expected=f"1 to {len(self)}" if full else "at least 1",
                got=str(size),
                fix="give a smaller batch size" if size > 0 else "give a positive batch size",
            )
        return size

    def _shapes(self) -> str:
        return f"x: {list(self.x.shape)}, y: {list(self.y.shape)}"


def _order(n: int, seed: int, epoch: int, purpose: int) -> Indices:
    if seed < 0 or epoch < 0 or max(seed, epoch) >= 1 << 64:
        raise UsageError(
            "a seed is a counter's start",
            where=f"seed={seed}, epoch={epoch}",
            expected="whole numbers from 0 to 2^64 - 1",
            got=f"{seed} and {epoch}",
            fix="give a seed such as 0",
        )
    bits = np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=np.array([0, 0, epoch, 0], np.uint64))
    return np.argsort(bits.random_raw(n), kind="stable").astype(np.int64)


def _shape(what: str, expected: str) -> ShapeError:
    return ShapeError(what, where="Dataset", expected=expected, got="other shapes or types", fix="reshape or convert")


def _not_finite(name: str, array: Array) -> DataError:
    position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return DataError(
        "a dataset must hold finite numbers",
        where=f"{name}{list(position)}",
        expected="a finite number",
        got=str(array[position]),
        fix="repair the value or leave the row out",
    )
