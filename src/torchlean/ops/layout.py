"""Moving values without changing them.

Shapes   reshape: same number of entries in row-major order; permute: axes reordered; broadcast: entries repeated;
         slice: x[start:stop:step] on trailing axes; pad: zeros around trailing axes; concat: one after another
Floats   exact in every number system
"""

from __future__ import annotations

from math import prod
from typing import Any

from torchlean.ir import DERIVED, EXACT, LEADING, Linear, Onnx, Op, TensorType
from torchlean.ir.dims import as_size, is_one, numel
from torchlean.ops.common import Attrs, Types, arity, normal_axes, one_dtype, only_attrs, refuse, unbroadcast
from torchlean.ops.namespace import pad_spatial


def reshape_type(attrs: Attrs, *types: TensorType) -> Types:
    """Same number of entries; one axis may be -1 and takes what is left."""
    arity("reshape", types, 1)
    only_attrs("reshape", attrs, "shape")
    (x,) = types
    shape: list[Any] = [as_size(s) for s in attrs["shape"]]
    total = numel(x.shape)
    if -1 in shape:
        at = shape.index(-1)
        rest = prod(shape[:at] + shape[at + 1 :])
        left: Any
        if isinstance(total, int) and isinstance(rest, int):
            left = total // rest if rest else 0
        elif isinstance(rest, int) and rest:
            left = total // rest
        else:
            left = _divide(total, rest)
        shape[at] = left
    if any(isinstance(s, int) and s < 0 for s in shape) or numel(tuple(shape)) != total:
        raise refuse(
            "reshape",
            "the number of entries changes",
            f"a shape with {total} entries",
            f"{x} to [{', '.join(str(s) for s in attrs['shape'])}]",
            "leave one axis -1 to have it computed",
        )
    return (x.with_shape(tuple(shape)),)


def _divide(total: Any, rest: Any) -> Any:
    """total / rest where one is a multiple of the other by shared symbols; tries the candidates that dimensions
    give.
    """
    for candidate in _quotients(total, rest):
        if candidate * rest == total:
            return candidate
    return 0


