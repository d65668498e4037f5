"""Run a set of VNN-COMP instances through the command line, and check every certificate.

    python bench/vnncomp.py acasxu [--timeout-cap S] [--only TEXT ...] [--every N] [--repeat N] [--data FOLDER]

One whole process per instance, from `torchlean verify` to the prompt, certificate written; then `torchlean-check` on
what it wrote. What ends within a second is mostly start-up, whose time varies by a quarter: such an instance is run N
times, and the medians of its times stand (a run with another verdict would be the row). Both commands start from
compiled bytecode, as an installed package does. Writes bench/results/vnncomp_SET.md and .json. An interrupt or a
request to terminate ends what runs; the lines printed so far stand, the tables stay as they were.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
from dataclasses import asdict, replace
from pathlib import Path

from table import run
from torchlean.apps.sweep import Instance, Paths, Processes, Row, Settings, read_instances, run_one
from torchlean_check.process import processors

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def stem(path: str) -> str:
    return Path(path).stem


def peer(instance: Instance) -> str:
    """The fastest tool of VNN-COMP on this instance, and its seconds."""
    return f"{instance.more.get('fastest_tool', '')} {instance.more.get('fastest_seconds', '')[:6]}"


def table(lines: list[tuple[Instance, Row]]) -> str:
    columns = ("network", "property", "verdict", "expected", "seconds", "processor seconds", "check", "check seconds",
               "bytes", "leaves", "fastest peer")  # fmt: skip
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return head + "".join(
        f"| {stem(x.onnx)} | {stem(x.vnnlib)} | {x.status}{' **WRONG**' if x.wrong else ''} | {x.expected} "
        f"| {x.seconds:.2f} | {x.cpu_seconds:.2f} | {x.checked} | {x.check_seconds:.2f} | {x.certificate_bytes} "
        f"| {x.leaves} | {peer(instance)} |\n"
        for instance, x in lines
    )


def summary(name: str, rows: list[Row], repeat: int) -> dict[str, float | int | str]:
    seconds = [x.seconds for x in rows]
    proofs = [x for x in rows if x.status == "unsat"]
    return {
        "set": name, "instances": len(rows), "solved": sum(x.solved for x in rows),
        "wrong": sum(x.wrong for x in rows),
        "sat": sum(x.status == "sat" for x in rows), "unsat": len(proofs),
        "unsat with a valid certificate": sum(x.checked == "valid" for x in proofs),
        "unsat float32": sum(x.semantics == "float32" for x in proofs),
        "checks slower than their proof": sum(x.check_seconds > x.seconds for x in proofs),
        "checks with more processor time": sum(x.check_cpu_seconds > x.cpu_seconds for x in proofs),
        "median seconds": round(statistics.median(seconds), 3), "mean seconds": round(statistics.fmean(seconds), 3),
        "total seconds": round(sum(seconds), 1),
        "median processor seconds": round(statistics.median(x.cpu_seconds for x in rows), 3),
        "mean processor seconds": round(statistics.fmean(x.cpu_seconds for x in rows), 3),
        "processors": processors(),
        "runs of what took less than a second": repeat,
        "load at the end": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def measured(instance: Instance, settings: Settings, processes: Processes, repeat: int) -> Row:
    """The row of an instance; of short ones, the medians of several runs."""
    rows = [run_one(instance, settings, Paths(), processes)]
    while len(rows) < repeat and rows[0].seconds < 1:
        rows.append(run_one(instance, settings, Paths(), processes))
        if (rows[-1].status, rows[-1].checked) != (rows[0].status, rows[0].checked):
            return rows[-1]
    times = ("seconds", "cpu_seconds", "check_seconds", "check_cpu_seconds")
    return replace(rows[0], **{name: statistics.median(getattr(row, name) for row in rows) for name in times})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--timeout-cap", type=float)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "vnncomp")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    instances, problems = read_instances(options.data / options.set / "instances.csv")
    if problems:
        raise problems[0]
    chosen = [i for i in instances if all(text in f"{i.onnx} {i.vnnlib}" for text in options.only)]
    settings, processes = Settings(options.timeout_cap, check=True), Processes()
    compileall.compile_dir(ROOT / "src", quiet=1)
    lines = []
    for instance in chosen[:: options.every]:
        row = measured(instance, settings, processes, options.repeat)
        lines.append((instance, row))
        print(
            f"{stem(row.onnx):34} {stem(row.vnnlib):28} {row.status:8} {row.expected:8} {row.seconds:7.2f} s "
            f"{row.cpu_seconds:7.2f} cpu  {row.checked:7} {row.check_seconds:6.2f} s {row.leaves:7} leaves"
            f"{'   WRONG' if row.wrong else ''}",
            flush=True,
        )
    found = summary(options.set, [row for _, row in lines], options.repeat)
    text = "\n".join(f"{k:38} {v}" for k, v in found.items())
    print(text)
    if not options.no_save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        name = RESULTS / f"vnncomp_{options.set}"
        name.with_suffix(".md").write_text(f"# {options.set}\n\n```\n{text}\n```\n\n{table(lines)}")
        everything = {"summary": found, "instances": [{**asdict(row), "peer": peer(i)} for i, row in lines]}
        name.with_suffix(".json").write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
