"""Exact sums and dot products: as rationals, and as arrays rounded once to a format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchlean.errors import ShapeError, UsageError
from torchlean.floats.formats import BINARY64, Format, format_of
from torchlean.floats.rounding import F64, Rounding, rational, round_nearest
from torchlean.floats.sums.accumulator import Accumulator
from torchlean.floats.transforms import two_product

if TYPE_CHECKING:
    import flint


def exact_dot(x: ArrayLike, w: ArrayLike | None = None, bias: float = 0.0) -> flint.fmpq:
    """The sum of x, or the dot product with w, plus bias, as an exact rational. Finite one-dimensional input.

    Slow; the oracle of `rounded_sum` and `rounded_dot`.

    Shapes   x, w: [n]
    """
    xs = np.asarray(x, np.float64)
    ws = np.ones_like(xs) if w is None else np.asarray(w, np.float64)
    total = rational(bias)
    for a, b in zip(xs.tolist(), ws.tolist(), strict=True):
        total += rational(a) * rational(b)
    return total


def rounded_sum(
    x: NDArray[Any], axis: int = -1, fmt: Format | None = None, mode: Rounding = Rounding.NEAREST
) -> NDArray[Any]:
    """The exact sum along one axis, rounded once. No order of the terms, and no cancellation, changes a bit.

    fmt      the format of the result; None: that of x

    Shapes   x: [*s, n, *t] of a float dtype -> [*s, *t] of the format's dtype; n < 2^31
    Error    one rounding: at most half an ulp to nearest, below one ulp directed
    NaN      where a term is NaN or both infinities occur.   Zero   a sum of exactly 0 is +0, that of no terms too
    Overflow as in `round_rational`; sums beyond the format's range on the way do no harm
    Source   Kulisch and Miranker 1986, doi:10.1137/1028001
    """
    x = np.asarray(x)
    fmt = fmt or format_of(x.dtype)
    format_of(x.dtype)
    rows = np.moveaxis(x, axis, -1)
    return _once(rows, None, None, fmt, mode)


def rounded_dot(
    x: NDArray[Any],
    w: NDArray[Any],
    bias: NDArray[Any] | None = None,
    fmt: Format | None = None,
    mode: Rounding = Rounding.NEAREST,
) -> NDArray[Any]:
    """The exact dot product along the last axis, plus bias, rounded once.

    Shapes   x, w: [*s, n] of one float dtype, broadcast; bias: [*s] -> [*s] of the format's dtype
    Error, NaN, Overflow   as in `rounded_sum`; 0 times inf is NaN
    """
    x, w = np.asarray(x), np.asarray(w)
    if x.dtype != w.dtype or (bias is not None and np.asarray(bias).dtype != x.dtype):
        raise UsageError(
            "an exact dot product takes operands of one format",
            where="floats.rounded_dot",
            expected=f"w and bias of dtype {x.dtype}, as x",
            got=f"{w.dtype}" + ("" if bias is None else f" and {np.asarray(bias).dtype}"),
            fix="convert the narrower ones first: that is exact",
        )
    fmt = fmt or format_of(x.dtype)
    try:
        x, w = np.broadcast_arrays(x, w)
        addend = None if bias is None else np.broadcast_to(bias, x.shape[:-1])
    except ValueError:
        raise ShapeError(
            "the operands of a dot product do not broadcast",
            where="floats.rounded_dot",
            expected="x and w: [*s, n], bias: [*s]",
            got=f"{x.shape}, {w.shape}" + ("" if bias is None else f" and {np.shape(bias)}"),
            fix="reshape them to one common shape",
        ) from None
    return _once(x, w, addend, fmt, mode)


_CHUNK = 1 << 15


def _once(
    x: NDArray[Any], w: NDArray[Any] | None, bias: NDArray[Any] | None, fmt: Format, mode: Rounding
) -> NDArray[Any]:
    shape, n = x.shape[:-1], x.shape[-1]
    count = int(np.prod(shape))
    # In float64 the products of narrower formats are exact.
    x2 = x.reshape(count, n)
    w2 = None if w is None else w.reshape(count, n)
    b2 = None if bias is None else bias.reshape(count, 1)
    results = np.empty(count)
    step = max(1, _CHUNK // max(n, 1))
    for start in range(0, count, step):
        cut = slice(start, start + step)
        parts = [None if a is None else a[cut].astype(np.float64) for a in (x2, w2, b2)]
        results[cut] = _rows(parts[0], parts[1], parts[2], x.dtype == np.float64, fmt, mode)  # type: ignore[arg-type]
    return round_nearest(results.reshape(shape), fmt)  # exact already


def _rows(x: F64, w: F64 | None, bias: F64 | None, wide: bool, fmt: Format, mode: Rounding) -> F64:
    if w is None:
        terms, splits = [x], False
    else:
        with np.errstate(all="ignore"):
            terms, splits = [x * w], wide
    if bias is not None:
        terms.append(bias)
    with np.errstate(invalid="ignore"):
        # Of finite operands a product may overflow, which its exact value does not.
        lost = [~np.isfinite(x if w is None else x * 0.0 + w * 0.0)] + [~np.isfinite(b) for b in terms[1:]]
        special = sum(np.where(flags, t, 0.0).sum(axis=1) for t, flags in zip(terms, lost, strict=True))
    broken = np.any([flags.any(axis=1) for flags in lost], axis=0)
    if broken.any():
        x, w = np.where(lost[0], 0.0, x), None if w is None else np.where(lost[0], 0.0, w)
        terms = [x if w is None else x * w, *(np.where(f, 0.0, t) for f, t in zip(lost[1:], terms[1:], strict=True))]
    if splits and w is not None:
        total = _products(x, w, terms[1:])
    else:
        total = _total(terms)
    return np.where(broken, special, total.rounded(fmt, mode))


def _total(terms: list[F64]) -> Accumulator:
    """The exact sum of all terms, [rows, n] each."""
    parts = [part for term in terms for part in _extracted(term)]
    low, high = _exponents(*parts)
    total = Accumulator(len(terms[0]), low, high)
    for part in parts:
        total.add(part)
    return total


_EXTRACTABLE = 2.0**900


def _extracted(x: F64) -> list[F64]:
    """A few columns with the same exact sum as x, by error-free vector transformation; x itself where it is huge.

    With s = 2^k above (n + 2) max |x|, q = (s + x) - s cuts x at a fixed bit: the q add up exactly in any order.
    Source   Rump, Ogita and Oishi 2008, doi:10.1137/050645671, lemma 3.3 (AccSum).
    """
    if x.shape[1] <= 4:
        return [x]
    bits = (x.shape[1] + 1).bit_length()
    sums: list[F64] = []
    while True:
        most = np.max(np.abs(x), axis=1, keepdims=True)
        if not most.any():
            return [np.concatenate(sums, axis=1)] if sums else [most]
        if most.max() > _EXTRACTABLE:
            return [x]
        s = np.ldexp(1.0, np.frexp(most)[1] + bits)
        q = (s + x) - s
        x = x - q
        sums.append(q.sum(axis=1, keepdims=True))


def _exponents(*terms: F64) -> tuple[int, int]:
    """Exponents of the least bit that any number may have, and of the largest number."""
    least, most = np.inf, 0.0
    for term in terms:
        size = np.abs(term)
        least = min(least, float(np.min(size, where=size > 0, initial=np.inf)))
        most = max(most, float(np.max(size, initial=0.0)))
    if most == 0:
        return 0, 0
    return int(np.frexp(least)[1]) - BINARY64.precision, int(np.frexp(most)[1])


def _products(x: F64, w: F64, others: list[F64]) -> Accumulator:
    """The exact sum of float64 products and of further terms."""
    exponents = [_exponents(x), _exponents(w)]
    if all(low > -480 and high < 480 for low, high in exponents):
        return _total([*two_product(x, w), *others])
    # Beyond the range of `two_product` the significands are multiplied and the exponents kept beside.
    (mx, ex), (mw, ew) = np.frexp(x), np.frexp(w)
    exponent = np.where((x == 0) | (w == 0), 0, ex.astype(np.int64) + ew)
    product, rest = two_product(mx, mw)
    low, high = _exponents(*others)
    some = product != 0
    low = min(low, int(np.min(exponent, where=some, initial=0)) - 2 * BINARY64.precision)
    high = max(high, int(np.max(exponent, where=some, initial=0)))
    total = Accumulator(len(x), low, high)
    total.add(product, exponent)
    total.add(rest, exponent)
    for other in others:
        total.add(other)
    return total


__all__ = ["exact_dot", "rounded_dot", "rounded_sum"]
