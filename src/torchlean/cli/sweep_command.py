"""`torchlean sweep INSTANCES.csv`: every instance as a whole process; results that survive an interruption."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchlean.cli import cluster_flags, values
from torchlean.cli.terminable import terminable
from torchlean.streams import complain, report


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instances", help="a list of network, property, timeout (VNN-COMP)", metavar="INSTANCES.csv")
    parser.add_argument("--out", required=True, help="results, one line per finished instance; resumed where it exists")
    parser.add_argument("--jobs", type=values.count, default=1, help="instances at a time (default 1)")
    cluster_flags.arguments(parser, "instances run", "the instance is the task")
    parser.add_argument("--timeout-cap", type=values.seconds, help="seconds an instance has at most")
    parser.add_argument("--semantics", choices=("float32", "real"), default="float32")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the attacks' random starts (default 0)")
    parser.add_argument("--memory", type=values.memory, help="budget of each verifier, 4GB", metavar="SIZE")
    parser.add_argument("--deterministic", action="store_true", help="certificates whose bytes repeat")
    parser.add_argument("--logs", help="folder for one log per instance", metavar="DIR")
    parser.add_argument("--certificates", help="folder for the proofs of unsat verdicts", metavar="DIR")
    parser.add_argument("--check", action="store_true", help="run torchlean-check on every proof")
    parser.add_argument("--html", help="a page: summary, cactus plot, every instance", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    """Run what has no result yet. Lines that are no instance are each one error, and then nothing runs."""
    from torchlean.apps.sweep import Paths, Results, Row, Settings, make_record, read_instances, summarise, sweep
    from torchlean.errors import FileError, InternalError
    from torchlean.files import check_target, make_folder
    from torchlean.verify.budget import Memory

    cluster_flags.check(options, dealt=options.subtrees > 1)
    instances, problems = read_instances(options.instances)
    if problems:
        for problem in problems:
            complain(problem)
        return FileError.exit_code
    if options.html:
        from torchlean.report import plots

        plots.require()
        check_target(options.html)
    paths = Paths(*(make_folder(folder) if folder else None for folder in (options.logs, options.certificates)))
    Memory(options.memory)  # refuses one too small before anything runs
    settings = Settings(options.timeout_cap, options.semantics, options.seed, options.check, options.memory,
                        options.deterministic, options.subtrees)  # fmt: skip
    out = Path(options.out)

    def told(row: Row) -> None:
        if not options.json:
            report(_line(row))

    with Results(out) as results, terminable():
        record = make_record(out.with_name(f"{out.name}.run.json"), out, options.instances, instances, settings,
                             options.jobs)  # fmt: skip
        if results.rows and not options.json:
            report(f"{len(results.rows)} of {len(instances)} instances have a result in {out}")
        rows = sweep(instances, results, settings, paths, options.jobs, told, _engine(options))
    summary = summarise(rows)
    if options.html:
        from torchlean.report.sweep import page

        page(options.instances, rows, summary, record).write(Path(options.html))
    if options.json:
        print(json.dumps({"summary": asdict(summary), "rows": [asdict(row) for row in rows]}))
    else:
        print("\n".join(f"{name:22}{value}" for name, value in summary.rows()))
    refused = [row for row in rows if row.checked in ("invalid", "holey")]
    if refused:
        raise InternalError("the checker does not accept a certificate", where=f"{refused[0].onnx} {refused[0].vnnlib}",
                            expected="valid", got=f"{refused[0].checked}, {len(refused)} in all",
                            fix="report it, with the two files and the certificate")  # fmt: skip
    return 0


def _engine(options: Any) -> Any:
    if options.engine == "local":
        return None
    from torchlean.apps.sweep.cluster import Ray

    return Ray(options.ray_address)


def _line(row: Any) -> str:
    """One finished instance."""
    check = f"  {row.checked} {row.check_seconds:.2f} s" if row.checked else ""
    wrong = f"  WRONG: expected {row.expected}" if row.wrong else ""
    why = f"  {row.reason}" if row.status in ("error", "unknown") else ""
    return (f"{row.number:4}  {row.status:8}{row.seconds:8.2f} s  {Path(row.onnx).name} {Path(row.vnnlib).name}"
            f"{check}{wrong}{why}")  # fmt: skip
