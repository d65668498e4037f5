"""What the families of op records share: type rules, broadcasting, and the transpose of broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from torchlean.errors import ShapeError
from torchlean.floats.formats import BINARY32, Format
from torchlean.ir import ALIGNED, Builder, DType, Shape, Tensor, TensorType, boolean
from torchlean.ir.dims import is_one

Attrs = Mapping[str, Any]
Types = tuple[TensorType, ...]

U = 2.0**-24  # unit roundoff of binary32
TINY = 2.0**-126  # its smallest normal number
UP = (
    1.0 + 2.0**-30
)  # covers the float64 rounding of a bound that is itself computed in float64, sums of 2^20 terms included


def refuse(op: str, what: str, expected: str, got: str, fix: str) -> ShapeError:
    """The ShapeError of a type rule; the builder adds the source line."""
    return ShapeError(f"{op}: {what}", where=op, expected=expected, got=got, fix=fix)


def arity(op: str, types: Sequence[TensorType], count: int) -> None:
    """Raises ShapeError unless there are `count` inputs."""
    if len(types) != count:
        raise refuse(
            op, "wrong number of inputs", f"{count} inputs", f"{len(types)} inputs", f"see the op table for {op}"
        )


def only_attrs(op: str, attrs: Attrs, *names: str) -> None:
    """Raises ShapeError unless exactly these attributes are given."""
    if set(attrs) != set(names):
        raise refuse(
            op,
            "wrong attributes",
            ", ".join(names) or "no attributes",
            ", ".join(sorted(attrs)) or "none",
            f"see the op table for {op}",
        )


def is_float(op: str, *types: TensorType) -> None:
    """Raises ShapeError unless every input is of a float dtype."""
    for t in types:
        if t.dtype.kind != "float":
            raise refuse(op, "needs float inputs", "a float dtype", str(t), 'cast(x, dtype="f32")')


def is_number(op: str, *types: TensorType) -> None:
    """Raises ShapeError where an input is bool."""
    for t in types:
        if t.dtype.kind == "bool":
            raise refuse(op, "needs numbers", "a float or int dtype", str(t), "where(condition, 1.0, 0.0)")


def one_dtype(op: str, types: Sequence[TensorType]) -> DType:
    """The common dtype. Raises ShapeError when they differ: there is no silent promotion."""
    if any(t.dtype != types[0].dtype for t in types):
        raise refuse(
            op,
            "the inputs have different dtypes",
            "one dtype",
            " and ".join(str(t) for t in types),
            "cast one of them: cast(x, dtype=...)",
        )
    return types[0].dtype


def broadcast_shapes(op: str, a: Shape, b: Shape) -> Shape:
    """The shape of an elementwise result.

    One of: equal shapes; a scalar; a shape that equals the other's trailing axes; equal rank with literal-1 axes.
    Never two at once: `[n, 1]` with `[n]` is refused.
    """
    if a == b or not b:
        return a
    if not a:
        return b
    if len(a) != len(b):
        long, short = (a, b) if len(a) > len(b) else (b, a)
        if long[-len(short) :] == short:
            return long
    elif all(x == y or is_one(x) or is_one(y) for x, y in zip(a, b, strict=True)):
        return tuple(y if is_one(x) else x for x, y in zip(a, b, strict=True))
    raise refuse(
        op,
        "the shapes do not broadcast",
        "equal shapes, a scalar, a shape equal to the other's trailing axes, or equal rank with 1-axes",
        f"{_shape(a)} and {_shape(b)}",
        f"say which axis is meant: reshape the smaller to rank {max(len(a), len(b))} with 1 where it repeats",
    )


def _shape(shape: Shape) -> str:
    return "[" + ", ".join(str(s) for s in shape) + "]"


def elementwise(
    op: str, count: int, *, check: Callable[..., None] | None = is_float, result: DType | None = None
) -> Callable[..., Types]:
    """The type rule of an elementwise op of `count` inputs without attributes; `check` refuses a kind of dtype."""

    def rule(attrs: Attrs, *types: TensorType) -> Types:
        arity(op, types, count)
        only_attrs(op, attrs)
        if check is not None:
            check(op, *types)
        dtype = one_dtype(op, types)
        shape = types[0].shape
        for t in types[1:]:
            shape = broadcast_shapes(op, shape, t.shape)
        return (TensorType(shape, result or dtype),)

    return rule


def compare(op: str) -> Callable[..., Types]:
    """The type rule of a comparison."""
    return elementwise(op, 2, check=None, result=boolean)


def normal_axes(op: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Axes as stored: counted from the end (negative), ascending, distinct. Raises ShapeError."""
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    if any(not isinstance(a, int) or not -rank <= a < rank for a in given):
        raise refuse(op, "no such axis", f"axes from {-rank} to {rank - 1}", str(given), "count the axes of the input")
    negative = tuple(sorted(a if a < 0 else a - rank for a in given))
    if len(set(negative)) != len(negative):
        raise refuse(op, "an axis is named twice", "distinct axes", str(given), "name each axis once")
    return negative


def unbroadcast(g: Builder, cotangent: Tensor, like: Tensor) -> Tensor:
    """The transpose of broadcasting: sums `cotangent` down to the shape of `like`."""
    shape, target = cotangent.shape, like.shape
    if shape == target:
        return cotangent
    extra = len(shape) - len(target)
    if extra:
        cotangent = g.sum(cotangent, axes=tuple(range(-len(shape), -len(target))), keepdims=False)
    ones = tuple(i - len(target) for i, s in enumerate(target) if is_one(s) and not is_one(shape[extra + i]))
    return g.sum(cotangent, axes=ones, keepdims=True) if ones else cotangent


def magnitude(*arrays: np.ndarray) -> np.ndarray:
    """The elementwise maximum of bounds on magnitudes, broadcast."""
    result: np.ndarray = np.abs(arrays[0])
    for a in arrays[1:]:
        result = np.maximum(result, np.abs(a))
    return result


def standard_rounding(magnitudes: Sequence[np.ndarray], result: np.ndarray, *, fmt: Format = BINARY32) -> np.ndarray:
    """One correctly rounded operation, or one whose subnormals are flushed: u |result| + the smallest normal number.

    Source   SEMANTICS 3; Higham 2002, Accuracy and Stability of Numerical Algorithms, section 2.2.
    """
    bound: np.ndarray = (fmt.unit_roundoff * result + fmt.smallest_normal) * UP
    return bound


__all__ = [
    "ALIGNED",
    "TINY",
    "UP",
    "Attrs",
    "Types",
    "U",
    "arity",
    "broadcast_shapes",
    "compare",
    "elementwise",
    "is_float",
    "is_number",
    "magnitude",
    "normal_axes",
    "one_dtype",
    "only_attrs",
    "refuse",
    "standard_rounding",
    "unbroadcast",
]
