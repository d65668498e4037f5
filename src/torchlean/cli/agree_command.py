"""`torchlean agree PROGRAM --on eager-cpu,...`: hold executors against their promises."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from torchlean.cli import values
from torchlean.cli.programs import chosen_inputs, load


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--on", default="eager-cpu", help="executors, comma-separated: eager-cpu, eager-cuda")
    parser.add_argument("--input", help="an .npy file; random and extreme inputs by default")
    parser.add_argument("--batch-size", type=values.count, default=4, help="rows of random inputs (default 4)")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the random inputs (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    from torchlean.errors import UsageError
    from torchlean.run.agree import agree
    from torchlean.run.promises import EXECUTORS

    names = options.on.split(",")
    for name in names:
        if name not in EXECUTORS:
            raise UsageError(
                "no such executor", where="--on", expected=", ".join(EXECUTORS), got=name, fix="--on eager-cpu"
            )
    program = load(options.program)
    worst = 0
    results = []
    for label, inputs in chosen_inputs(program, options):
        report = agree(program, inputs, names)
        results.append({"inputs": label, "nodes": [asdict(n) for n in report.nodes], "kept": report.broken is None})
        if not options.json:
            print(f"inputs: {label}\n{report}")
        if report.broken is not None:
            worst = 1
            print(f"{report.broken.where} breaks the promise of {report.broken.executor}", file=sys.stderr)
    if options.json:
        print(json.dumps({"results": results}))
    return worst