def _quotients(total: Any, rest: Any) -> list[Any]:
    if isinstance(rest, int) or isinstance(total, int):
        return []
    (head, c), (low, d) = total.terms[0], rest.terms[0]
    left = list(head)
    for atom in low:
        if atom not in left:
            return []
        left.remove(atom)
    out: Any = c // d
    from torchlean.ir.dims import Dim

    return [Dim(((tuple(left), c // d),)) if left else out]


def reshape_meaning(N: Any, x: Any, *, shape: Any) -> Any:
    """The same entries in row-major order."""
    return N.reshape(x, shape=shape)


def reshape_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, shape: Any) -> Any:
    """The cotangent in x's shape."""
    return (g.reshape(cotangents[0], shape=inputs[0].shape),)


def reshape_batch(g: Any, inputs: Any, batched: Any, *, shape: Any) -> Any:
    """The batch axis is kept in front; a -1 is resolved per example."""
    (x,) = inputs
    if -1 in shape:
        (t,) = reshape_type({"shape": shape}, TensorType(x.shape[1:], x.dtype))
        shape = t.shape
    return (g.reshape(x, shape=(x.shape[0], *shape)),)


def flatten_type(attrs: Attrs, *types: TensorType) -> Types:
    """All axes after the first become one."""
    arity("flatten", types, 1)
    only_attrs("flatten", attrs)
    (x,) = types
    if x.rank < 1:
        raise refuse("flatten", "needs a batch axis", "x: [batch, *s]", str(x), "reshape(x, (1, 1))")
    return (x.with_shape((x.shape[0], numel(x.shape[1:]))),)


def flatten_meaning(N: Any, x: Any) -> Any:
    """Row-major, the first axis kept."""
    shape = N.shape(x)
    return N.reshape(x, shape=(shape[0], prod(shape[1:])))


def flatten_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any) -> Any:
    """The cotangent in x's shape."""
    return (g.reshape(cotangents[0], shape=inputs[0].shape),)


def flatten_batch(g: Any, inputs: Any, batched: Any) -> Any:
    """Both leading axes are kept."""
    (x,) = inputs
    return (g.reshape(x, shape=(*x.shape[:2], numel(x.shape[2:]))),)


def permute_type(attrs: Attrs, *types: TensorType) -> Types:
    """Every axis once, counted from the end."""
    arity("permute", types, 1)
    only_attrs("permute", attrs, "axes")
    (x,) = types
    axes = attrs["axes"]
    if sorted(normal_axes("permute", axes, x.rank)) != list(range(-x.rank, 0)):
        raise refuse("permute", "every axis must be named once", f"{x.rank} axes", str(axes), "name each axis once")
    return (x.with_shape(tuple(x.shape[a] for a in axes)),)


def permute_meaning(N: Any, x: Any, *, axes: Any) -> Any:
    """Axis i of the result is axis axes[i] of x."""
    return N.permute(x, axes=axes)


def permute_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axes: Any) -> Any:
    """The inverse permutation."""
    rank = len(axes)
    inverse = sorted(range(rank), key=lambda i: axes[i] % rank)
    return (g.permute(cotangents[0], axes=tuple(i - rank for i in inverse)),)


def permute_batch(g: Any, inputs: Any, batched: Any, *, axes: Any) -> Any:
    """The batch axis stays in front."""
    rank = len(axes)
    return (g.permute(inputs[0], axes=(-rank - 1, *(a % rank - rank for a in axes))),)


def permute_lower(xp: Any, x: Any, *, axes: Any) -> Any:
    return xp.permute_dims(x, tuple(a % len(axes) for a in axes)) if len(axes) else x


def broadcast_type(attrs: Attrs, *types: TensorType) -> Types:
    """x's axes are the trailing axes of `shape`, equal or 1."""
    arity("broadcast", types, 1)
    only_attrs("broadcast", attrs, "shape")
    (x,) = types
    shape = tuple(as_size(s) for s in attrs["shape"])
    tail = shape[len(shape) - x.rank :]
    if len(shape) < x.rank or any(a != b and not is_one(a) for a, b in zip(x.shape, tail, strict=True)):
        raise refuse(
            "broadcast",
            "the shape cannot be reached by repeating",
            "trailing axes equal or 1",
            f"{x} to [{', '.join(map(str, shape))}]",
            "reshape x so that 1 stands where it repeats",
        )
    return (x.with_shape(shape),)


def broadcast_meaning(N: Any, x: Any, *, shape: Any) -> Any:
    """Entries repeated along new axes and axes of size 1."""
    return N.broadcast(x, shape=shape)


def broadcast_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, shape: Any) -> Any:
    """The sum over what was repeated."""
    return (unbroadcast(g, cotangents[0], inputs[0]),)


def broadcast_batch(g: Any, inputs: Any, batched: Any, *, shape: Any) -> Any:
    """1-axes are inserted after the batch axis up to the target's rank."""
    (x,) = inputs
    rank = x.type.rank - 1
    x = g.reshape(x, shape=(x.shape[0], *(1 for _ in range(len(shape) - rank)), *x.shape[1:]))
    return (g.broadcast(x, shape=(x.shape[0], *shape)),)


def slice_type(attrs: Attrs, *types: TensorType) -> Types:
    """start <= stop within the axis, step >= 1: an entry per trailing axis; the axes before them are kept whole."""
    arity("slice", types, 1)
    only_attrs("slice", attrs, "starts", "stops", "steps")
    (x,) = types
    starts, stops, steps = (tuple(attrs[k]) for k in ("starts", "stops", "steps"))
    count = len(starts)
    if not len(stops) == len(steps) == count <= x.rank:
        raise refuse(
            "slice",
            "needs a start, a stop and a step per trailing axis",
            f"up to {x.rank} entries each",
            f"{len(starts)}, {len(stops)} and {len(steps)} entries",
            "starts=(0,), stops=(n,), steps=(1,) for the last axis",
        )
    sizes = x.shape[x.rank - count :]
    out = []
    for a, b, s, n in zip(starts, stops, steps, sizes, strict=True):
        known = isinstance(a, int) and isinstance(b, int) and isinstance(n, int)
        if not isinstance(s, int) or s < 1 or (0 <= a <= b <= n if known else a == 0 and b == n) is False:
            raise refuse(
                "slice",
                "the range is not within the axis",
                f"0 <= start <= stop <= {n} and step >= 1",
                f"{a}:{b}:{s}",
                "count negative positions from the front first",
            )
        out.append((b - a + s - 1) // s)
    return (x.with_shape((*x.shape[: x.rank - count], *out)),)


def slice_meaning(N: Any, x: Any, *, starts: Any, stops: Any, steps: Any) -> Any:
    """Entries start, start + step, ... before stop of each trailing axis."""
    shape = N.shape(x)
    lead = len(shape) - len(starts)
    return N.slice(
        x, starts=(0,) * lead + tuple(starts), stops=(*shape[:lead], *stops), steps=(1,) * lead + tuple(steps)
    )


def dilate(N: Any, x: Any, steps: Any) -> Any:
    """steps[i] - 1 zeros between neighbours along axis i (an entry per axis): n entries become (n - 1) step + 1."""
    for axis, step in enumerate(steps):
        if step == 1:
            continue
        shape = N.shape(x)
        n, rank = shape[axis], len(shape)
        high = tuple(step - 1 if i == axis + 1 else 0 for i in range(rank + 1))
        x = N.pad(
            N.reshape(x, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :])), low=(0,) * (rank + 1), high=high, value=0.0
        )
        x = N.reshape(x, shape=(*shape[:axis], n * step, *shape[axis + 1 :]))
        stops = (*shape[:axis], (n - 1) * step + 1, *shape[axis + 1 :])
        x = N.slice(x, starts=(0,) * rank, stops=stops, steps=(1,) * rank)
    return x


