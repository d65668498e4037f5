"""Quantization: rounding, and moving values onto the grid of a smaller format.

Shapes   round, round_to: x[*s] -> [*s]
         quantize: x[*s] float, scale[], zero_point[] -> [*s] of zero_point's dtype; dequantize: back to scale's dtype.
         Per channel, scale and zero_point are [n], one entry for each index of `axis`, counted from the end
Floats   ties to even everywhere. quantize rounds x / scale first, as executors do: near a tie its code may be the
         neighbour of the exact one, and its interval and lines hold both. dequantize is one product, exact where the
         scale has at most 16 significant bits
Source   ONNX operators QuantizeLinear and DequantizeLinear; Jacob et al. 2018, arXiv:1712.05877, section 2.1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean.floats import BINARY32, Format, format_of, round_onto
from torchlean.ir import ALIGNED, COMPARED, DERIVED, EXACT, Missing, Onnx, Op, TensorType, f16, i32
from torchlean.ir.types import bf16, f8e4m3, f8e5m2
from torchlean.ops.common import (
    TINY,
    UP,
    Attrs,
    Types,
    U,
    arity,
    elementwise,
    is_float,
    normal_axes,
    only_attrs,
    refuse,
    unbroadcast,
)
from torchlean.ops.elementwise import as_dtype, no_vjp
from torchlean.ops.lines import Lines, slack
from torchlean.ops.namespace import cast_to, is_torch
from torchlean.ops.select import clip_relax

STORED = (f16, bf16, f8e4m3, f8e5m2)  # what round_to rounds onto
CODES = {"i8": (-128, 127), "u8": (0, 255)}  # what quantize delivers
OVERFLOW = ("saturate", "ieee")
EXACT_BITS = 16  # a scale of so many significant bits times a difference of two codes (8 bits and a sign) is a float32


# round


def round_meaning(N: Any, x: Any) -> Any:
    """The nearest whole number, ties to even."""
    return N.round(x)


def round_relax(xp: Any, boxes: Any, slope: Any | None = None) -> Lines:
    """x - 1/2 and x + 1/2."""
    ((lo, _),) = boxes
    one, half = xp.ones_like(lo), 0.5 + slack(xp, xp.zeros_like(lo))
    return Lines((one,), -half, (one,), half)


round_ = Op(
    "round",
    elementwise("round", 1),
    round_meaning,
    no_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=round_relax,
    rounding=EXACT,
    lower=lambda xp, x: xp.round(x),
    onnx=Onnx("Round", since=11),
)


# round_to


def round_to_type(attrs: Attrs, *types: TensorType) -> Types:
    """The type of x. What lies beyond the grid must be decided: overflow="saturate", or "ieee": infinite or NaN."""
    arity("round_to", types, 1)
    if attrs.get("overflow") not in OVERFLOW:
        raise refuse(
            "round_to",
            "what happens to values beyond the grid must be stated",
            "overflow='saturate', or overflow='ieee' (infinite; NaN in f8e4m3, which has no infinity)",
            repr(attrs.get("overflow", "no overflow policy")),
            'round_to(x, dtype="f8e4m3", overflow="saturate")',
        )
    only_attrs("round_to", attrs, "dtype", "overflow")
    is_float("round_to", *types)
    if as_dtype(attrs["dtype"]) not in STORED:
        raise refuse(
            "round_to",
            "this dtype has no grid to round onto",
            ", ".join(map(str, STORED)),
            str(attrs["dtype"]),
            "for integers use quantize, which has a scale",
        )
    return types


def round_to_meaning(N: Any, x: Any, *, dtype: Any, overflow: str) -> Any:
    """The nearest number of another format, ties to even; x's dtype stays. The sign of a zero is kept."""
    name = as_dtype(dtype).numpy
    if overflow == "saturate":
        largest = format_of(name).max
        x = N.maximum(N.minimum(x, N.literal(largest, x)), N.literal(-largest, x))
    return N.round_to(x, dtype=name)


