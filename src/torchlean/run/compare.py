"""One result against another, entry by entry: ulps, absolute difference, and whether a promise allows it."""

from __future__ import annotations

import numpy as np

from torchlean.frozen import frozen
from torchlean.run.promises import EXACTLY, NONE

UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@frozen
class Difference:
    """Largest differences over all entries.

    ulps       how many floats lie between the two results, counted along the number line: subnormals and the step from
               the largest number to infinity count one each, -0 and +0 are one place; None where a NaN meets a number
    error      the absolute difference; infinite where an infinity or a NaN meets another value
    use        the largest part of an allowed difference: above 1 it is broken
    outside    entries for which nothing is promised
    broken     the first entry that breaks the promise, in words; empty where there is none
    """

    ulps: int | None
    error: float
    use: float
    outside: int
    broken: str

    @property
    def kept(self) -> bool:
        return not self.broken


def ulps_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many steps along the format's number line lead from x to y.

    Shapes   x, y: [*s], one dtype: a float of 2, 4 or 8 bytes, an integer or a bool -> [*s] uint64
    NaN      is no place on the line: the result is meaningless there.
    """
    a, b = _place(x), _place(y)
    # Two places differ by less than 2^64, so the wrapped difference is the true one.
    return np.where(a >= b, a.view(np.uint64) - b.view(np.uint64), b.view(np.uint64) - a.view(np.uint64))


def _place(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "biu":
        return np.atleast_1d(x.astype(np.int64))
    size = x.dtype.itemsize
    bits = np.atleast_1d(np.ascontiguousarray(x)).view(UNSIGNED[size]).astype(np.uint64)
    top = np.uint64(1 << (8 * size - 1))
    size_of = (bits & (top - np.uint64(1))).astype(np.int64)
    return np.where(bits & top != 0, -size_of, size_of)


def is_float(x: np.ndarray) -> bool:
    """Whether the dtype is a float; ml_dtypes' formats have kind V."""
    return x.dtype.kind in "fV"


def same(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether entries are one number: two NaNs are, and so are -0 and +0."""
    return np.asarray((x == y) | (np.isnan(x) & np.isnan(y)) if is_float(x) else x == y)


def compare(kind: str, reference: np.ndarray, other: np.ndarray, allowed: np.ndarray) -> Difference:
    """Hold `other` to a promise.

    kind       `exact`, `standard` or `none`
    allowed    [*s] or []: the largest difference; infinite where nothing is promised
    """
    if other.shape != reference.shape or other.dtype != reference.dtype:
        got, wanted = (f"{a.dtype}{list(a.shape)}" for a in (other, reference))
        return Difference(None, np.inf, np.inf, 0, f"{got} in place of {wanted}")
    if reference.size == 0:
        return Difference(0, 0.0, 0.0, 0, "")
    allowed = np.broadcast_to(allowed, reference.shape)
    equal = same(reference, other)
    with np.errstate(invalid="ignore", over="ignore"):
        wide = [np.where(np.isfinite(a), a, np.inf).astype(np.float64) for a in map(_numbers, (reference, other))]
        gap = np.abs(wide[0] - wide[1])
    error = np.where(equal, 0.0, np.where(np.isnan(gap), np.inf, gap))
    outside = np.isposinf(allowed) if kind != NONE else np.ones(reference.shape, bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        use = np.where(outside | equal, 0.0, np.where(error > 0, error / allowed, np.inf))
    wrong = ~outside & ~equal & ~(error <= allowed if kind != EXACTLY else np.zeros(reference.shape, bool))
    steps = ulps_between(reference, other).reshape(reference.shape)
    lone = np.isnan(_numbers(reference)) != np.isnan(_numbers(other))
    nans = np.isnan(_numbers(reference)) | np.isnan(_numbers(other))
    ulps = None if lone.any() else int(np.max(np.where(nans, np.uint64(0), steps)))
    return Difference(ulps, float(error.max()), float(use.max()), int(outside.sum()), _first(wrong, reference, other))


def _numbers(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _first(wrong: np.ndarray, reference: np.ndarray, other: np.ndarray) -> str:
    """The first wrong entry in words."""
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    return f"{list(at)}: {other[at]} in place of {reference[at]}"
