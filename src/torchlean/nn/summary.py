"""A program's layers as a table: results, parameters, counts."""

from __future__ import annotations

from math import prod

from torchlean.ir import TensorType
from torchlean.run.program import Program


def parameter_count(program: Program) -> int:
    """The number of trained numbers."""
    return sum(a.size for a in program.parameters.values())


def rows(program: Program) -> list[tuple[str, str, str, int]]:
    """(layer, parameters and their types, result, count), in the order of first use.

    A layer is a path: what stands before the last dot of its parameters' names. Its result is the first value that no
    parameter of the same layer joins any more.
    """
    graph = program.graph
    types: dict[str, list[tuple[str, TensorType]]] = {}
    result: dict[str, str] = {}
    owner = {i: n.name.rpartition(".")[0] for i, n in enumerate(graph.nodes) if n.op == "parameter"}
    for i, path in owner.items():
        node = graph.nodes[i]
        types.setdefault(path, []).append((node.name.rpartition(".")[2], node.type))
    for node in graph.nodes:
        for path in dict.fromkeys(owner[v.node] for v in node.inputs if v.node in owner):
            result[path] = str(node.types[0])
    return [
        (
            path or "(top)",
            ", ".join(f"{n} {t}" for n, t in found),
            result.get(path, ""),
            sum(prod(t.sizes) for _, t in found),
        )
        for path, found in types.items()
    ]


def summary(program: Program) -> str:
    """The table as text, with the inputs, the outputs and the total."""
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("layer", "parameters", "result"):
        table.add_column(title, no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for name, t in program.graph.source_types("input").items():
        table.add_row(f"input {name}", "", str(t), "")
    for path, parameters, shown, count in rows(program):
        table.add_row(path, parameters, shown, f"{count:,}")
    for name, t in program.graph.output_types.items():
        table.add_row(f"output {name}", "", str(t), "")
    table.add_row("total", "", "", f"{parameter_count(program):,}")
    text = StringIO()
    Console(file=text, width=200, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())
