"""Trusted. Ops that move entries: each is a rearrangement of arrays, written from the ONNX operator specification.

A rule takes (arguments, attributes, opset) and gives the function that rearranges one array, or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Move = Callable[[Array], Array]
Attributes = Mapping[str, Any]


def integers(v: Any) -> tuple[int, ...]:
    """A constant list of integers."""
    if isinstance(v, np.ndarray) and v.dtype in (np.int64, np.int32) and v.ndim <= 1:
        return tuple(int(n) for n in v.reshape(-1))
    raise ValueError("a list of integers must be a constant")


def axes_of(args: Sequence[Any], attributes: Attributes, opset: int, since: int, rank: int) -> tuple[int, ...]:
    """Axes given as an attribute before opset `since`, as the second input from then on; in [0, rank), ascending."""
    if ("axes" in attributes and opset >= since) or (len(args) > 1 and opset < since):
        raise ValueError(f"axes are an input from opset {since}, an attribute before")
    given = attributes.get("axes", ()) if opset < since else integers(args[1]) if len(args) > 1 else ()
    found = tuple(sorted(a + rank if a < 0 else a for a in given))
    if len(set(found)) != len(found) or any(not 0 <= a < rank for a in found):
        raise ValueError(f"axes {given} of rank {rank}")
    return found


def identity(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    return lambda a: a


def flatten(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    shape, axis = args[0].shape, attributes.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis}")
    axis = axis + len(shape) if axis < 0 else axis
    return lambda a: a.reshape(math.prod(shape[:axis]), math.prod(shape[axis:]))


def reshape(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    if attributes.get("allowzero", 0) != 0:
        raise ValueError("allowzero")
    shape = tuple(args[0].shape[i] if d == 0 else d for i, d in enumerate(integers(args[1])))
    return lambda a: a.reshape(shape)


def transpose(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    perm = attributes.get("perm", tuple(range(len(args[0].shape)))[::-1])
    return lambda a: a.transpose(perm)


def squeeze(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    axes = axes_of(args, attributes, opset, 13, len(args[0].shape))
    if not axes:
        raise ValueError("axes must be given")
    return lambda a: np.squeeze(a, axes)


def unsqueeze(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    count = len(integers(args[1])) if len(args) > 1 else len(attributes.get("axes", ()))
    axes = axes_of(args, attributes, opset, 13, len(args[0].shape) + count)
    return lambda a: np.expand_dims(a, axes)


def expand(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    shape = np.broadcast_shapes(args[0].shape, integers(args[1]))
    return lambda a: np.broadcast_to(a, shape)


def slice_(args: Sequence[Any], attributes: Attributes, opset: int) -> Move:
    rank, starts, ends = len(args[0].shape), integers(args[1]), integers(args[2])
    axes = integers(args[3]) if len(args) > 3 else tuple(range(len(starts)))
    steps = integers(args[4]) if len(args) > 4 else (1,) * len(starts)
    axes = tuple(a + rank if a < 0 else a for a in axes)
    right = len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes))
    if opset < 10 or not right or any(s != 1 for s in steps) or any(not 0 <= a < rank for a in axes):
        raise ValueError("starts, ends and axes of one length, steps of 1")
    cuts = [slice(None)] * rank
    for axis, first, last in zip(axes, starts, ends, strict=True):
        cuts[axis] = slice(first, last)
    return lambda a: a[tuple(cuts)]