def slice_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, starts: Any, stops: Any, steps: Any) -> Any:
    """Zeros where nothing was taken: the cotangent is spread by the steps and padded."""
    (x,), (dy,) = inputs, cotangents
    lead = x.type.rank - len(starts)
    if any(n == 0 for n in dy.shape):
        return (g.broadcast(g.literal(0.0, dy), shape=x.shape),)
    dy = dilate(g, dy, (1,) * lead + tuple(steps))
    high = tuple(n - a - m for n, a, m in zip(x.shape[lead:], starts, dy.shape[lead:], strict=True))
    return (g.pad(dy, low=tuple(starts), high=high, value=0.0),)


def slice_lower(xp: Any, x: Any, *, starts: Any, stops: Any, steps: Any) -> Any:
    return x[(..., *(slice(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True)))]


def pad_type(attrs: Attrs, *types: TensorType) -> Types:
    """low and high zeros around each trailing axis. `value` must be 0, so that the op is linear."""
    arity("pad", types, 1)
    only_attrs("pad", attrs, "low", "high", "value")
    (x,) = types
    low, high, value = tuple(attrs["low"]), tuple(attrs["high"]), attrs["value"]
    if len(low) != len(high) or len(low) > x.rank or any(not isinstance(n, int) or n < 0 for n in (*low, *high)):
        raise refuse(
            "pad",
            "needs a low and a high width per trailing axis",
            f"up to {x.rank} ints >= 0 each",
            f"low={low}, high={high}",
            "low=(1,), high=(1,) for the last axis; slice to crop",
        )
    if value != 0:
        raise refuse(
            "pad",
            "pads with zeros only",
            "value=0",
            f"value={value}",
            "pad with 0 and add a constant that holds the value on the border, or concat constants",
        )
    lead = x.rank - len(low)
    return (x.with_shape((*x.shape[:lead], *(n + a + b for n, a, b in zip(x.shape[lead:], low, high, strict=True)))),)


def pad_meaning(N: Any, x: Any, *, low: Any, high: Any, value: float) -> Any:
    """x within zeros."""
    lead = (0,) * (len(N.shape(x)) - len(low))
    return N.pad(x, low=lead + tuple(low), high=lead + tuple(high), value=value)


def pad_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, low: Any, high: Any, value: float) -> Any:
    """The cotangent of the part that came from x."""
    (x,) = inputs
    sizes = x.shape[x.type.rank - len(low) :]
    stops = tuple(a + n for a, n in zip(low, sizes, strict=True))
    return (g.slice(cotangents[0], starts=tuple(low), stops=stops, steps=(1,) * len(low)),)


def pad_lower(xp: Any, x: Any, *, low: Any, high: Any, value: float) -> Any:
    return pad_spatial(xp, x, tuple(low), tuple(high), value) if len(low) else x


