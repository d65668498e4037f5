"""Crossing a linear node backward: its transpose, as a function of coefficients.

The op's own `vjp`, traced once for the node, batched over rows and run by its `lower`: a convolution is crossed by the
transposed convolution of the library, and no matrix is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from torchlean import ops
from torchlean.grad.transforms import vjp
from torchlean.ir import Builder, Graph, Node, TensorType, Value
from torchlean.ir.types import DTYPES
from torchlean.passes import retype, simplify, vmap
from torchlean.run.schedule import Schedule, schedule

COTANGENT = "cotangent:y"


@lru_cache(maxsize=512)
def _plan(node: Node, types: tuple[TensorType, ...], arg: int, rows: int, dtype: str) -> Schedule:
    """The transpose of `node` in its input `arg`, for `rows` rows, in the given dtype."""
    g = Builder(ops.ALL, where=node.where or "bounds")
    inputs = tuple(g.input(f"x{i}", t) for i, t in enumerate(types))
    alone = g.finish({"y": g.add_node(node.op, tuple(x.value for x in inputs), node.attributes, node.types)})
    pulled = vjp(alone, [f"x{arg}"])
    graph = simplify(Graph(pulled.nodes, (("y", pulled.output(f"grad:x{arg}")),)), ops.ALL)
    return schedule(vmap(retype(graph, ops.ALL, DTYPES[dtype]), ops.ALL, (COTANGENT,), rows))


def cross(xp: Any, node: Node, types: tuple[TensorType, ...], arg: int, rows: Any, inputs: Sequence[Any]) -> Any:
    """rows [R, *output] -> [R, *input arg]: each row's coefficients on the node's value, moved to its input.

    inputs   the node's inputs as xp arrays; None for those that the transpose does not read
    """
    anonymous = Node(node.op, tuple(Value(i) for i in range(len(node.inputs))), node.attrs, node.types)
    plan = _plan(anonymous, types, arg, rows.shape[0], _name(rows))
    values = {f"x{i}": rows if x is None else x for i, x in enumerate(inputs)}
    return plan.run(xp, {**values, COTANGENT: rows})["y"]


def _name(array: Any) -> str:
    return {"float32": "f32", "float64": "f64"}[str(array.dtype).removeprefix("torch.")]