def round_to_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, dtype: Any, overflow: str) -> Any:
    """The cotangent where x is within the grid's range, as a cast passes it on; 0 where it saturates.

    Rounding has slope 0 almost everywhere; this is the straight-through estimate (Bengio et al. 2013,
    arXiv:1308.3432, section 4).
    """
    (x,), (dy,) = inputs, cotangents
    if overflow == "ieee":
        return (dy,)
    inside = g.less_equal(g.abs(x), g.literal(format_of(as_dtype(dtype).numpy).max, x))
    return (g.where(inside, dy, g.literal(0.0, dy)),)


def round_to_relax(xp: Any, boxes: Any, slope: Any | None = None, *, dtype: Any, overflow: str) -> Lines:
    """The lines of x, or of x clipped to the range, moved outward by half a step of the grid.

    With overflow="ieee" there is no line on a box that leaves the range: its bias is infinite.
    """
    ((lo, hi),) = boxes
    grid = format_of(as_dtype(dtype).numpy)
    wide = xp.maximum(xp.abs(lo), xp.abs(hi))
    size = xp.clip(wide, 0.0, grid.max)
    step = grid.unit_roundoff * size + grid.smallest_subnormal
    step = step + slack(xp, step)
    if overflow == "ieee":
        one, step = xp.ones_like(lo), xp.where(wide <= grid.max, step, xp.full_like(lo, np.inf))
        return Lines((one,), -step, (one,), step)
    lines = clip_relax(xp, boxes, slope, lo=-grid.max, hi=grid.max)
    return Lines(lines.lower, lines.lower_bias - step, lines.upper, lines.upper_bias + step)


def round_to_rounding(
    magnitudes: Any, result: np.ndarray, *, dtype: Any, overflow: str, fmt: Format = BINARY32
) -> np.ndarray:
    """0: every execution rounds to nearest. Flushing a subnormal of x shows only where the grid has such numbers:
    below half its smallest one all is 0, and above, x and half a step are below 2 smallest normal numbers.
    """
    shows = fmt.smallest_normal > format_of(as_dtype(dtype).numpy).smallest_subnormal / 2
    return np.full_like(result, 2 * fmt.smallest_normal if shows else 0.0)


def round_to_lower(xp: Any, x: Any, *, dtype: Any, overflow: str) -> Any:
    name = as_dtype(dtype).numpy
    grid = format_of(name)
    if overflow == "saturate":
        x = xp.clip(x, -grid.max, grid.max)
    if not is_torch(xp):
        return round_onto(x, grid)
    y = cast_to(xp, x, name).to(x.dtype)
    if overflow == "saturate" or grid.has_infinity:
        return y
    half = 2.0 ** (grid.emax - grid.precision)
    return xp.where(xp.abs(x) > grid.max + half, xp.full_like(y, np.nan), y)  # some versions of torch saturate


round_to = Op(
    "round_to",
    round_to_type,
    round_to_meaning,
    round_to_vjp,
    batch=ALIGNED,
    interval=DERIVED,
    relax=round_to_relax,
    rounding=round_to_rounding,
    lower=round_to_lower,
    onnx=Missing("ONNX rounds onto another format only by a Cast there, which changes the type and no real value"),
)


# quantize and dequantize


def _channels(op: str, axis: Any, x: TensorType, scale: TensorType, zero_point: TensorType) -> None:
    """Raises ShapeError unless scale and zero_point have one entry, or one per index of `axis`."""
    if axis is None:
        wanted: tuple[Any, ...] = ()
    else:
        (at,) = normal_axes(op, axis, x.rank)
        if at != axis:
            raise refuse(op, "the axis is counted from the end", str(at), str(axis), f"axis={at}")
        wanted = (x.shape[at],)
    for name, t in (("scale", scale), ("zero_point", zero_point)):
        if t.shape != wanted:
            raise refuse(
                op,
                f"{name} must have one entry" + ("" if axis is None else f" for each index of axis {axis}"),
                str(t.with_shape(wanted)) + f", because x is {x}",
                str(t),
                "axis=None for one scale, or the axis along which the scales differ",
            )


