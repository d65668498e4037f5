"""Reading OneHot and ScatterND, and resizing by Resize and Upsample."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.known import Known
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Tensor
from torchlean.ops.resize import ALIGN, NEAREST, chosen, coordinates

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]
Size = TypeVar("Size", int, float)


def one_hot(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """`depth` classes along a new axis; off and on values other than 0 and 1 by a `where`."""
    g = imp.builder
    indices, values = imp.tensor(node.inputs[0]), imp.numbers(node.inputs[2]).reshape(-1)
    if indices.dtype.kind != "int":
        raise imp.unsupported("indices of another dtype are not read", "int indices", str(indices.type), "use Cast")
    y: Tensor = g.apply("one_hot", indices, depth=int(imp.number(node.inputs[1])), dtype=values.dtype.name)
    off, on = values.tolist()
    if (off, on) != (0.0, 1.0):
        y = g.where(g.equal(y, g.literal(1.0, y)), g.literal(on, y), g.literal(off, y))
    rank = y.type.rank
    at = attrs["axis"] % rank
    order = [*range(rank - 1)]
    order.insert(at, rank - 1)
    return y if at == rank - 1 else y.permute(*(i - rank for i in order))


def scatter_nd(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """The slices at the indices are replaced; ONNX has these distinct, which is checked where they are known."""
    if attrs.get("reduction", "none") != "none":
        raise imp.unsupported("only replacing is read", "reduction none", attrs["reduction"], "use other ops")
    x, updates = imp.tensor(node.inputs[0]), imp.tensor(node.inputs[2])
    entry = imp.entry(node.inputs[1])
    if not isinstance(entry, Known):
        return imp.builder.apply("scatter_nd", x, entry, updates)
    shape = entry.values.shape
    indices = np.array(imp.ints(node.inputs[1]), np.int64).reshape(shape)
    sizes = x.shape[: shape[-1] if shape else 0]
    if not shape or not all(isinstance(n, int) for n in sizes):
        raise imp.unsupported("the indexed axes must be known", "known sizes", str(x.type), "use a static shape")
    bounds = np.array(sizes, np.int64)
    if ((indices < -bounds) | (indices >= bounds)).any():
        raise imp.misfit("ScatterND: an index is out of range", f"indices within {sizes}", f"up to {indices.max()}")
    places = (indices % bounds).reshape(-1, shape[-1])
    if len(np.unique(places, axis=0)) < len(places):
        raise imp.unsupported("a place is named twice", "distinct indices", "equal ones, of which any may win")
    return imp.builder.apply("scatter_nd", x, imp.builder.constant(indices), updates)


def resize(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Fixed sizes or scales; every form of it that is a rule of known places and weights."""
    _, scales, sizes = ([*node.inputs[1:], "", "", ""])[:3]
    x = imp.tensor(node.inputs[0])
    axes, policy = attrs.get("axes"), attrs.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" or attrs.get("antialias") or attrs["exclude_outside"]:
        expected = "stretch, without antialias and exclude_outside"
        raise imp.unsupported("this form of resizing is not read", expected, str(attrs))
    if sizes:  # an empty tensor of scales may stand beside them
        new = _along(imp, x, imp.ints(sizes), axes)
    else:
        new = _scaled(imp, x, _along(imp, x, imp.numbers(scales).reshape(-1).tolist(), axes))
    return _resized(imp, x, new, attrs)


