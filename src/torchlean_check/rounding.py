"""Trusted. Rounding certificates: a bound of |float32 - real| for named values of an ONNX model, derived again.

The walk reads the graph node by node (SEMANTICS 1) and gives every value a twin; a claim holds when the derived bound
is at most the claimed one. The region file is VNN-LIB: X_0, X_1, ... are the entries of all inputs in the graph's
order, its statements about Y are not read. Refused: an op or attribute that is not listed, and any value that may
overflow, be NaN or be undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from torchlean_check import wire
from torchlean_check.errors import CheckError
from torchlean_check.rules import rounding_affine as affine
from torchlean_check.rules import rounding_choice as choice
from torchlean_check.rules import rounding_function as function
from torchlean_check.rules import rounding_layout as layout
from torchlean_check.rules import rounding_pointwise as pointwise
from torchlean_check.twin import Twin, source
from torchlean_check.vnnlib_reader import Region
from torchlean_check.wire import Array, Node, refuse, unsupported

MIN_OPSET, MAX_OPSET, MAX_SIZE = 7, 22, 1 << 24
FLOATS = ("float32", "float64")
CASTS = {1: "float32", 11: "float64"}

LAYOUT: dict[str, tuple[Callable[..., Any], str]] = {
    "Identity": (layout.identity, ""), "Flatten": (layout.flatten, "axis"), "Reshape": (layout.reshape, "allowzero"),
    "Transpose": (layout.transpose, "perm"), "Squeeze": (layout.squeeze, "axes"), "Slice": (layout.slice_, ""),
    "Unsqueeze": (layout.unsqueeze, "axes"), "Expand": (layout.expand, ""),
}  # fmt: skip
BINARY: dict[str, Callable[[Twin, Twin], Twin]] = {
    "Add": pointwise.add, "Sub": pointwise.sub, "Mul": pointwise.mul, "Div": pointwise.div,
    "Max": choice.maximum, "Min": choice.minimum,
    "Less": lambda x, y: choice.compare(x, y, True), "LessOrEqual": lambda x, y: choice.compare(x, y, False),
    "Greater": lambda x, y: choice.compare(y, x, True), "GreaterOrEqual": lambda x, y: choice.compare(y, x, False),
}  # fmt: skip
UNARY: dict[str, Callable[[Twin], Twin]] = {
    "Neg": pointwise.neg,
    "Abs": lambda x: choice.maximum(x, pointwise.neg(x)),
    "Relu": lambda x: choice.maximum(x, constant(np.zeros((), x.dtype))),
    **{name.title(): partial(function.apply, name) for name in function.RELATIVE},
}  # fmt: skip
ATTRIBUTES = {
    **{name: allowed for name, (_, allowed) in LAYOUT.items()},
    **dict.fromkeys((*BINARY, *UNARY, "MatMul", "Where"), ""),
    "Constant": "value", "Concat": "axis", "Cast": "to", "Gemm": "alpha beta transA transB",
    "ReduceSum": "keepdims axes noop_with_empty_axes",
}  # fmt: skip


def constant(array: Array) -> Twin:
    """A constant as a twin. ValueError for one that is not finite, or of another type."""
    values = array.astype(np.float64)
    if array.dtype.name not in (*FLOATS, "int64", "bool") or not np.isfinite(values).all():
        raise ValueError("a constant must be finite, of float32, float64, int64 or bool")
    if array.dtype.name == "int64" and (np.abs(values) > 2.0**53).any():
        raise ValueError("an integer beyond 2^53")
    return source(values, values, array.dtype.name)


def _same_dtype(*twins: Twin) -> str:
    if len({t.dtype for t in twins}) != 1 or twins[0].dtype not in FLOATS:
        raise ValueError("float operands of one type, not " + ", ".join(t.dtype for t in twins))
    return twins[0].dtype


def derive(model: wire.Model, region: Region) -> dict[str, Twin]:
    """Every value that depends on an input, by name. CheckError names the node that is refused."""
    opset = model.opsets.get("", 0)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        expected = f"{MIN_OPSET} to {MAX_OPSET}"
        raise unsupported("the opset is not supported", at="model", expected=expected, got=str(opset))
    known: dict[str, Any] = dict(model.graph.initializers)
    found = _inputs(model.graph, region)
    if set(found) & set(known):
        raise refuse("an initializer shadows an input", at="graph inputs", expected="distinct names", got=str([*found]))
    known.update(found)
    for node in model.graph.nodes:
        at = f"node '{node.name}' ({node.op_type})"
        if node.domain not in ("", "ai.onnx") or node.op_type not in ATTRIBUTES:
            expected = ", ".join(sorted(ATTRIBUTES))
            raise unsupported("the op is not supported", at=at, expected=expected, got=node.op_type)
        unknown = sorted(set(node.attributes) - set(ATTRIBUTES[node.op_type].split()))
        if unknown or len(node.outputs) != 1:
            raise unsupported("an attribute or a second output is not supported", at=at,
                              expected=ATTRIBUTES[node.op_type] or "no attributes", got=", ".join(unknown))  # fmt: skip
        missing = [name for name in node.inputs if name not in known]
        if missing or node.outputs[0] in known or not node.outputs[0]:
            raise refuse("a name is used before it is defined, or defined twice", at=at, expected="topological order",
                         got=", ".join(missing) or node.outputs[0])  # fmt: skip
        try:
            with np.errstate(all="ignore"):
                result = _read(node, [known[name] for name in node.inputs], opset)
        except (ValueError, IndexError, TypeError) as error:
            what, expected = "the node's operands or attributes are not accepted", "shapes and types that fit"
            raise refuse(what, at=at, expected=expected, got=str(error)) from None
        if isinstance(result, Twin):
            if not result.finite or result.lo.size > MAX_SIZE or result.lo.size == 0:
                raise refuse("a value may overflow, be NaN or be undefined", at=at, expected="finite bounds",
                             got=f"shape {result.shape}", fix="take a smaller region")  # fmt: skip
            found[node.outputs[0]] = result
        known[node.outputs[0]] = result
    return found


def _inputs(graph: wire.Graph, region: Region) -> dict[str, Twin]:
    """The inputs' boxes, cut from the region's in the graph's order. A leading symbolic axis is 1."""
    found: dict[str, Twin] = {}
    taken = 0
    for value in graph.inputs:
        if value.name in graph.initializers:
            continue
        shape = tuple(1 if i == 0 and not isinstance(d, int) else d for i, d in enumerate(value.shape or ()))
        sizes = tuple(d for d in shape if isinstance(d, int) and d > 0)
        known = value.dtype in ("float32", "int64") and value.shape is not None and len(sizes) == len(shape)
        if not known or value.name in found:
            raise unsupported(
                f"input '{value.name}' is not supported",
                at="graph inputs",
                expected="float32 or int64 of a known shape",
                got=f"{value.dtype}{value.shape}",
            )
        part = slice(taken, taken + math.prod(sizes))
        taken = part.stop
        if taken > len(region.lo):
            break
        if value.dtype == "float32":
            found[value.name] = source(region.lo[part].reshape(sizes), region.hi[part].reshape(sizes), "float32")
            continue
        low = np.array([float(math.ceil(v)) for v in region.exact_lo[part]]).reshape(sizes)
        high = np.array([float(math.floor(v)) for v in region.exact_hi[part]]).reshape(sizes)
        if (np.abs(low) > 2.0**53).any() or (np.abs(high) > 2.0**53).any():
            raise unsupported("an integer is too large", at="graph inputs", expected="at most 2^53", got=value.name)
        found[value.name] = source(low, high, "int64")
    if taken != len(region.lo) or any((t.lo > t.hi).any() for t in found.values()):
        raise CheckError("the region does not fit the model's inputs", where="region", expected=f"{taken} variables X",
                         got=str(len(region.lo)), fix="give the region of this model")  # fmt: skip
    return found


