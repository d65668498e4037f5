"""`torchlean inspect PROGRAM`: its graph as text, and a table of its parameters and states."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from torchlean.cli.columns import columns
from torchlean.cli.programs import load
from torchlean.ir import type_of
from torchlean.run.program import Program

NUMBERS = ("entries", "least", "largest")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    program = load(options.program)
    rows = table(program)
    if options.json:
        print(json.dumps({"graph": str(program).splitlines(), "arrays": rows}))
        return 0
    print(program)
    if rows:
        print(f"\n{sum(r['entries'] for r in rows)} numbers in {len(rows)} arrays")
        print(columns(list(rows[0]), [[str(v) for v in row.values()] for row in rows], right=NUMBERS))
    return 0


def table(program: Program) -> list[dict[str, Any]]:
    """One row per parameter and state: name, kind, type, number of entries, and the ends of their range, as text."""
    rows: list[dict[str, Any]] = []
    for kind, arrays in (("parameter", program.parameters), ("state", program.states)):
        for name, array in arrays.items():
            ends = [_text(f(array)) if array.size else "" for f in (np.min, np.max)]
            rows.append({"name": name, "kind": kind, "type": str(type_of(array)), "entries": int(array.size),
                         "least": ends[0], "largest": ends[1]})  # fmt: skip
    return rows


def _text(value: Any) -> str:
    return f"{value:.6g}" if np.asarray(value).dtype.kind == "f" else str(value)
