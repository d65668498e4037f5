"""Inference: states become parameters, and nothing is updated."""

from __future__ import annotations

from dataclasses import replace

from torchlean.ir import Graph
from torchlean.passes.simplify import drop_unreachable


def freeze(graph: Graph) -> Graph:
    """`graph` without updates; what was a state is read as a parameter of the same name."""
    nodes = tuple(replace(n, op="parameter") if n.op == "state" else n for n in graph.nodes)
    return drop_unreachable(replace(graph, nodes=nodes, updates=()))