def upsample(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Scales from the attribute or the second input; the old coordinates."""
    x = imp.tensor(node.inputs[0])
    scales = attrs["scales"] if "scales" in attrs else imp.numbers(node.inputs[1]).reshape(-1).tolist()
    new = _scaled(imp, x, _along(imp, x, scales or ()))
    return _resized(imp, x, new, {**OLD, "mode": attrs["mode"]})


OLD = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}  # what opsets before 11 mean


def first_resize(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Opset 10: scales only, the old coordinates."""
    x = imp.tensor(node.inputs[0])
    new = _scaled(imp, x, _along(imp, x, imp.numbers(node.inputs[1]).reshape(-1).tolist()))
    return _resized(imp, x, new, {**OLD, "mode": attrs["mode"]})


def _along(imp: Importer, x: Tensor, given: Sequence[Size], axes: Sequence[int] | None = None) -> dict[int, Size]:
    """One number for each axis: of all axes, unless told."""
    rank: int = x.type.rank
    found: list[int] = [a + rank if a < 0 else a for a in (range(rank) if axes is None else axes)]
    if len(given) != len(found) or len({*found} & {*range(rank)}) != len(found):
        raise imp.misfit("sizes or scales do not fit the axes", f"one for each axis of {x.type}",
                         f"{list(given)} along {found}")  # fmt: skip
    return dict(zip(found, given, strict=True))


def _scaled(imp: Importer, x: Tensor, scales: dict[int, float]) -> dict[int, int]:
    """The new sizes. Only scales that are the quotient of the sizes, to float32, are read.

    One whose rounding makes it less than the quotient is refused: the new size would be the product, rounded down, by
    the operator's definition, and is the next one where the product is rounded to float32 first.
    """
    new = {}
    for axis, scale in scales.items():
        if scale == 1.0:
            continue
        old = x.shape[axis]
        size = floor(Fraction(scale) * old) if isinstance(old, int) else 0
        if not isinstance(old, int) or size < 1 or np.float32(size / old) != np.float32(scale):
            raise imp.unsupported("a scale must give a whole size", f"a multiple of 1 / {old}, not rounded down",
                                  f"{scale} along axis {axis} of {x.type}", "give sizes, not scales")  # fmt: skip
        new[axis] = size
    return new


def _resized(imp: Importer, x: Tensor, new: dict[int, int], attrs: Attrs) -> Tensor:
    new = {a: n for a, n in new.items() if n != x.shape[a]}
    if not new:
        return x
    first = min(new)
    old = x.shape[first:]
    if not all(isinstance(n, int) for n in old):
        raise imp.unsupported("the resized axes must be known", "known sizes", str(x.type), "use a static shape")
    size = tuple(new.get(first + i, int(n)) for i, n in enumerate(old))  # type: ignore[arg-type]
    align, near = attrs["coordinate_transformation_mode"], attrs["nearest_mode"]
    align = "half_pixel" if align == "pytorch_half_pixel" and min(new.values()) > 1 else align
    if attrs["mode"] not in ("linear", "nearest") or align not in ALIGN or near not in NEAREST:
        raise imp.unsupported(
            "this form of resizing is not read",
            f"nearest ({', '.join(NEAREST)}) or linear; {', '.join(ALIGN)}",
            f"{attrs['mode']}, {near}, {align}",
        )
    if attrs["mode"] == "linear":
        return imp.builder.apply("resize_linear", x, size=size, align=align)
    for axis, n in new.items():
        _refuse_ties(imp, int(x.shape[axis]), n, align, near)  # type: ignore[arg-type]
    return imp.builder.apply("resize_nearest", x, size=size, mode=near, align=align)


def _refuse_ties(imp: Importer, old: int, new: int, align: str, mode: str) -> None:
    """Where a coordinate is so close to a place of decision that its rounding may decide, no entry is the nearest one.

    A scale that is a power of two rounds nothing. Otherwise a coordinate is within 4 u (n + 2), n being the larger
    size; nearer to a decision than that, the quotients and products that executors take must agree.
    """

    def places(at: Any) -> list[int]:
        return [min(max(chosen(Fraction(c), mode), 0), old - 1) for c in at]

    above, below = (new - 1, old - 1) if align == "align_corners" else (new, old)
    scale = Fraction(above, below) if min(above, below) > 0 else Fraction(1)
    powers = all(n & (n - 1) == 0 for n in (scale.numerator, scale.denominator))
    at, off = coordinates(old, new, align), Fraction(0 if powers else 4 * (max(old, new) + 2), 1 << 24)
    if places(c - off for c in at) == places(c + off for c in at):
        return
    i, one = np.arange(new, dtype=np.float32), np.float32(1)
    up, down = np.float32(above) / np.float32(below), np.float32(below) / np.float32(above)
    computed = [] if align == "half_pixel" else [i / up, i * down, i * (one / up), i * np.float32(below) / above]
    if not computed or any(places(c.tolist()) != places(at) for c in computed):
        raise imp.unsupported(
            "the nearest entry depends on how a coordinate is rounded",
            "sizes whose coordinates are away from ties",
            f"{old} to {new}",
            "use another nearest_mode or a power of two as scale",
        )


_RESIZE = {
    "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75, "exclude_outside": 0,
    "extrapolation_value": 0.0, "mode": "nearest", "nearest_mode": "round_prefer_floor",
}  # fmt: skip
_NEWER = {**_RESIZE, "antialias": 0, "axes": Need.INTS, "keep_aspect_ratio_policy": "stretch"}

READERS: Readers = {
    "OneHot": (Reader(one_hot, 9, attributes={"axis": -1}, arity=(3, 3)),),
    "ScatterND": (
        Reader(scatter_nd, 11, 15, arity=(3, 3)),
        Reader(scatter_nd, 16, attributes={"reduction": "none"}, arity=(3, 3)),
    ),
    "Resize": (
        Reader(first_resize, 10, 10, attributes={"mode": "nearest"}, arity=(2, 2)),
        Reader(resize, 11, 17, attributes=_RESIZE, arity=(1, 4)),
        Reader(resize, 18, attributes=_NEWER, arity=(1, 4)),
    ),
    "Upsample": (
        Reader(upsample, 7, 8, attributes={"mode": "nearest", "scales": Need.FLOATS}),
        Reader(upsample, 9, 9, attributes={"mode": "nearest"}, arity=(2, 2)),
    ),
}
