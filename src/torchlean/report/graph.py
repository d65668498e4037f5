"""A graph as a drawing: one box per node, top to bottom, with its type, as SVG text."""

from __future__ import annotations

import html

from torchlean.ir import Graph

ROW, WIDTH, BOX = 44, 640, 300


def draw(graph: Graph) -> str:
    """The nodes that compute, in order; parameters are named beside the node that reads them.

    An edge that skips rows bends to the right of the boxes, so a residual connection shows.
    """
    sources = ("parameter", "constant", "state")
    rows = [i for i, n in enumerate(graph.nodes) if n.op not in sources]
    at = {number: row for row, number in enumerate(rows)}
    parts = []
    for number in rows:
        node = graph.nodes[number]
        y = at[number] * ROW + 8
        names = [
            graph.nodes[v.node].attributes.get("name", graph.nodes[v.node].op)
            for v in node.inputs
            if graph.nodes[v.node].op in sources
        ]
        title = node.op if node.op != "input" else f"input {node.name}"
        label = f"{title}: {', '.join(str(t) for t in node.types)}"
        parts.append(f'<rect x="8" y="{y}" width="{BOX}" height="28" rx="5" class="node"/>')
        parts.append(f'<text x="18" y="{y + 18}">{html.escape(label)}</text>')
        if names:
            parts.append(
                f'<text x="{BOX + 66}" y="{y + 18}" class="soft">{html.escape(", ".join(map(str, names)))}</text>'
            )
        for v in node.inputs:
            if v.node not in at:
                continue
            start, end = at[v.node] * ROW + 36, y
            if at[number] == at[v.node] + 1:
                parts.append(f'<path d="M{BOX / 2} {start} V{end}" class="edge"/>')
            else:
                parts.append(f'<path d="M{BOX + 8} {start - 14} h24 V{end + 14} h-24" class="edge"/>')
    height = len(rows) * ROW + 8
    style = (
        "text{font:12px ui-monospace,monospace;fill:#1b1f24}.soft{fill:#59636e}"
        ".node{fill:#eef4fb;stroke:#0a5cad}.edge{fill:none;stroke:#59636e;stroke-width:1.4}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<style>{style}</style>{''.join(parts)}</svg>"
    )
