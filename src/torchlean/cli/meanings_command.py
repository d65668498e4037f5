"""`torchlean meanings PROGRAM --input x.npy`: one program in several arithmetics, side by side."""

from __future__ import annotations

import argparse
import json
from typing import Any

from torchlean.cli import values
from torchlean.cli.columns import fitted
from torchlean.cli.programs import load, one_input


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--input", help="an .npy file; one random row by default")
    parser.add_argument("--batch-size", type=values.count, default=1, help="rows of the random input (default 1)")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the random input (default 0)")
    parser.add_argument("--nodes", action="store_true", help="every node, not only the outputs: its first entry")
    parser.add_argument("--digits", type=values.count, default=12, help="significant digits (default 12)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    from torchlean.cli.arithmetics import evaluated, side_by_side

    program = load(options.program)
    label, inputs = one_input(program, options)
    found = evaluated(program, inputs, nodes=options.nodes)
    rows = side_by_side(found, options.digits, nodes=options.nodes)
    if options.json:
        print(json.dumps({"input": label, "rows": rows}))
        return 0
    print(f"{options.program} on {label}\n")
    print(fitted(rows))
    return 0
