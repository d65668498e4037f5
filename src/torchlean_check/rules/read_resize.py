"""Trusted. Resizing to the nearest entry, or by interpolation. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref
from torchlean_check.rules.read_interpolate import MODES, coordinates, error, interpolated
from torchlean_check.wire import Array, Node

if TYPE_CHECKING:
    from torchlean_check.onnx_reader import Reader

NEAREST = b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"


def resize(r: Reader, node: Node) -> Ref | Array:
    """Scales, or sizes from opset 11 on; Upsample, and Resize before 11, have the old coordinates."""
    old = node.op_type == "Upsample" or r.opset < 11
    if node.op_type == "Upsample" and r.opset > 9:
        raise r.bad(node, "Upsample ended with opset 9", "opset 7 to 9", str(r.opset))
    x, *rest = r.arity(node, 1, 2 if old else 4)
    _, scales, sizes = [*([None, *rest] if old else rest), None, None, None][:3]
    axes = [a + len(x.shape) if a < 0 else a for a in r.attr(node, "axes", tuple(range(len(x.shape))))]
    if sorted({*axes} & {*range(len(x.shape))}) != sorted(axes) or ("axes" in node.attributes and r.opset < 18):
        raise r.bad(node, "axes are out of range, repeated or of another opset", f"of {x.shape}", str(axes))
    mode = b"asymmetric" if old else r.attr(node, "coordinate_transformation_mode", b"half_pixel")
    near = b"floor" if old else r.attr(node, "nearest_mode", b"round_prefer_floor")
    stretched = r.attr(node, "keep_aspect_ratio_policy", b"stretch") == b"stretch" or sizes is None
    kind, more = r.attr(node, "mode", b"nearest"), r.attr(node, "exclude_outside", 0) or r.attr(node, "antialias", 0)
    if kind not in (b"nearest", b"linear") or more or not stretched or near not in NEAREST or mode not in MODES or (
        old and not set(node.attributes) <= {"mode", "scales"}
    ):
        expected = f"mode nearest or linear; {', '.join(m.decode() for m in MODES)}; without antialias"
        raise r.beyond(node, "this form of resizing is not supported", expected, str(node.attributes))
    if sizes is not None:
        new = r.integers(node, sizes)
    else:
        given = node.attributes.get("scales") if scales is None else r.weights(node, scales).reshape(-1).tolist()
        factors = given if isinstance(given, (tuple, list)) else ()
        olds = [x.shape[a] for a in axes]
        new = tuple(round(n * f) for n, f in zip(olds, factors, strict=False))
        pairs = zip(new, olds, factors, strict=False)
        if any(n < 1 or np.float32(n / o) != np.float32(f) or math.floor(Fraction(f) * o) != n for n, o, f in pairs):
            raise r.beyond(node, "a scale must give a whole size", "quotients of sizes, not rounded down", str(given))
    if len(new) != len(axes) or min(new, default=0) < 1:
        raise r.bad(node, "sizes do not fit", f"{len(axes)} sizes or scales", str(new))
    resized = dict(zip(axes, new, strict=True))
    new = tuple(resized.get(i, n) for i, n in enumerate(x.shape))
    r.broadcast(node, new, (1,))
    if kind == b"linear":
        return interpolated(r, node, r.value(node, x), new, mode)
    index = [_places(r, node, o, n, mode, near) for o, n in zip(x.shape, new, strict=True)]
    return r.select(node, x, lambda a: a[np.ix_(*index)])


def _places(r: Reader, node: Node, old: int, new: int, mode: bytes, near: bytes) -> Any:
    """Which entry is the nearest. Where the rounding of a coordinate may decide, all formulas in use must agree."""
    half, down = Fraction(1, 2) * near.startswith(b"round"), near in NEAREST[::3]

    def nearest(c: Fraction) -> int:
        return min(max(math.floor(c + half) if down else math.ceil(c - half), 0), old - 1)

    at, off = coordinates(old, new, mode), error(old, new, mode)
    found = [nearest(c) for c in at]
    if any(nearest(c - off) != nearest(c + off) for c in at):
        by_all = [[nearest(Fraction(c)) for c in computed.tolist()] == found for computed in _formulas(old, new, mode)]
        if not by_all or not all(by_all):
            raise r.beyond(node, "the nearest entry depends on rounding", "no coordinate on a tie", f"{old} to {new}")
    return np.array(found)


def _formulas(old: int, new: int, mode: bytes) -> list[Any]:
    """The coordinates in float32; none where a sum follows a product, with which it may be fused."""
    i, one = np.arange(new, dtype=np.float32), np.float32(1)
    if mode == b"asymmetric":
        up, down = np.float32(new) / np.float32(old), np.float32(old) / np.float32(new)
        return [i / up, i * down, i * (one / up)]
    above, below = np.float32(old - 1), np.float32(max(new - 1, 1))
    return [i * above / below, i * (above / below)] if mode == b"align_corners" else []


FORM = (
    "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
    "keep_aspect_ratio_policy mode nearest_mode"
)
RULES: dict[str, Any] = {
    "Resize": (resize, FORM),
    "Upsample": (resize, "mode scales"),
}