def _codes(op: str, t: TensorType) -> None:
    if t.dtype.name not in CODES:
        raise refuse(op, "codes are 8-bit integers", " or ".join(CODES), str(t), "a zero point of int8 or uint8")


def quantize_type(attrs: Attrs, *types: TensorType) -> Types:
    """A float tensor, its scales and its zero points -> codes of the zero points' dtype, within [lo, hi]."""
    arity("quantize", types, 3)
    only_attrs("quantize", attrs, "lo", "hi", "axis")
    x, scale, zero_point = types
    is_float("quantize", x, scale)
    if scale.dtype != x.dtype:
        raise refuse("quantize", "x and scale have different dtypes", str(x.dtype), str(scale), "cast the scale")
    _codes("quantize", zero_point)
    _channels("quantize", attrs["axis"], x, scale, zero_point)
    least, most = CODES[zero_point.dtype.name]
    lo, hi = attrs["lo"], attrs["hi"]
    if any(isinstance(v, bool) or not isinstance(v, int) for v in (lo, hi)) or not least <= lo < hi <= most:
        raise refuse(
            "quantize",
            "the range of codes must be within the dtype's",
            f"ints {least} <= lo < hi <= {most}, because zero_point is {zero_point}",
            f"lo={lo}, hi={hi}",
            "lo=-8, hi=7 for int4; lo=-128, hi=127 for int8",
        )
    return (TensorType(x.shape, zero_point.dtype),)


def dequantize_type(attrs: Attrs, *types: TensorType) -> Types:
    """Codes, scales and zero points -> floats of the scales' dtype."""
    arity("dequantize", types, 3)
    only_attrs("dequantize", attrs, "axis")
    codes, scale, zero_point = types
    _codes("dequantize", codes)
    is_float("dequantize", scale)
    if zero_point.dtype != codes.dtype:
        raise refuse("dequantize", "codes and zero_point differ", str(codes.dtype), str(zero_point), "one dtype")
    _channels("dequantize", attrs["axis"], codes, scale, zero_point)
    return (TensorType(codes.shape, scale.dtype),)


def _along(reshape: Callable[..., Any], v: Any, count: Any, axis: int | None, rank: int) -> Any:
    """v[n] with 1-axes around, so that it lines up with axis `axis` of a tensor of this rank; a scalar as it is."""
    if axis is None or rank == 1:
        return v
    return reshape(v, shape=((1,) * (rank + axis) + (count,) + (1,) * (-axis - 1)))


def _lined_up(N: Any, x: Any, scale: Any, zero_point: Any, axis: int | None) -> tuple[Any, Any]:
    rank, count = len(N.shape(x)), 1 if axis is None else N.shape(scale)[0]
    return _along(N.reshape, scale, count, axis, rank), _along(N.reshape, zero_point, count, axis, rank)


def _quantized(N: Any, quotient: Any, zero_point: Any, lo: int, hi: int) -> Any:
    code = N.add(N.round(quotient), N.cast(zero_point, dtype=as_dtype(N.dtype(quotient))))
    code = N.minimum(N.maximum(code, N.literal(lo, code)), N.literal(hi, code))
    return N.cast(code, dtype=as_dtype(N.dtype(zero_point)))


def quantize_meaning(N: Any, x: Any, scale: Any, zero_point: Any, *, lo: int, hi: int, axis: int | None) -> Any:
    """round(x / scale) + zero_point, clamped to [lo, hi]. NaN becomes 0, as in a cast; infinities saturate."""
    s, z = _lined_up(N, x, scale, zero_point, axis)
    return _quantized(N, N.div(x, s), z, lo, hi)


