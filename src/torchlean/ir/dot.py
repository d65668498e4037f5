"""A graph as a GraphViz drawing, in the DOT language."""

from __future__ import annotations

from torchlean.ir.graph import Graph, Node
from torchlean.ir.lint import NAMED
from torchlean.ir.text import format_attribute

_SHAPES = {"input": "oval", "parameter": "cylinder", "state": "cylinder", "constant": "plaintext"}


def format_dot(graph: Graph, title: str = "program") -> str:
    """DOT text: a box per node with its op and attributes, an edge per value with its type; data flow downwards.

    Render it with `dot -Tsvg`. Graphs inside attributes are not drawn.
    """
    lines = [f"digraph {_quoted(title)} {{", "  rankdir=TB; node [fontname=monospace]; edge [fontname=monospace];"]
    for index, node in enumerate(graph.nodes):
        tip = f", tooltip={_quoted(node.where)}" if node.where else ""
        lines.append(f"  n{index} [label={_quoted(_label(node))}, shape={_SHAPES.get(node.op, 'box')}{tip}];")
        for place, value in enumerate(node.inputs):
            note = f", headlabel={_quoted(str(place))}" if len(node.inputs) > 1 else ""
            lines.append(f"  n{value.node} -> n{index} [label={_quoted(str(graph.type(value)))}{note}];")
    for kind, roots in (("output", graph.outputs), ("update", graph.updates)):
        for place, (name, value) in enumerate(roots):
            lines.append(f"  {kind}{place} [label={_quoted(f'{kind} {name}')}, shape=oval];")
            lines.append(f"  n{value.node} -> {kind}{place} [label={_quoted(str(graph.type(value)))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _label(node: Node) -> str:
    if node.op in NAMED:
        return f"{node.op} {node.name}"
    values = (f"{n}={format_attribute(v)}" for n, v in node.attrs if not isinstance(v, Graph))
    return "\n".join([node.op, *values])


def _quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, line breaks as \\n."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
