"""Reading ops that move values. Known integers stay known."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.known import Known
from torchlean.io.onnx.read_linear import with_rank
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Shape, Size, Tensor
from torchlean.ir.dims import is_one, numel

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Entry, Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]


def _axis(imp: Importer, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise imp.misfit("no such axis", f"an axis from {-rank} to {rank - 1}", str(axis))
    return axis % rank


def shape_of(entry: Entry) -> tuple[Size, ...]:
    return entry.values.shape if isinstance(entry, Known) else entry.shape


def _reshaped(entry: Entry, shape: tuple[Any, ...]) -> Entry:
    if isinstance(entry, Known):
        return Known(entry.values.reshape(shape), entry.dtype)
    return entry if entry.shape == shape else entry.reshape(shape)


def reshape(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """A new shape; 0 keeps an axis unless allowzero, -1 takes what is left."""
    entry = imp.entry(node.inputs[0])
    old = shape_of(entry)
    target = list(imp.sizes(node.inputs[1]))
    for i, s in enumerate(target):
        if s == 0 and not attrs.get("allowzero"):
            if i >= len(old):
                raise imp.misfit(
                    "Reshape: 0 keeps an axis that does not exist", f"at most {len(old)} axes", f"0 at axis {i}"
                )
            target[i] = old[i]
    return _reshaped(entry, _resolved(old, tuple(target)))


def _resolved(old: Shape, target: Shape) -> Shape:
    """`target` with -1 replaced where the quotient is plain: symbolic sizes in both cancel."""
    left_over, given = list(old), [s for s in target if s != -1]
    for size in [s for s in given if not isinstance(s, int) and s in left_over]:
        left_over.remove(size)
        given.remove(size)
    old, rest = tuple(left_over), prod(given)
    if target.count(-1) != 1 or not isinstance(rest, int) or rest == 0:
        return target
    left = numel(old) // rest
    return tuple(left if s == -1 else s for s in target) if left * rest == numel(old) else target


def flatten(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Two axes: those before `axis`, and the rest."""
    x = imp.tensor(node.inputs[0])
    rank = x.type.rank
    axis = attrs["axis"] + rank if attrs["axis"] < 0 else attrs["axis"]
    if not 0 <= axis <= rank:
        raise imp.misfit("no such axis", f"an axis from {-rank} to {rank}", str(attrs["axis"]))
    if axis == 1:
        return imp.builder.apply("flatten", x)
    return x.reshape((numel(x.shape[:axis]), numel(x.shape[axis:])))