def quantize_interval(N: Any, x: Any, scale: Any, zero_point: Any, *, lo: int, hi: int, axis: int | None) -> Any:
    """Of every float32 execution too: the quotient is widened by what a division may be off (`div_rounding`)."""
    s, z = _lined_up(N, x, scale, zero_point, axis)
    quotient = N.div(x, s)
    error = N.add(N.mul(N.abs(quotient), 4 * U), N.mul(N.add(N.div(N.literal(1, s), s), N.one), 4 * TINY))
    around = N.enclose(-1.0, 1.0, N.dtype(quotient))
    return _quantized(N, N.add(quotient, N.mul(error, around)), z, lo, hi)


def quantize_relax(xp: Any, boxes: Any, slope: Any | None = None, *, lo: int, hi: int, axis: int | None) -> Lines:
    """The lines of clip(x / scale + zero_point), moved outward by half a step; constants where at most two codes occur.

    A clamp is 1-Lipschitz: half a step before it is at most half a step after it. Scale and zero point are constants
    (their boxes are points); what they add stands in the biases.
    """
    (l, u), (s, _), (z, _) = boxes
    s, z = (_along(xp.reshape, v, v.shape[0] if axis is not None else 1, axis, len(l.shape)) for v in (s, z))
    one, zero = xp.ones_like(l), xp.zeros_like(l)
    s, z = s * one, z * one
    with np.errstate(over="ignore"):
        first, last = l / s, u / s
        size = xp.maximum(xp.abs(first), xp.abs(last))
    huge = ~(size < 2.0**100)
    first, last, size = (xp.where(huge, zero, v) for v in (first, last, size))
    error = 4 * U * size + 4 * TINY * (1 + 1 / s) + slack(xp, size + xp.abs(z) + 512)
    low, high = first - error, last + error
    least, most = (xp.clip(xp.round(v) + z, lo, hi) for v in (low, high))
    least, most = xp.where(huge, lo * one, least), xp.where(huge, hi * one, most)
    lines = clip_relax(xp, ((low + z - error, high + z + error),), slope, lo=lo, hi=hi)
    half = 0.5 + 2 * error + 2.0**-20  # the last: a slope that underflows in the division by s
    constant = huge | (most - least <= 1)
    (a,), (b,) = lines.lower, lines.upper
    return Lines(
        (xp.where(constant, zero, a / s),),
        xp.where(constant, least, lines.lower_bias + a * z - half),
        (xp.where(constant, zero, b / s),),
        xp.where(constant, most, lines.upper_bias + b * z + half),
    )


def quantize_lower(xp: Any, x: Any, scale: Any, zero_point: Any, *, lo: int, hi: int, axis: int | None) -> Any:
    count = scale.shape[0] if axis is not None else 1
    s, z = (_along(xp.reshape, v, count, axis, len(x.shape)) for v in (scale, zero_point))
    with np.errstate(all="ignore"):
        code = xp.round(x / s) + z
    code = xp.clip(xp.where(code != code, xp.zeros_like(code), code), lo, hi)
    return code.to(zero_point.dtype) if is_torch(xp) else code.astype(zero_point.dtype)


def _dequantized(N: Any, codes: Any, scale: Any, zero_point: Any) -> Any:
    difference = N.sub(N.cast(codes, dtype=i32), N.cast(zero_point, dtype=i32))
    return N.mul(N.cast(difference, dtype=as_dtype(N.dtype(scale))), scale)


def dequantize_meaning(N: Any, codes: Any, scale: Any, zero_point: Any, *, axis: int | None) -> Any:
    """(codes - zero_point) scale: the difference is exact, the product is rounded once."""
    return _dequantized(N, codes, *_lined_up(N, codes, scale, zero_point, axis))


def dequantize_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int | None) -> Any:
    """The cotangent times codes - zero_point, summed over each scale's elements. Codes have no derivative."""
    (codes, scale, zero_point), (dy,) = inputs, cotangents
    s, z = _lined_up(g, codes, scale, zero_point, axis)
    difference = g.cast(g.sub(g.cast(codes, dtype=i32), g.cast(z, dtype=i32)), dtype=scale.dtype)
    ds = unbroadcast(g, g.mul(dy, difference), s)
    return None, ds if ds.shape == scale.shape else g.reshape(ds, shape=scale.shape), None


