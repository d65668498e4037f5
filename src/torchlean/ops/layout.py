"""Moving values without changing them.

Shapes   reshape: same number of entries in row-major order; permute: axes reordered; broadcast: entries repeated
Floats   exact in every number system
"""

from __future__ import annotations

from math import prod
from typing import Any

from torchlean.ir import DERIVED, EXACT, Linear, Onnx, Op, TensorType
from torchlean.ir.dims import as_size, is_one, numel
from torchlean.ops.common import Attrs, Types, arity, normal_axes, only_attrs, refuse, unbroadcast


def reshape_type(attrs: Attrs, *types: TensorType) -> Types:
    """Same number of entries; one axis may be -1 and takes what is left."""
    arity("reshape", types, 1)
    only_attrs("reshape", attrs, "shape")
    (x,) = types
    shape = [as_size(s) for s in attrs["shape"]]
    total = numel(x.shape)
    if -1 in shape:
        at = shape.index(-1)
        rest = prod(shape[:at] + shape[at + 1 :])
        if isinstance(total, int) and isinstance(rest, int):
            left = total // rest if rest else 0
        elif isinstance(rest, int) and rest:
            left = total // rest
        else:
            left = _divide(total, rest)
        shape[at] = left
    if any(isinstance(s, int) and s < 0 for s in shape) or numel(tuple(shape)) != total:
        raise refuse("reshape", "the number of entries changes", f"a shape with {total} entries",
                     f"{x} to [{', '.join(str(s) for s in attrs['shape'])}]", "leave one axis -1 to have it computed")  # fmt: skip
    return (x.with_shape(tuple(shape)),)


def _divide(total: Any, rest: Any) -> Any:
    """total / rest where one is a multiple of the other by shared symbols; tries the candidates that dimensions give."""
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
        raise refuse("broadcast", "the shape cannot be reached by repeating", "trailing axes equal or 1",
                     f"{x} to [{', '.join(map(str, shape))}]", "reshape x so that 1 stands where it repeats")  # fmt: skip
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


def _op(name: str, type_rule: Any, meaning: Any, vjp: Any, batch: Any, lower: Any, onnx: Any) -> Op:
    return Op(name, type_rule, meaning, vjp, batch=batch, interval=DERIVED, relax=Linear((0,)), rounding=EXACT,
              lower=lower, onnx=onnx)  # fmt: skip


reshape = _op("reshape", reshape_type, reshape_meaning, reshape_vjp, reshape_batch,
              lambda xp, x, *, shape: xp.reshape(x, tuple(shape)), Onnx("Reshape", since=5))  # fmt: skip
flatten = _op("flatten", flatten_type, flatten_meaning, flatten_vjp, flatten_batch,
              lambda xp, x: xp.reshape(x, (x.shape[0], prod(x.shape[1:]))), Onnx("Flatten", since=1))  # fmt: skip
permute = _op("permute", permute_type, permute_meaning, permute_vjp, permute_batch, permute_lower,
              Onnx("Transpose", since=1))  # fmt: skip
broadcast = _op("broadcast", broadcast_type, broadcast_meaning, broadcast_vjp, broadcast_batch,
                lambda xp, x, *, shape: xp.broadcast_to(x, tuple(shape)), Onnx("Expand", since=8))  # fmt: skip

OPS = (reshape, flatten, permute, broadcast)
