"""ONNX bytes to the checker's network, one rule per op, written from the ONNX operator specification.

Refused: an op, attribute or opset meaning that is not listed here, a name defined twice, a second input or output,
weights that are not finite float32. Layout ops leave no node. A leading symbolic axis is 1. Source
onnx.ai/onnx/operators; SEMANTICS 1, 3, 5.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from torchlean_check import wire
from torchlean_check.errors import CheckError
from torchlean_check.gzipped import Bytes
from torchlean_check.lattice import merged
from torchlean_check.network import (
    Affine,
    AnyNode,
    Dense,
    Floats,
    Input,
    Map,
    Network,
    Nonlinear,
    Ref,
    Relu,
    Rows,
    Scale,
    Select,
    as_floats,
    matrix,
)
from torchlean_check.rules import families, read_constants, read_logic, read_products
from torchlean_check.wire import Array, Node, refuse, unsupported

MIN_OPSET, MAX_OPSET = 7, 23
MAX_SIZE = 1 << 26  # entries of one value or one matrix that the reader builds


class Reader:
    """Reads nodes in file order, which ONNX requires to be topological."""

    def __init__(self, model: wire.Model) -> None:
        self.opset = model.opsets.get("", 0)
        self.nodes: list[AnyNode] = []
        self.names: dict[str, Ref | Array] = {}
        self.first_name: dict[int, str] = {}  # value id -> the name of the node that made it
        if not MIN_OPSET <= self.opset <= MAX_OPSET:
            raise (unsupported if "" in model.opsets else refuse)(
                "the opset is not supported",
                at="model",
                expected=f"opset {MIN_OPSET} to {MAX_OPSET} of domain ''",
                got=str(self.opset),
                fix="convert the model with onnx.version_converter",
            )
        graph = model.graph
        self.names.update(graph.initializers)
        outer = [value for value in graph.inputs if value.name not in graph.initializers]
        if len({value.name for value in graph.inputs}) != len(graph.inputs):
            raise refuse("an input is listed twice", at="graph inputs", expected="one name each", got="a repeated name")
        if len(outer) != 1 or len(graph.outputs) != 1:
            raise unsupported(
                "the network must have one input and one output",
                at="graph",
                expected="1 input, 1 output",
                got=f"{len(outer)} inputs, {len(graph.outputs)} outputs",
                fix="export the part of the model that the property is about",
            )
        for value in graph.inputs:
            array = graph.initializers.get(value.name)
            if array is not None and (
                value.dtype != array.dtype.name or (value.shape is not None and value.shape != array.shape)
            ):
                raise refuse(
                    f"initializer '{value.name}' shadows an input of another type",
                    at="graph inputs",
                    expected=f"{value.shape}",
                    got=f"{array.dtype.name}{array.shape}",
                )
        self.input_shape = self.shape_of(outer[0])
        self.nodes.append(Input(math.prod(self.input_shape), self.input_shape))
        self.names[outer[0].name] = Ref(0, self.input_shape)
        self.uses = Counter(name for node in graph.nodes for name in node.inputs)
        self.output_name = graph.outputs[0].name
        if graph.outputs[0].dtype not in (None, "float32"):
            raise refuse(
                "the output must be float32", at="graph outputs", expected="float32", got=str(graph.outputs[0].dtype)
            )
        for node in graph.nodes:
            self.read(node)
        out = self.names.get(self.output_name)
        if not isinstance(out, Ref) or out.kind:
            raise refuse(
                "the output is not computed from the input",
                at=f"output '{self.output_name}'",
                expected="a node's value, of numbers",
                got="none",
            )
        self.output = out.value

    def shape_of(self, value: wire.Value) -> tuple[int, ...]:
        if value.dtype != "float32" or value.shape is None:
            raise unsupported(
                f"input '{value.name}' must be float32 with a shape",
                at="graph inputs",
                expected="float32[batch, ...]",
                got=f"{value.dtype}{value.shape}",
            )
        shape = list(value.shape)
        if shape and (shape[0] is None or isinstance(shape[0], str)):
            shape[0] = 1
        if (
            not all(isinstance(d, int) and d > 0 for d in shape)
            or math.prod(d for d in shape if isinstance(d, int)) > MAX_SIZE
        ):
            raise unsupported(
                f"input '{value.name}' has a dynamic, empty or huge shape",
                at="graph inputs",
                expected="positive sizes; only the first axis may be symbolic",
                got=str(value.shape),
                fix="fix the shape when exporting",
            )
        return tuple(d for d in shape if isinstance(d, int))

    # -- one node --------------------------------------------------------------------------------------------------

    def read(self, node: Node) -> None:
        rule = DENSE.get(node.op_type) or families().get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            got = f"{node.domain or 'ai.onnx'}.{node.op_type}"
            raise self.beyond(node, "the op is not supported", ", ".join(operators()), got)
        method, allowed = rule
        unknown = sorted(set(node.attributes) - set(allowed.split()))
        if unknown:
            raise self.beyond(node, "an attribute is not supported", allowed or "no attributes", ", ".join(unknown))
        outputs = [name for name in node.outputs if name]
        if not outputs or not node.outputs[0] or (len(outputs) > 1 and node.op_type != "Split"):
            raise self.beyond(node, "a node must have one output", "one named output", str(node.outputs))
        if len({*outputs} - {*self.names}) < len(outputs):
            raise self.bad(node, "a name is defined twice", "new names", ", ".join(outputs))
        missing = [name for name in node.inputs if name and name not in self.names]
        if missing:
            raise self.bad(
                node, "an input is not defined before its use", "nodes in topological order", ", ".join(missing)
            )
        kinds = [v.kind for v in map(self.names.get, node.inputs) if isinstance(v, Ref) and v.kind]
        if any(node.op_type not in read_logic.READERS[kind] for kind in kinds):
            raise self.beyond(node, "a value of this type is not read here", "float32", kinds[0])
        found = method(self, node)
        for name, result in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
            if isinstance(result, Ref) and math.prod(result.shape) != self.nodes[result.value].size:
                raise self.bad(node, "shapes do not fit", f"{self.nodes[result.value].size} entries", str(result.shape))
            self.names[name] = result
            if isinstance(result, Ref):
                self.first_name.setdefault(result.value, name)

    def bad(self, node: Node, what: str, expected: str, got: str) -> CheckError:
        return refuse(what, at=f"node '{node.name}' ({node.op_type})", expected=expected, got=got)

    def beyond(self, node: Node, what: str, expected: str, got: str) -> CheckError:
        fix = "export the model with supported ops only"
        return unsupported(what, at=f"node '{node.name}' ({node.op_type})", expected=expected, got=got, fix=fix)

    def arity(self, node: Node, low: int, high: int) -> list[Any]:
        """What the inputs name, Ref or Array; only from position `low` on may one be None, left out."""
        found = [self.names[name] if name else None for name in node.inputs]
        while found and found[-1] is None:
            found.pop()
        if not low <= len(found) <= high or any(v is None for v in found[:low]):
            raise self.bad(node, "wrong number of inputs", f"{low} to {high}", str(len(found)))
        return found

    def value(self, node: Node, v: Ref | Array | None) -> Ref:
        """A computed value; a constant becomes one, so that arithmetic on constants has meaning and error boxes."""
        if isinstance(v, Ref):
            return v
        c = self.weights(node, v)
        return self.affine(node, ((Select(np.full(c.size, -1), self.nodes[0].size), 0),), c.shape, bias=c.reshape(-1))

    def finite(self, node: Node, v: Ref | Array | None) -> Array:
        what, expected = "a weight must be a constant of finite float32 numbers", "finite float32 constant"
        if isinstance(v, Ref) or (v is not None and v.dtype != np.float32):
            raise self.beyond(node, what, expected, "a computed value" if isinstance(v, Ref) else f"{v.dtype}{v.shape}")
        if v is None or v.size == 0 or not np.isfinite([v.min(), v.max()]).all():
            raise self.bad(node, what, expected, "none" if v is None else f"{v.shape}, empty or with nan or infinity")
        return v

    def weights(self, node: Node, v: Ref | Array | None) -> Floats:
        return self.finite(node, v).astype(np.float64)

    def integers(self, node: Node, v: Any) -> tuple[int, ...]:
        if not isinstance(v, np.ndarray) or v.dtype not in (np.int64, np.int32) or v.ndim > 1:
            raise self.bad(node, "this input must be a constant list of integers", "int64 constant", type(v).__name__)
        return tuple(int(x) for x in v.reshape(-1))

    def attr(self, node: Node, name: str, default: Any) -> Any:
        value = node.attributes.get(name, default)
        if type(value) is not type(default) and default is not None:
            raise self.bad(node, f"attribute '{name}' has the wrong type", type(default).__name__, type(value).__name__)
        if isinstance(value, tuple) and not all(type(x) is int for x in value):
            raise self.bad(node, f"attribute '{name}' has the wrong type", "integers", str(value))
        return value

    def bent(self, made: Nonlinear) -> Ref:
        """A nonlinear node joins the network."""
        self.nodes.append(made)
        return Ref(len(self.nodes) - 1, made.shape)

    def affine(
        self,
        node: Node,
        terms: tuple[tuple[Map, int], ...],
        shape: tuple[int, ...],
        *,
        bias: Floats | None = None,
        leaves: Any = 0.0,
        adds: bool = False,
        weight_rel: float = 0.0,
        bias_err: Any = 0.0,
        magnitude: Floats | None = None,
        most: float = math.inf,
        scale: float = 1.0,
    ) -> Ref:
        size = math.prod(shape)
        if not 0 < size <= MAX_SIZE:
            raise self.beyond(node, "a value is empty or too large", f"1 to {MAX_SIZE} entries", str(shape))
        b = np.zeros(size) if bias is None else np.ascontiguousarray(bias)
        full = [np.ascontiguousarray(np.broadcast_to(np.asarray(v, np.float64), (size,))) for v in (leaves, bias_err)]
        self.nodes.append(
            Affine(
                terms,
                b,
                size,
                shape,
                full[0],
                adds,
                weight_rel,
                full[1],
                np.abs(b) if magnitude is None else magnitude,
                node.name,
                most,
                scale,
            )
        )
        return Ref(len(self.nodes) - 1, shape)

    # -- layout ----------------------------------------------------------------------------------------------------

    def same(self, node: Node) -> Ref | Array:
        (x,) = self.arity(node, 1, 1)
        return self.view(node, x, x.shape)

    def dropout(self, node: Node) -> Ref | Array:
        x, *rest = self.arity(node, 1, 3)
        if len(rest) == 2 and (
            not isinstance(rest[1], np.ndarray) or rest[1].size != 1 or bool(rest[1].reshape(-1)[0])
        ):
            raise self.beyond(
                node, "dropout in training mode is not supported", "training_mode false", "true or computed"
            )
        return self.view(node, x, x.shape)

    def constant(self, node: Node) -> Array:
        self.arity(node, 0, 0)
        if len(node.attributes) != 1:
            raise self.bad(node, "a constant has one value attribute", "one", str(sorted(node.attributes)))
        ((name, value),) = node.attributes.items()
        if name == "value" and isinstance(value, np.ndarray):
            return value
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        raise self.beyond(node, "this kind of constant is not supported", "a tensor, ints or floats", name)

    def view(self, node: Node, x: Ref | Array, shape: tuple[int, ...]) -> Ref | Array:
        if math.prod(x.shape) != math.prod(shape) or any(d < 1 for d in shape):
            raise self.bad(node, "shapes do not fit", f"{math.prod(x.shape)} entries", str(shape))
        return replace(x, shape=shape) if isinstance(x, Ref) else x.reshape(shape)

    def flatten(self, node: Node) -> Ref | Array:
        (x,) = self.arity(node, 1, 1)
        axis = self.attr(node, "axis", 1)
        if not (-len(x.shape) if self.opset >= 11 else 0) <= axis <= len(x.shape):
            raise self.bad(node, "axis is out of range", f"0 to {len(x.shape)}", str(axis))
        axis = axis + len(x.shape) if axis < 0 else axis
        return self.view(node, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))

    def reshape(self, node: Node) -> Ref | Array:
        x, s = self.arity(node, 2, 2)
        if self.attr(node, "allowzero", 0) != 0:
            raise self.beyond(node, "allowzero is not supported", "0", "1")
        shape = [x.shape[i] if d == 0 and i < len(x.shape) else d for i, d in enumerate(self.integers(node, s))]
        if shape.count(-1) == 1 and all(d > 0 for d in shape if d != -1):
            shape[shape.index(-1)] = math.prod(x.shape) // math.prod(d for d in shape if d != -1)
        return self.view(node, x, tuple(shape))

    def axes(self, node: Node, rank: int) -> list[int]:
        """The axes of squeeze and unsqueeze, in [0, rank), without repeats."""
        if self.opset >= 13:
            given = self.integers(node, self.arity(node, 2, 2)[1])
            if "axes" in node.attributes:
                raise self.bad(node, "axes is an input since opset 13", "no attribute", "axes")
        else:
            self.arity(node, 1, 1)
            given = self.attr(node, "axes", ())
        found = sorted(a + rank if a < 0 else a for a in given)
        if not found or len(set(found)) != len(found) or found[0] < 0 or found[-1] >= rank:
            raise self.bad(
                node, "axes are out of range, repeated or missing", f"distinct axes below {rank}", str(given)
            )
        return found

    def squeeze(self, node: Node) -> Ref | Array:
        x = self.arity(node, 1, 2)[0]
        axes = self.axes(node, len(x.shape))
        if any(x.shape[a] != 1 for a in axes):
            raise self.bad(node, "a squeezed axis is not 1", "1", str(x.shape))
        return self.view(node, x, tuple(d for i, d in enumerate(x.shape) if i not in axes))

    def unsqueeze(self, node: Node) -> Ref | Array:
        x = self.arity(node, 1, 2)[0]
        shape = list(x.shape)
        given = self.integers(node, self.arity(node, 2, 2)[1]) if self.opset >= 13 else self.attr(node, "axes", ())
        for a in self.axes(node, len(shape) + len(given)):
            shape.insert(a, 1)
        return self.view(node, x, tuple(shape))

    def select(self, node: Node, x: Ref | Array, pick: Any) -> Ref | Array:
        """A layout op through its action on indices."""
        if not isinstance(x, Ref):
            return np.array(pick(x))
        index = np.ascontiguousarray(pick(np.arange(math.prod(x.shape)).reshape(x.shape)))
        if index.size == 0:
            raise self.bad(node, "a value is empty", "at least one entry", str(index.shape))
        return self.affine(node, ((Select(index.reshape(-1), math.prod(x.shape)), x.value),), index.shape)

    def transpose(self, node: Node) -> Ref | Array:
        (x,) = self.arity(node, 1, 1)
        perm = self.attr(node, "perm", tuple(range(len(x.shape)))[::-1])
        if sorted(perm) != list(range(len(x.shape))):
            raise self.bad(node, "perm is not a permutation", f"of 0 to {len(x.shape) - 1}", str(perm))
        return self.select(node, x, lambda a: a.transpose(perm))

    def concat(self, node: Node) -> Ref | Array:
        found = self.arity(node, max(len(node.inputs), 1), 1024)
        rank = len(found[0].shape)
        axis = self.attr(node, "axis", None)
        if type(axis) is not int or not -rank <= axis < rank:
            raise self.bad(node, "axis is missing or out of range", f"-{rank} to {rank - 1}", str(axis))
        whole = read_constants.folded(self, node, lambda *parts: np.concatenate(parts, axis), *found)
        if whole is not None:
            return whole
        refs = [v if isinstance(v, Ref) else None for v in found]
        shapes = [v.shape for v in found if v is not None]
        if len({(len(s), *s[: axis % rank], *s[axis % rank + 1 :]) for s in shapes}) != 1:
            raise self.bad(node, "shapes do not fit", "equal but for one axis", str(shapes))
        index, bias = [], []
        for k, v in enumerate(found):
            index.append(np.stack([np.full(v.shape, k), np.arange(math.prod(v.shape)).reshape(v.shape)]))
            bias.append(np.zeros(v.shape) if isinstance(v, Ref) else self.weights(node, v))
        who = np.concatenate(index, axis=1 + axis % rank)
        terms = tuple(
            (Select(np.where(who[0] == k, who[1], -1).reshape(-1), math.prod(ref.shape)), ref.value)
            for k, ref in enumerate(refs)
            if ref is not None
        )
        if not terms:
            raise self.beyond(node, "constants are not joined", "a computed value, or integers", "float constants")
        return self.affine(node, terms, who.shape[1:], bias=np.concatenate(bias, axis=axis).reshape(-1))

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def relu(self, node: Node) -> Ref:
        x = self.value(node, self.arity(node, 1, 1)[0])
        return self.bent(Relu(x.value, math.prod(x.shape), x.shape, node.name))

    def add(self, node: Node, sign: float = 1.0) -> Ref | Array:
        a, b = self.arity(node, 2, 2)
        whole = read_constants.folded(self, node, lambda p, q: p + int(sign) * q, a, b)
        if whole is not None:
            return whole
        if not isinstance(a, Ref) and not isinstance(b, Ref):
            a = self.value(node, a)
        shape = self.broadcast(node, a.shape, b.shape)
        if isinstance(a, Ref) and isinstance(b, Ref):
            one, x, y = np.ones(math.prod(shape)), self.expand(node, a, shape), self.expand(node, b, shape)
            return self.affine(node, ((Scale(one), x.value), (Scale(sign * one), y.value)), shape, adds=True)
        x, constant = (a, b) if isinstance(a, Ref) else (self.value(node, b), a)
        factors = (1.0, sign) if isinstance(a, Ref) else (sign, 1.0)
        c, x = self.weights(node, constant), self.expand(node, x, shape)
        bias = factors[1] * np.broadcast_to(c, shape).reshape(-1)
        before = self.nodes[x.value]
        name = node.inputs[0] if isinstance(a, Ref) else node.inputs[1]
        alone = self.first_name.get(x.value) == name and self.uses[name] == 1 and name != self.output_name
        if (
            (isinstance(before, Affine) and before.leaves.any() and not before.adds)
            and not (before.bias.any() or before.bias_err.any())
            and (alone and factors[0] == 1.0 and x.value == len(self.nodes) - 1)
        ):
            self.nodes[-1] = replace(before, bias=bias, adds=True, magnitude=np.abs(bias), shape=shape, where=node.name)
            return Ref(x.value, shape)
        return self.affine(node, ((Scale(np.full(bias.size, factors[0])), x.value),), shape, bias=bias, adds=True)

    def broadcast(self, node: Node, shape: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        """The one shape that both repeat to; ONNX's multidirectional broadcasting is numpy's."""
        try:
            out = np.broadcast_shapes(shape, other)
        except ValueError:
            out = (0,)
        if not 0 < math.prod(out) <= MAX_SIZE:
            raise self.beyond(node, "the shapes do not broadcast, or to too many entries", str(shape), str(other))
        return tuple(out)

    def expand(self, node: Node, x: Ref, shape: tuple[int, ...]) -> Ref:
        """The value repeated to the shape."""
        if math.prod(x.shape) == math.prod(shape):
            return Ref(x.value, shape)
        found = self.select(node, x, lambda a: np.broadcast_to(a, shape))
        assert isinstance(found, Ref)
        return found

    def mul(self, node: Node) -> Ref | Array:
        a, b = self.arity(node, 2, 2)
        whole = read_constants.folded(self, node, lambda p, q: p * q, a, b)
        if whole is not None:
            return whole
        if isinstance(a, Ref) and isinstance(b, Ref):
            return read_products.times(self, node, a, b)
        x, constant = (a, b) if isinstance(a, Ref) else (self.value(node, b), a)
        c = self.weights(node, constant)
        x = self.expand(node, x, self.broadcast(node, x.shape, c.shape))
        factor = np.broadcast_to(c, x.shape).reshape(-1).copy()
        return self.affine(node, ((Scale(factor), x.value),), x.shape, leaves=1.0)

    def div(self, node: Node) -> Ref:
        a, b = self.arity(node, 2, 2)
        if isinstance(b, Ref):
            return read_products.over(self, node, self.value(node, a), b)
        x, c = self.value(node, a), self.weights(node, b)
        if (np.abs(c) < 2.0**-100).any() or (np.abs(c) > 2.0**100).any():
            raise self.beyond(node, "a divisor is zero or extreme", "2^-100 <= |c| <= 2^100", str(np.abs(c).min()))
        x = self.expand(node, x, self.broadcast(node, x.shape, c.shape))
        factor = 1.0 / np.broadcast_to(c, x.shape).reshape(-1)
        return self.affine(node, ((Scale(factor), x.value),), x.shape, leaves=3.0, weight_rel=2.0**-52)

    def neg(self, node: Node) -> Ref:
        x = self.value(node, self.arity(node, 1, 1)[0])
        return self.affine(node, ((Scale(-np.ones(math.prod(x.shape))), x.value),), x.shape)

    def matmul(self, node: Node) -> Ref:
        a, b = self.arity(node, 2, 2)
        if isinstance(b, Ref) and (isinstance(a, Ref) or a.ndim != 2 or len(b.shape) != 2):
            return read_products.matmul(self, node, self.value(node, a), b)
        if not isinstance(b, Ref) and b.ndim > 2:
            return read_products.matmul(self, node, self.value(node, a), self.value(node, b))
        if not isinstance(b, Ref):
            x, w = self.value(node, a), self.finite(node, b)
            rows, vector = math.prod(x.shape[:-1]), w.ndim == 1
            w = w[:, None] if vector else w
            if w.ndim != 2 or len(x.shape) < 1 or x.shape[-1] != w.shape[0]:
                raise self.bad(
                    node, "shapes do not fit", "value [..., k] times constant [k, n]", f"{x.shape} and {w.shape}"
                )
            shape = x.shape[:-1] if vector else (*x.shape[:-1], w.shape[1])
            return self.product(node, matrix(w.T) if rows == 1 else Rows(as_floats(w), rows), x, shape)
        x, w = self.value(node, b), self.weights(node, a)
        if w.ndim != 2 or len(x.shape) != 2 or x.shape[0] != w.shape[1] or x.shape[1] ** 2 * w.size > MAX_SIZE:
            raise self.bad(node, "shapes do not fit", "constant [m, k] times value [k, n]", f"{w.shape} and {x.shape}")
        return self.product(node, Dense(as_floats(np.kron(w, np.eye(x.shape[1])))), x, (w.shape[0], x.shape[1]))

    def product(
        self,
        node: Node,
        linear: Map,
        x: Ref,
        shape: tuple[int, ...],
        bias: Floats | None = None,
        extra: float = 0.0,
        **more: Any,
    ) -> Ref:
        leaves = linear.leaves() + (extra if bias is None else extra + 1.0)
        return self.affine(node, ((linear, x.value),), shape, bias=bias, leaves=np.maximum(leaves, 1.0), **more)

    def gemm(self, node: Node) -> Ref:
        """alpha and beta may multiply weights, inputs, products or sums: one rounding more on the way of each leaf.

        What underflows before is multiplied by alpha or beta, or, where alpha came first, by a weight without alpha;
        and the sum without alpha must not overflow.
        """
        found = self.arity(node, 2, 3)
        x, w = self.value(node, found[0]), self.weights(node, found[1])
        flags = self.attr(node, "transA", 0), self.attr(node, "transB", 0)
        alpha, beta = self.attr(node, "alpha", 1.0), self.attr(node, "beta", 1.0) if len(found) == 3 else 1.0
        if (
            not set(flags) <= {0, 1}
            or w.ndim != 2
            or not all(2.0**-60 <= abs(v) <= 2.0**60 for v in (alpha, beta))
            or not np.abs(alpha * w).max() <= np.finfo(np.float32).max
        ):
            raise self.beyond(
                node,
                "this form of Gemm is not supported",
                "transA, transB 0 or 1, a matrix, 2^-60 <= |alpha|, |beta| <= 2^60, alpha * B finite",
                f"{node.attributes}, {w.shape}",
            )
        w = alpha * (w if flags[1] else w.T)  # exact: two float32 numbers
        row = x.shape[::-1] if flags[0] else x.shape
        if len(row) != 2 or row[0] != 1 or row[1] != w.shape[1]:
            raise self.bad(node, "shapes do not fit", f"[1, {w.shape[1]}]", str(row))
        bias = None
        if len(found) == 3:
            c = self.weights(node, found[2])
            if self.broadcast(node, (1, len(w)), c.shape) != (1, len(w)):
                raise self.bad(node, "shapes do not fit", str((1, len(w))), str(c.shape))
            bias = beta * np.broadcast_to(c, (1, len(w))).reshape(-1)
        extra, size = float(alpha != 1.0 or beta != 1.0), abs(alpha)
        most = 2.0**126 / max(1.0, size, float(np.abs(w).sum(axis=1).max()) / size) if extra else math.inf
        scale = max(size, 1.0 / size, abs(beta))
        return self.product(node, matrix(w), x, (1, len(w)), bias, extra=extra, most=most, scale=scale)


Rule = Callable[[Reader, Node], Ref | Array | tuple[Ref | Array, ...]]
DENSE: dict[str, tuple[Rule, str]] = {
    "Identity": (Reader.same, ""),
    "Dropout": (Reader.dropout, "ratio seed"),
    "Constant": (Reader.constant, "value value_float value_floats value_int value_ints"),
    "Flatten": (Reader.flatten, "axis"),
    "Reshape": (Reader.reshape, "allowzero"),
    "Squeeze": (Reader.squeeze, "axes"),
    "Unsqueeze": (Reader.unsqueeze, "axes"),
    "Transpose": (Reader.transpose, "perm"),
    "Concat": (Reader.concat, "axis"),
    "Relu": (Reader.relu, ""),
    "Add": (Reader.add, ""),
    "Sub": (partial(Reader.add, sign=-1.0), ""),
    "Mul": (Reader.mul, ""),
    "Div": (Reader.div, ""),
    "Neg": (Reader.neg, ""),
    "MatMul": (Reader.matmul, ""),
    "Gemm": (Reader.gemm, "alpha beta transA transB"),
}


def operators() -> list[str]:
    """Every operator that has a rule."""
    return sorted({*DENSE, *families()})


def read_network(data: Bytes) -> Network:
    """The network in the uncompressed bytes of an ONNX file. CheckError names the node that is refused."""
    reader = Reader(wire.parse(data))
    return Network(merged(reader.nodes, reader.output), reader.output, reader.input_shape)
