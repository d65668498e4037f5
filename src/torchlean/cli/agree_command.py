"""`torchlean agree PROGRAM --on eager-cpu,...`: hold executors against their promises.

Exit codes: 0 every promise is kept; 1 one is broken; 3 an executor is absent or could not run a node.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import Any

from torchlean.cli import values
from torchlean.cli.programs import chosen_inputs, load
from torchlean.errors import Unsupported, UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", nargs="?", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument(
        "--on",
        default="eager-cpu",
        help="executors, comma-separated: reference, eager-cpu, eager-cuda, onnxruntime (default eager-cpu)",
    )
    parser.add_argument("--input", help="an .npy file; random and extreme inputs by default")
    parser.add_argument("--batch-size", type=values.count, default=4, help="rows of random inputs (default 4)")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the random inputs (default 0)")
    parser.add_argument("--promises", action="store_true", help="print what each executor promises, and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    from torchlean.cli import executors

    if options.promises:
        found = executors.promises(list(executors.ALL.values()))
        print(json.dumps(found) if options.json else executors.as_text(found))
        return 0
    if options.program is None:
        raise UsageError(
            "no program is named",
            where="the command line of torchlean agree",
            expected="a program file, or --promises",
            got="neither",
            fix="torchlean agree net.onnx --on eager-cpu,onnxruntime",
        )
    return _compare(options)


def _compare(options: Any) -> int:
    from torchlean.cli.executors import named
    from torchlean.run.agree import agree

    chosen = named(options.on)
    program = load(options.program)
    codes = [0]
    results = []
    for label, inputs in chosen_inputs(program, options, extremes=True):
        report = agree(program, inputs, chosen)
        codes.append(1 if report.broken else Unsupported.exit_code if report.missed else 0)
        results.append(
            {
                "inputs": label,
                "kept": report.broken is None,
                "broken": report.broken and _plain(report.broken),
                "summary": report.summary,
                "nodes": [_plain(n) for n in report.nodes],
            }
        )
        if not options.json:
            print(f"inputs: {label}\n{report}\n")
    if options.json:
        print(json.dumps({"results": results}))
    return 1 if 1 in codes else max(codes)


def _plain(node: Any) -> dict[str, Any]:
    """A report whose infinities are words: JSON has no number for them."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(node).items()}