def _read(node: Node, args: list[Any], opset: int) -> Any:
    """One node: a twin, or an array where all operands are constants that only move."""
    op, attributes = node.op_type, node.attributes
    if op == "Constant":
        value = attributes.get("value")
        if not isinstance(value, np.ndarray) or args:
            raise ValueError("a constant tensor")
        return value
    if op in LAYOUT:
        move = LAYOUT[op][0](args, attributes, opset)
        return args[0].move(move) if isinstance(args[0], Twin) else move(args[0])
    twins = [a if isinstance(a, Twin) else constant(a) for a in (args[:1] if op == "ReduceSum" else args)]
    if op in UNARY:
        (x,) = twins
        _same_dtype(x)
        return UNARY[op](x)
    if op in BINARY:
        x, y = twins
        _same_dtype(x, y)
        return BINARY[op](x, y)
    if op == "Where":
        c, x, y = twins
        _same_dtype(x, y)
        if c.dtype != "bool":
            raise ValueError("a bool condition")
        c, x, y = _broadcast(c, x, y)
        return choice.where(c, x, y)
    if op == "Cast":
        (x,) = twins
        if attributes.get("to") not in CASTS:
            raise ValueError("a cast to float32 or float64")
        return pointwise.cast(x, CASTS[attributes["to"]])
    if op == "Concat":
        _same_dtype(*twins)
        parts = zip(*((t.lo, t.hi, t.real_lo, t.real_hi, t.apart) for t in twins), strict=True)
        return Twin(twins[0].dtype, *(np.concatenate(p, axis=attributes["axis"]) for p in parts))
    _same_dtype(*twins)
    if op == "ReduceSum":
        rank = len(twins[0].shape)
        axes = layout.axes_of(args, attributes, opset, 13, rank)
        if attributes.get("noop_with_empty_axes", 0):
            raise ValueError("noop_with_empty_axes")
        return affine.reduce_sum(twins[0], axes or tuple(range(rank)), bool(attributes.get("keepdims", 1)))
    return _product(op, twins, attributes)


def _product(op: str, twins: list[Twin], attributes: dict[str, Any]) -> Twin:
    if op == "MatMul":
        x, w = twins
        if len(w.shape) < 2 or len(x.shape) < 2:
            raise ValueError("operands of rank 2 or more")
        return affine.matmul(x, w)
    x, w, *bias = twins
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or len(bias) > 1:
        raise ValueError("alpha and beta of 1")
    if len(x.shape) != 2 or len(w.shape) != 2:
        raise ValueError("matrices")
    x = x.move(lambda a: a.T) if attributes.get("transA", 0) else x
    w = w.move(lambda a: a.T) if attributes.get("transB", 0) else w
    shape = (x.shape[0], w.shape[1])
    spread = bias[0].move(lambda a: np.broadcast_to(a, shape)) if bias else None
    return affine.matmul(x, w, spread)


def _broadcast(*twins: Twin) -> tuple[Twin, ...]:
    shape = np.broadcast_shapes(*(t.shape for t in twins))
    return tuple(t.move(lambda a: np.broadcast_to(a, shape)) for t in twins)