def concat_type(attrs: Attrs, *types: TensorType) -> Types:
    """All axes but one are equal; `axis` is counted from the end."""
    only_attrs("concat", attrs, "axis")
    if not 1 <= len(types) <= MANY:
        raise refuse(
            "concat",
            "wrong number of inputs",
            f"1 to {MANY} inputs",
            f"{len(types)} inputs",
            "concat the parts of a long list first",
        )
    x, (axis,) = types[0], normal_axes("concat", attrs["axis"], types[0].rank)
    if attrs["axis"] != axis:
        raise refuse("concat", "the axis is counted from the end", str(axis), str(attrs["axis"]), f"axis={axis}")
    at = axis + x.rank
    rest = (x.shape[:at], x.shape[at + 1 :])
    if any((t.shape[:at], t.shape[at + 1 :]) != rest or t.rank != x.rank for t in types):
        raise refuse(
            "concat",
            "the other axes differ",
            f"every axis but {axis} as in {x}",
            ", ".join(map(str, types)),
            "reshape or pad first",
        )
    one_dtype("concat", types)
    return (x.with_shape((*rest[0], sum(t.shape[at] for t in types), *rest[1])),)


def concat_meaning(N: Any, *xs: Any, axis: int) -> Any:
    """One after another along `axis`."""
    return N.concat(list(xs), axis=axis)


def concat_vjp(g: Any, inputs: Any, outputs: Any, cotangents: Any, *, axis: int) -> Any:
    """Each input's part of the cotangent."""
    (dy,), found, start = cotangents, [], 0
    tail = dy.shape[axis:][1:]
    for x in inputs:
        stop = start + x.shape[axis]
        found.append(g.slice(dy, starts=(start, *(0 for _ in tail)), stops=(stop, *tail), steps=(1,) * (len(tail) + 1)))
        start = stop
    return tuple(found)


def concat_batch(g: Any, inputs: Any, batched: Any, *, axis: int) -> Any:
    """Inputs without the batch axis are repeated along it."""
    v = next(t.shape[0] for t, own in zip(inputs, batched, strict=True) if own)
    return (
        g.concat(
            *(t if own else g.broadcast(t, shape=(v, *t.shape)) for t, own in zip(inputs, batched, strict=True)),
            axis=axis,
        ),
    )


MANY = 1024  # most inputs of one concat


def _op(name: str, type_rule: Any, meaning: Any, vjp: Any, batch: Any, lower: Any, onnx: Any) -> Op:
    return Op(
        name,
        type_rule,
        meaning,
        vjp,
        batch=batch,
        interval=DERIVED,
        relax=Linear((0,)),
        rounding=EXACT,
        lower=lower,
        onnx=onnx,
    )


reshape = _op(
    "reshape",
    reshape_type,
    reshape_meaning,
    reshape_vjp,
    reshape_batch,
    lambda xp, x, *, shape: xp.reshape(x, tuple(shape)),
    Onnx("Reshape", since=5),
)
flatten = _op(
    "flatten",
    flatten_type,
    flatten_meaning,
    flatten_vjp,
    flatten_batch,
    lambda xp, x: xp.reshape(x, (x.shape[0], prod(x.shape[1:]))),
    Onnx("Flatten", since=1),
)
permute = _op(
    "permute", permute_type, permute_meaning, permute_vjp, permute_batch, permute_lower, Onnx("Transpose", since=1)
)
broadcast = _op(
    "broadcast",
    broadcast_type,
    broadcast_meaning,
    broadcast_vjp,
    broadcast_batch,
    lambda xp, x, *, shape: xp.broadcast_to(x, tuple(shape)),
    Onnx("Expand", since=8),
)

slice_ = Op(
    "slice",
    slice_type,
    slice_meaning,
    slice_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=EXACT,
    lower=slice_lower,
    onnx=Onnx("Slice", since=10),
)
pad = Op(
    "pad",
    pad_type,
    pad_meaning,
    pad_vjp,
    batch=LEADING,
    interval=DERIVED,
    relax=Linear((0,)),
    rounding=EXACT,
    lower=pad_lower,
    onnx=Onnx("Pad", since=11),
)
concat = Op(
    "concat",
    concat_type,
    concat_meaning,
    concat_vjp,
    batch=concat_batch,
    interval=DERIVED,
    relax=Linear(tuple(range(MANY))),
    rounding=EXACT,
    lower=lambda xp, *xs, axis: xp.concat(list(xs), axis=axis),
    onnx=Onnx("Concat", since=4),
)

OPS = (reshape, flatten, permute, broadcast, slice_, pad, concat)
