"""Crossing a linear op backward: its vjp, traced once into a small graph and run on many rows of coefficients at once.

A convolution is crossed by a transposed convolution; no matrix is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from torchlean import ops
from torchlean.ir import Builder, Graph, Node, Value
from torchlean.ir.lint import reachable


class Transpose:
    """The transpose of one node in its perturbed inputs, the others being constants.

    constants   xp arrays of the inputs that are not perturbed, by position
    """

    def __init__(self, graph: Graph, number: int, perturbed: tuple[int, ...], constants: Mapping[int, Any], xp: Any) -> None:
        self.node: Node = graph.nodes[number]
        self.perturbed, self.constants, self.xp = perturbed, constants, xp
        self.graph = self._trace(graph, number)
        self._plans: dict[int, Any] = {}

    def _trace(self, graph: Graph, number: int) -> Graph:
        g = Builder(ops.ALL, where="transpose")
        node = self.node
        inputs = [g.input(f"x{i}", graph.type(v)) for i, v in enumerate(node.inputs)]
        outputs = g.apply(node.op, *inputs, **node.attributes)
        given = g.input("rows", graph.type(Value(number)))
        cotangents = ops.ALL[node.op].rule("vjp")(
            g, tuple(inputs), (outputs,) if not isinstance(outputs, tuple) else outputs, (given,), **node.attributes
        )
        return _without_unused(g.finish({f"d{i}": cotangents[i] for i in self.perturbed}))

    def __call__(self, rows: Any) -> tuple[Any, ...]:
        """Coefficients on each perturbed input. Shapes: [R, *output] -> [R, *input] each."""
        from torchlean.passes import vmap
        from torchlean.run.schedule import schedule

        count = int(rows.shape[0])
        size = 1 << max(count - 1, 0).bit_length()  # few sizes, so that few plans are made
        if size not in self._plans:
            self._plans[size] = schedule(vmap(self.graph, ops.ALL, ["rows"], size))
        if size != count:
            pad = self.xp.zeros((size - count, *rows.shape[1:]), dtype=rows.dtype)
            if hasattr(rows, "device") and not isinstance(rows, np.ndarray):
                pad = pad.to(rows.device)
            rows = self.xp.concat([rows, pad], axis=0)
        needed = self.graph.inputs
        values = {f"x{i}": c for i, c in self.constants.items() if f"x{i}" in needed} | {"rows": rows}
        answer = self._plans[size].run(self.xp, values)
        return tuple(answer[f"d{i}"][:count] for i in self.perturbed)


def _without_unused(graph: Graph) -> Graph:
    """The graph without what its outputs do not depend on, inputs included."""
    live = sorted(reachable(graph))
    number = {old: new for new, old in enumerate(live)}
    nodes = [graph.nodes[i] for i in live]
    moved = [Node(n.op, tuple(Value(number[v.node], v.index) for v in n.inputs), n.attrs, n.types, n.where) for n in nodes]
    return Graph(tuple(moved), tuple((name, Value(number[v.node], v.index)) for name, v in graph.outputs))
