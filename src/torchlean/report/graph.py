"""A graph as a drawing: one box per node, top to bottom, with its type, as SVG text."""

from __future__ import annotations

import html

from torchlean.ir import Graph

ROW, HEIGHT, LEFT, LANE = 44, 28, 8, 14
CHARACTER = 7.3  # width of one character of the 12 px monospaced font, a little above what fonts have
SOURCES = ("parameter", "constant", "state")
STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#1b1f24}.soft{fill:#59636e}"
    ".node{fill:#eef4fb;stroke:#0a5cad}.io{fill:#fdf3ea;stroke:#c4561b}"
    ".edge{fill:none;stroke:#59636e;stroke-width:1.4}.skip{fill:none;stroke:#c4561b;stroke-width:1.4}"
    ".tip{fill:#59636e}.skiptip{fill:#c4561b}"
)


def draw(graph: Graph) -> str:
    """The nodes that compute, in order; the arrays that a node reads are named beside it, with their types.

    An edge that skips rows runs to the right of the boxes, each in a lane of its own, so a residual connection shows.
    """
    rows = [i for i, n in enumerate(graph.nodes) if n.op not in SOURCES]
    at = {number: row for row, number in enumerate(rows)}
    outputs: dict[int, list[str]] = {}
    for name, value in graph.outputs:
        outputs.setdefault(value.node, []).append(name)
    labels = {i: _label(graph, i, outputs.get(i, [])) for i in rows}
    box = max(180, *(int(len(text) * CHARACTER) + 22 for text in labels.values())) if labels else 180
    skips = sorted(
        {(at[v.node], at[i]) for i in rows for v in graph.nodes[i].inputs if v.node in at and at[i] - at[v.node] > 1},
        key=lambda e: (e[1] - e[0], e),
    )
    lanes = _lanes(skips)
    right = LEFT + box + LANE * (1 + max(lanes.values(), default=-1)) + 22
    parts, widest = [], right
    for number in rows:
        node, top = graph.nodes[number], at[number] * ROW + 8
        kind = "io" if node.op == "input" or number in outputs else "node"
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{box}" height="{HEIGHT}" rx="5" class="{kind}"/>')
        parts.append(f'<text x="{LEFT + 10}" y="{top + 18}">{html.escape(labels[number])}</text>')
        reads = ", ".join(_array(graph, v.node) for v in node.inputs if graph.nodes[v.node].op in SOURCES)
        if reads:
            parts.append(f'<text x="{right}" y="{top + 18}" class="soft">{html.escape(reads)}</text>')
            widest = max(widest, right + int(len(reads) * CHARACTER))
        if any(at.get(v.node, -2) == at[number] - 1 for v in node.inputs):
            x = LEFT + box // 2
            parts.append(f'<path d="M{x} {top - ROW + HEIGHT} V{top - 5}" class="edge"/>')
            parts.append(f'<path d="M{x - 4} {top - 7} h8 l-4 7 z" class="tip"/>')
    for (start, end), lane in lanes.items():
        x, out = LEFT + box, LANE * (lane + 1)
        y0, y1 = start * ROW + 8 + HEIGHT - 8, end * ROW + 8 + 8
        parts.append(f'<path d="M{x} {y0} h{out} V{y1} H{x + 6}" class="skip"/>')
        parts.append(f'<path d="M{x + 7} {y1 - 4} v8 l-7 -4 z" class="skiptip"/>')
    width, height = widest + 10, len(rows) * ROW + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><style>{STYLE}</style>{"".join(parts)}</svg>'
    )


def _label(graph: Graph, number: int, outputs: list[str]) -> str:
    node = graph.nodes[number]
    title = f"input {node.name}" if node.op == "input" else node.op
    types = ", ".join(str(t) for t in node.types)
    return f"{title}: {types}" + (f"  = {', '.join(outputs)}" if outputs else "")


def _array(graph: Graph, number: int) -> str:
    node = graph.nodes[number]
    return f"{node.attributes.get('name', node.op)} {', '.join(str(t) for t in node.types)}"


def _lanes(skips: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each edge (row, row) the first lane in which no other edge overlaps it."""
    taken: dict[tuple[int, int], int] = {}
    for start, end in skips:
        busy = {lane for (a, b), lane in taken.items() if a < end and start < b}
        taken[start, end] = next(lane for lane in range(len(skips)) if lane not in busy)
    return taken
