"""`torchlean meanings PROGRAM --input x.npy`: one program in several arithmetics, side by side."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from torchlean.cli import values
from torchlean.cli.columns import columns
from torchlean.cli.programs import chosen_inputs, load
from torchlean.run.program import Program, sizes_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--input", help="an .npy file; one random row by default")
    parser.add_argument("--batch-size", type=values.count, default=1, help="rows of the random input (default 1)")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the random input (default 0)")
    parser.add_argument("--nodes", action="store_true", help="every node, not only the outputs: its first entry")
    parser.add_argument("--digits", type=values.count, default=12, help="significant digits (default 12)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    program = load(options.program)
    inputs = dict(chosen_inputs(program, options))
    label = "standard normal" if options.input is None else options.input
    rows = table(program, inputs[label], options.nodes, options.digits)
    if options.json:
        print(json.dumps({"input": label, "rows": rows}))
        return 0
    print(f"{options.program} on {label}\n")
    print(layout(rows, shutil.get_terminal_size((120, 40)).columns))
    return 0


def layout(rows: list[dict[str, str]], width: int) -> str:
    """The number systems side by side where that fits in `width`, else below each other, digit under digit."""
    table = columns(list(rows[0]), [list(row.values()) for row in rows])
    if max(map(len, table.splitlines())) <= width:
        return table
    return "\n".join(
        columns((row["value"], ""), [(f"  {head}", text) for head, text in row.items() if head != "value"])
        for row in rows
    )


def table(program: Program, inputs: Mapping[str, np.ndarray], nodes: bool, digits: int) -> list[dict[str, str]]:
    """One row per output entry, or per node: its value in each number system."""
    from torchlean.meaning import Float, IntervalFloat, IntervalReal, Real, cells
    from torchlean.meaning.evaluate import evaluate

    graph = program.specialise(**sizes_of(program.graph, inputs)).graph
    arrays = {**program.parameters, **program.states, **inputs}
    columns: dict[str, dict[str, str]] = {}
    for head, N in (
        ("float32", Float()),
        ("real", Real()),
        ("interval of real", IntervalReal()),
        ("interval of float32", IntervalFloat()),
    ):
        shown: dict[str, str] = {}

        def observe(number: int, node: Any, found: tuple[Any, ...], shown: dict[str, str] = shown) -> None:
            if nodes and node.inputs:
                shown[f"%{number} {node.op}"] = cells(found[0], digits)[0]

        answer = evaluate(graph, N, {name: N.constant(np.asarray(a)) for name, a in arrays.items()}, observe)
        for name, value in answer.items():
            shown.update((f"{name}[{i}]", text) for i, text in enumerate(cells(value, digits)))
        columns[head] = shown
    names = list(columns["float32"])
    return [{"value": name, **{head: column[name] for head, column in columns.items()}} for name in names]


__all__ = ["arguments", "run", "table"]