def transpose(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """Axes reordered; by default reversed."""
    entry = imp.entry(node.inputs[0])
    rank = len(shape_of(entry))
    perm = tuple(range(rank))[::-1] if attrs["perm"] is None else attrs["perm"]
    if sorted(perm) != list(range(rank)):
        raise imp.misfit("Transpose: every axis must be named once", f"{rank} axes", str(perm))
    if isinstance(entry, Known):
        return Known(entry.values.transpose(perm), entry.dtype)
    return entry.permute(*(p - rank for p in perm)) if perm != tuple(range(rank)) else entry


def _axes(imp: Importer, node: Node, attrs: Attrs) -> tuple[int, ...] | None:
    """Axes from the attribute (before opset 13) or the second input."""
    if "axes" in attrs:
        return attrs["axes"]
    return imp.ints(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None


def squeeze(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """1-axes dropped; by default all of them."""
    entry = imp.entry(node.inputs[0])
    old, axes = shape_of(entry), _axes(imp, node, attrs)
    drop = {i for i, s in enumerate(old) if is_one(s)} if axes is None else {_axis(imp, a, len(old)) for a in axes}
    if any(not is_one(old[i]) for i in drop):
        raise imp.misfit("Squeeze: only an axis of size 1 can go", "1 at the axes", f"{old}, axes {axes}")
    return _reshaped(entry, tuple(s for i, s in enumerate(old) if i not in drop))


def unsqueeze(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """New 1-axes."""
    entry, axes = imp.entry(node.inputs[0]), _axes(imp, node, attrs) or ()
    old = list(shape_of(entry))
    places = sorted({_axis(imp, a, len(old) + len(axes)) for a in axes})
    for place in places:
        old.insert(place, 1)
    return _reshaped(entry, tuple(old))


def expand(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Broadcasting to a shape, in which 1 keeps the input's axis."""
    x, target = imp.tensor(node.inputs[0]), imp.sizes(node.inputs[1])
    rank = max(x.type.rank, len(target))
    old, new = ((1,) * (rank - len(s)) + tuple(s) for s in (x.shape, target))
    full = tuple(p if is_one(q) else q for p, q in zip(old, new, strict=True))
    x = with_rank(x, rank) if x.type.rank else x
    return x if full == x.shape else imp.builder.apply("broadcast", x, shape=full)


def concat(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Tensors joined along an axis."""
    parts = [imp.tensor(n) for n in node.inputs]
    axis = _axis(imp, attrs["axis"], parts[0].type.rank) - parts[0].type.rank
    return parts[0] if len(parts) == 1 else imp.builder.apply("concat", *parts, axis=axis)


def slice_(imp: Importer, node: Node, attrs: Attrs) -> Entry:
    """start:stop:step along some axes, ends cut to the size."""
    if "starts" in attrs:
        starts, ends, axes, steps = attrs["starts"], attrs["ends"], attrs["axes"], None
    else:
        given = [imp.ints(n) if n else None for n in node.inputs[1:]] + [None] * 4
        starts, ends, axes, steps = given[:4]
    entry = imp.entry(node.inputs[0])
    old = shape_of(entry)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise imp.misfit(
            "Slice: its lists do not fit",
            "equally long lists, steps not 0",
            f"starts {starts}, ends {ends}, axes {axes}, steps {steps}",
        )
    ranges = {_axis(imp, a, len(old)): (s, e, t) for s, e, a, t in zip(starts, ends, axes, steps, strict=True)}
    if isinstance(entry, Known):
        index = tuple(slice(*_end(ranges[i])) if i in ranges else slice(None) for i in range(len(old)))
        return Known(entry.values[index], entry.dtype)
    return _slices(imp, entry, ranges)


def _end(r: tuple[int, int, int]) -> tuple[int, int | None, int]:
    """A negative step reaches index 0 with an end below -size; Python writes that None."""
    start, end, step = r
    return start, (None if step < 0 and end < -(2**31) else end), step


def _slices(imp: Importer, x: Tensor, ranges: dict[int, tuple[int, int, int]]) -> Tensor:
    """x cut along these axes (start, end, step), as one `slice`; an axis that stays whole may have an unknown size."""
    cut: list[tuple[Size, Size, int]] = [(0, n, 1) for n in x.shape]
    for axis, (start, end, step) in ranges.items():
        n = x.shape[axis]
        if not isinstance(n, int):
            if (start, step) == (0, 1) and end >= 2**31 - 1:
                continue
            raise imp.unsupported(
                "a slice of an axis of unknown size",
                "an axis of known size",
                f"{x.type}, axis {axis}",
                "export the model with a static shape",
            )
        if step < 0:
            raise imp.unsupported(
                "a slice with a negative step",
                "step >= 1",
                str(step),
                "use Gather with the indices in this order",
            )
        lo, hi, step = slice(start, end, step).indices(n)
        cut[axis] = (lo, max(lo, hi), step)
    whole = [c == (0, n, 1) for c, n in zip(cut, x.shape, strict=True)]
    if all(whole):
        return x
    starts, stops, steps = zip(*cut[whole.index(False) :], strict=True)
    result: Tensor = imp.builder.apply("slice", x, starts=starts, stops=stops, steps=steps)
    return result


def split(imp: Importer, node: Node, attrs: Attrs) -> tuple[Tensor, ...]:
    """Consecutive pieces along an axis."""
    x = imp.tensor(node.inputs[0])
    axis = _axis(imp, attrs["axis"], x.type.rank)
    n = x.shape[axis]
    sizes = attrs["split"] if "split" in attrs else imp.ints(node.inputs[1]) if len(node.inputs) > 1 else None
    pieces = len(node.outputs)
    if not isinstance(n, int):
        raise imp.unsupported(
            "a split of an axis of unknown size",
            "an axis of known size",
            str(x.type),
            "export the model with a static shape",
        )
    if sizes is None:
        each = -(-n // pieces)
        sizes = tuple(min(each, n - i * each) for i in range(pieces))
    if sum(sizes) != n or len(sizes) != pieces or min(sizes) < 0:
        raise imp.misfit("Split: the pieces do not add up", f"{pieces} sizes with sum {n}", str(sizes))
    starts = [sum(sizes[:i]) for i in range(pieces)]
    return tuple(_slices(imp, x, {axis: (s, s + k, 1)}) for s, k in zip(starts, sizes, strict=True))


def gather(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Entries by index along one axis. Known negative indices count from the end."""
    x = imp.tensor(node.inputs[0])
    axis = _axis(imp, attrs["axis"], x.type.rank)
    n, entry = x.shape[axis], imp.entry(node.inputs[1])
    if isinstance(entry, Known) and isinstance(n, int):
        index = np.array(imp.ints(node.inputs[1]), np.int64).reshape(entry.values.shape)
        if index.size and (index.min() < -n or index.max() >= n):
            raise imp.misfit("Gather: an index is out of range", f"{-n} to {n - 1}", f"{index.min()} to {index.max()}")
        tensor = imp.builder.constant(np.where(index < 0, index + n, index))
    else:
        tensor = imp.tensor(node.inputs[1])
    return imp.builder.apply("gather", x, tensor, axis=axis - x.type.rank)


def pad(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """A constant around the input."""
    x = imp.tensor(node.inputs[0])
    if attrs["mode"] != "constant":
        raise imp.unsupported(
            "padding by the input's own values is not read", "mode constant", attrs["mode"], "pad with a constant"
        )
    if "pads" in attrs:
        pads, value, axes = attrs["pads"] or (), attrs["value"], None
    else:
        pads, value = imp.ints(node.inputs[1]), _scalar(imp, node.inputs[2] if len(node.inputs) > 2 else "")
        axes = imp.ints(node.inputs[3]) if len(node.inputs) > 3 else None
    rank = x.type.rank
    places = list(range(rank)) if axes is None else [_axis(imp, a, rank) for a in axes]
    if len(pads) != 2 * len(places) or min(pads, default=0) < 0:
        raise imp.unsupported(
            "Pad: its list does not fit",
            f"{2 * len(places)} sizes >= 0",
            str(pads),
            "export the model again, without cropping pads",
        )
    full = [(0, 0)] * rank
    for i, place in enumerate(places):
        full[place] = (pads[i], pads[len(places) + i])
    if value == 0.0:
        low, high = zip(*full, strict=True)
        return imp.builder.apply("pad", x, low=low, high=high, value=0.0)
    for axis, widths in enumerate(full):
        x = _bordered(imp, x, axis, widths, value)
    return x


def _bordered(imp: Importer, x: Tensor, axis: int, widths: tuple[int, int], value: float) -> Tensor:
    """x between blocks of `value` along one axis; the blocks are constants."""
    parts = [x]
    for width, place in zip(widths, (0, 2), strict=True):
        if width:
            block = imp.builder.literal(value, x)
            shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
            parts.insert(place, imp.builder.apply("broadcast", block, shape=shape))
    if len(parts) == 1:
        return x
    joined: Tensor = imp.builder.apply("concat", *parts, axis=axis - x.type.rank)
    return joined


def _scalar(imp: Importer, name: str) -> float:
    """The value of a constant scalar; 0 where it is left out."""
    if not name:
        return 0.0
    return imp.number(name)


_AXES, _ONE_TWO = {"axes": Need.INTS}, (1, 2)

READERS: Readers = {
    "Reshape": (
        Reader(reshape, 5, 13, arity=(2, 2)),
        Reader(reshape, 14, attributes={"allowzero": 0}, arity=(2, 2)),
    ),
    "Flatten": (Reader(flatten, attributes={"axis": 1}),),
    "Transpose": (Reader(transpose, attributes={"perm": Need.INTS}),),
    "Squeeze": (Reader(squeeze, 1, 12, attributes=_AXES), Reader(squeeze, 13, arity=_ONE_TWO)),
    "Unsqueeze": (Reader(unsqueeze, 1, 12, attributes=_AXES), Reader(unsqueeze, 13, arity=(2, 2))),
    "Expand": (Reader(expand, 8, arity=(2, 2)),),
    "Concat": (Reader(concat, 4, attributes={"axis": Need.INT}, arity=(1, 1 << 16)),),
    "Slice": (
        Reader(slice_, 1, 9, attributes={"starts": Need.INTS, "ends": Need.INTS, "axes": Need.INTS}),
        Reader(slice_, 10, arity=(3, 5)),
    ),
    "Split": (
        Reader(split, 2, 12, attributes={"axis": 0, "split": Need.INTS}),
        Reader(split, 13, 17, attributes={"axis": 0}, arity=_ONE_TWO),
        Reader(split, 18, attributes={"axis": 0, "num_outputs": Need.OPTIONAL_INT}, arity=_ONE_TWO),
    ),
    "Gather": (Reader(gather, attributes={"axis": 0}, arity=(2, 2)),),
    "Pad": (
        Reader(pad, 2, 10, attributes={"mode": "constant", "pads": Need.INTS, "value": 0.0}),
        Reader(pad, 11, 17, attributes={"mode": "constant"}, arity=(2, 3)),
        Reader(pad, 18, attributes={"mode": "constant"}, arity=(2, 4)),
    ),
}
