"""Resizing the trailing axes to fixed sizes: the nearest entry, or linear interpolation axis by axis.

Shapes   x: [*b, *sp], size: a number per spatial axis -> [*b, *size]
Floats   nearest moves values: exact. Linear: the reference's weights are quotients of whole numbers; `rounding` covers
         weights from coordinates that are computed in the format
Source   the ONNX operator Resize, opset 13: `align` is its coordinate_transformation_mode
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np

from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.sums import growth
from torchlean.ir import DERIVED, EXACT, EXPAND, LEADING, Linear, Onnx, Op, TensorType
from torchlean.ops.common import UP, Attrs, Types, arity, is_float, only_attrs, refuse

ALIGN = ("half_pixel", "asymmetric", "align_corners")
NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def resize_type(op: str, *names: str) -> Any:
    """The type rule: known sizes along the axes that are resized."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, 1)
        only_attrs(op, attrs, "size", "align", *names)
        is_float(op, *types)
        (x,) = types
        size, mode = tuple(attrs["size"]), attrs.get("mode", "floor")
        old = x.shape[x.rank - len(size) :]
        good = 0 < len(size) <= x.rank and all(isinstance(n, int) and n >= 1 for n in (*size, *old))
        if not good or mode not in NEAREST or attrs["align"] not in ALIGN:
            raise refuse(
                op,
                "needs known sizes and an alignment",
                f"size: up to {x.rank} ints >= 1, align: {', '.join(ALIGN)}, mode: {', '.join(NEAREST)}",
                f"{x}, {dict(attrs)}",
                'size=(8, 8), align="half_pixel"',
            )
        return (x.with_shape((*x.shape[: x.rank - len(size)], *size)),)

    return rule


def coordinates(old: int, new: int, align: str) -> list[Fraction]:
    """Where each of the `new` entries lies among the `old` ones."""
    if align == "align_corners":
        return [Fraction(i * (old - 1), new - 1) if new > 1 else Fraction(0) for i in range(new)]
    shift = Fraction(1, 2) if align == "half_pixel" else Fraction(0)
    return [(i + shift) * Fraction(old, new) - shift for i in range(new)]


def chosen(at: Fraction, mode: str) -> int:
    """The nearest entry's place before it is moved into the range."""
    if mode == "floor":
        return floor(at)
    if mode == "ceil":
        return ceil(at)
    return ceil(at - Fraction(1, 2)) if mode == "round_prefer_floor" else floor(at + Fraction(1, 2))


def resize_nearest_meaning(N: Any, x: Any, *, size: Any, mode: str, align: str) -> Any:
    """The nearest entry, axis by axis."""
    for axis in range(-len(size), 0):
        old = N.shape(x)[axis]
        places = (chosen(at, mode) for at in coordinates(old, size[axis], align))
        x = _take(N, x, [min(max(i, 0), old - 1) for i in places], axis)
    return x


def resize_linear_meaning(N: Any, x: Any, *, size: Any, align: str) -> Any:
    """(1 - w) entry + w next entry with the exact weight w, axis by axis from the first."""
    for axis in range(-len(size), 0):
        old = N.shape(x)[axis]
        at = [min(max(c, Fraction(0)), Fraction(old - 1)) for c in coordinates(old, size[axis], align)]
        first = [min(floor(c), max(old - 2, 0)) for c in at]
        weights = [c - i for c, i in zip(at, first, strict=True)]
        below = N.mul(_take(N, x, first, axis), _weights(N, x, [1 - w for w in weights], axis))
        above = N.mul(_take(N, x, [min(i + 1, old - 1) for i in first], axis), _weights(N, x, weights, axis))
        x = N.add(below, above)
    return x


def _take(N: Any, x: Any, places: list[int], axis: int) -> Any:
    return N.gather(x, N.constant(np.array(places, np.int64)), axis=axis)


def _weights(N: Any, x: Any, weights: list[Fraction], axis: int) -> Any:
    """Quotients along the axis, of x's rank: exact over the reals, rounded once each in floats."""
    shape = (1,) * (len(N.shape(x)) + axis) + (len(weights),) + (1,) * (-axis - 1)
    parts = [w.numerator for w in weights], [w.denominator for w in weights]
    above, below = (N.cast(N.constant(np.array(p, np.int64).reshape(shape)), dtype=N.dtype(x)) for p in parts)
    return N.div(above, below)


def resize_linear_rounding(
    magnitudes: Any, result: np.ndarray, *, size: Any, align: str, fmt: Format = BINARY32
) -> np.ndarray:
    """With M the largest entry over the axes and d the error of an axis' weights,

        E = M (2 sum d + g),  d = 4 u (n + 2) from a coordinate up to n + 1 that took four roundings,

    g for the products and sums of 2^axes terms with products of weights, and the tiny terms. Interpolation is
    continuous, so that a coordinate which falls into the next cell moves the result no further.
    """
    (x,) = magnitudes
    axes = tuple(range(-len(size), 0))
    u, terms = fmt.unit_roundoff, 2 ** len(size)
    weights = sum(4 * u * (max(x.shape[a], size[a]) + 2) for a in axes)
    largest = np.max(x, axis=axes, keepdims=True)
    bound = largest * (2 * weights + growth(terms + 6 * len(size), u)) + 8 * terms * fmt.smallest_normal * (1 + largest)
    found: np.ndarray = np.broadcast_to(bound * UP, np.shape(result))
    return found


def _op(name: str, meaning: Any, rounding: Any, *names: str) -> Op:
    return Op(
        name,
        resize_type(name, *names),
        meaning,
        EXPAND,
        batch=LEADING,
        interval=DERIVED,
        relax=Linear((0,)),
        rounding=rounding,
        lower=EXPAND,
        onnx=Onnx("Resize", since=13),
        composite=True,
    )


resize_nearest = _op("resize_nearest", resize_nearest_meaning, EXACT, "mode")
resize_linear = _op("resize_linear", resize_linear_meaning, resize_linear_rounding)

OPS = (resize_nearest, resize_linear)