def dequantize_relax(xp: Any, boxes: Any, slope: Any | None = None, *, axis: int | None) -> Lines:
    """(codes - zero_point) scale is a line. Scale and zero point are constants: their boxes are points."""
    (l, _), (s, _), (z, _) = boxes
    s, z = (_along(xp.reshape, v, v.shape[0] if axis is not None else 1, axis, len(l.shape)) for v in (s, z))
    s = s * xp.ones_like(l)
    shift = s * z
    spread = xp.where(shift == 0, xp.zeros_like(l), slack(xp, xp.abs(shift)))
    return Lines((s,), -shift - spread, (s,), -shift + spread)


def dequantize_rounding(
    magnitudes: Any, result: np.ndarray, *, axis: int | None, fmt: Format = BINARY32
) -> np.ndarray:
    """One product; 0 where the scale leaves 8 bits of the precision free (16 bits in float32) and is no subnormal."""
    _, scale, _ = magnitudes
    scale = _along(np.reshape, scale, scale.shape[0] if axis is not None else 1, axis, result.ndim)
    mantissa, exponent = np.frexp(scale)
    whole = np.ldexp(mantissa, fmt.precision - 8)
    u, tiny = fmt.unit_roundoff, fmt.smallest_normal
    exact = (whole == np.rint(whole)) & (scale >= tiny) & (exponent < fmt.emax - 8)
    return np.where(exact, 0.0, (u * result + tiny * (1 + u) * (259 + scale)) * UP)


def dequantize_lower(xp: Any, codes: Any, scale: Any, zero_point: Any, *, axis: int | None) -> Any:
    count = scale.shape[0] if axis is not None else 1
    s, z = (_along(xp.reshape, v, count, axis, len(codes.shape)) for v in (scale, zero_point))
    difference = cast_to(xp, codes, "int32") - cast_to(xp, z, "int32")
    return (difference.to(s.dtype) if is_torch(xp) else difference.astype(s.dtype)) * s


def _batch(op: str, definition: Callable[..., Any]) -> Callable[..., Any]:
    """Axes are counted from the end: shared scales need nothing. Scales of the batch line up with x as operands do."""

    def rule(g: Any, inputs: Any, batched: Any, *, axis: int | None, **attrs: Any) -> Any:
        """The op itself, or its definition on operands of equal rank where scale or zero point is batched."""
        if not any(batched[1:]):
            return (g.apply(op, *inputs, axis=axis, **attrs),)
        x, *rest = inputs
        rank = x.type.rank - batched[0]

        def line_up(v: Any, own: bool) -> Any:
            inner = () if axis is None else v.shape[-1:]
            shape = (1,) * rank if axis is None else (1,) * (rank + axis) + inner + (1,) * (-axis - 1)
            return g.reshape(v, shape=(v.shape[0] if own else 1, *shape))

        x = x if batched[0] else g.reshape(x, shape=(1, *x.shape))
        s, z = (line_up(v, own) for v, own in zip(rest, batched[1:], strict=True))
        return (definition(g, x, s, z, **attrs),)

    return rule


quantize = Op(
    "quantize",
    quantize_type,
    quantize_meaning,
    no_vjp,
    batch=_batch("quantize", lambda g, x, s, z, lo, hi: _quantized(g, g.div(x, s), z, lo, hi)),
    interval=quantize_interval,
    relax=quantize_relax,
    rounding=COMPARED,
    lower=quantize_lower,
    onnx=Onnx("QuantizeLinear", since=13),
    composite=True,
)
dequantize = Op(
    "dequantize",
    dequantize_type,
    dequantize_meaning,
    dequantize_vjp,
    batch=_batch("dequantize", _dequantized),
    interval=DERIVED,
    relax=dequantize_relax,
    rounding=dequantize_rounding,
    lower=dequantize_lower,
    onnx=Onnx("DequantizeLinear", since=13),
    composite=True,
)

OPS = (round_, round_to, quantize, dequantize)
