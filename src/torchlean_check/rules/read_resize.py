"""Trusted. Resizing to the nearest entry. Source: onnx.ai/onnx/operators."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.network import Ref
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
    if r.attr(node, "mode", b"nearest") != b"nearest" or not stretched or near not in NEAREST or (
        old and not set(node.attributes) <= {"mode", "scales"}
    ):
        raise r.beyond(node, "this form of resizing is not supported", "mode nearest", str(node.attributes))
    if sizes is not None:
        new = r.integers(node, sizes)
    else:
        given = node.attributes.get("scales") if scales is None else r.weights(node, scales).reshape(-1).tolist()
        factors = given if isinstance(given, (tuple, list)) else ()
        olds = [x.shape[a] for a in axes]
        new = tuple(round(n * f) for n, f in zip(olds, factors, strict=False))
        pairs = zip(new, olds, factors, strict=False)
        if any(n < 1 or np.float32(n / o) != np.float32(f) for n, o, f in pairs):
            raise r.beyond(node, "a scale must give a whole size", "quotients of sizes", str(given))
    if len(new) != len(axes) or min(new, default=0) < 1:
        raise r.bad(node, "sizes do not fit", f"{len(axes)} sizes or scales", str(new))
    resized = dict(zip(axes, new, strict=True))
    new = tuple(resized.get(i, n) for i, n in enumerate(x.shape))
    r.broadcast(node, new, (1,))
    index = [_places(r, node, o, n, mode, near) for o, n in zip(x.shape, new, strict=True)]
    return r.select(node, x, lambda a: a[np.ix_(*index)])


def _places(r: Reader, node: Node, old: int, new: int, mode: bytes, near: bytes) -> Any:
    """Which entry is the nearest. A tie that a rounded coordinate would decide is refused."""
    half, scale = Fraction(1, 2), Fraction(old, new)
    at = {
        b"half_pixel": lambda i: (i + half) * scale - half,
        b"pytorch_half_pixel": lambda i: (i + half) * scale - half if new > 1 else Fraction(0),
        b"asymmetric": lambda i: i * scale,
        b"align_corners": lambda i: Fraction(i * (old - 1), max(new - 1, 1)),
    }.get(mode)
    if at is None:
        raise r.beyond(node, "these coordinates are not supported", "half_pixel, asymmetric, align_corners", repr(mode))
    exact, found = old == new or (new & (new - 1)) == 0 or (new % old == 0 and mode == b"asymmetric"), []
    for c in map(at, range(new)):
        off = c - half * near.startswith(b"round")
        if abs(off - round(off)) < Fraction(1, 1000) and not (exact and off == round(off)) and 0 < c < old - 1:
            raise r.beyond(node, "the nearest entry depends on rounding", "coordinates away from ties", str(c))
        place = math.floor(c + half * near.startswith(b"round")) if near in NEAREST[::3] else math.ceil(off)
        found.append(min(max(place, 0), old - 1))
    return np.array(found)


FORM = (
    "axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value keep_aspect_ratio_policy "
    "mode nearest_mode"
)
RULES: dict[str, Any] = {
    "Resize": (resize, FORM),
    "Upsample": (resize, "mode scales"),
}
