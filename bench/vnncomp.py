"""Run a set of VNN-COMP instances through the command line, and check every certificate.

    python bench/vnncomp.py acasxu [--timeout-cap S] [--only TEXT ...] [--every N] [--data FOLDER]

One whole process per instance, from `torchlean verify` to the prompt, certificate written; then `torchlean-check` on
what it wrote. Both start from compiled bytecode, as an installed package does. Writes bench/results/vnncomp_SET.md and
.json.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


@dataclass
class Line:
    """One instance: what was said, what the set expects, and what it cost."""

    model: str
    claim: str
    expected: str
    verdict: str
    seconds: float
    cpu_seconds: float
    checked: str
    check_seconds: float
    certificate_bytes: int
    leaves: int
    semantics: str
    peer: str
    peer_seconds: str

    @property
    def solved(self) -> bool:
        return self.verdict in ("sat", "unsat")

    @property
    def wrong(self) -> bool:
        known = self.expected in ("sat", "unsat")
        return (self.solved and known and self.verdict != self.expected) or (
            self.verdict == "unsat" and self.checked != "valid"
        )


def gz(path: Path) -> str:
    return str(path if path.exists() else path.with_name(path.name + ".gz"))


def timed(command: list[str], limit: float) -> tuple[str, float, float]:
    """Standard output, wall seconds and processor seconds of a whole process and its children."""
    used = _children()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
        said = (
            done.stdout
            or f"error {done.returncode} {done.stderr.strip().splitlines()[0] if done.stderr.strip() else ''}"
        )
    except subprocess.TimeoutExpired:
        said = "killed"
    return said, time.perf_counter() - start, _children() - used


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(folder: Path, row: dict[str, str], cap: float, scratch: Path) -> Line:
    """Verify and check one instance."""
    model, claim = gz(folder / row["onnx"]), gz(folder / row["vnnlib"])
    proof = scratch / "proof.tlcert"
    proof.unlink(missing_ok=True)
    limit = min(float(row["timeout_s"]), cap)
    said, seconds, cpu = timed([sys.executable, "-m", "torchlean", "verify", model, claim, "--timeout", str(limit),
                           "--certificate", str(proof), "--json"], limit + 60)  # fmt: skip
    try:
        answer = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        answer = {"verdict": said.split()[0] if said.split() else "error", "leaves": 0, "semantics": said[:60]}
    checked, check_seconds, size = "", 0.0, 0
    if proof.exists():
        size = proof.stat().st_size
        said, check_seconds, _ = timed([sys.executable, "-m", "torchlean_check", model, claim, str(proof)], 3600)
        checked = said.split()[0] if said.split() else "error"
    return Line(
        Path(row["onnx"]).stem,
        Path(row["vnnlib"]).stem,
        row["expected"],
        answer["verdict"],
        seconds,
        cpu,
        checked,
        check_seconds,
        size,
        answer.get("leaves", 0),
        answer.get("semantics", ""),
        row.get("fastest_tool", ""),
        row.get("fastest_seconds", ""),
    )


def table(lines: list[Line]) -> str:
    columns = ("network", "property", "verdict", "expected", "seconds", "processor seconds", "check", "check seconds",
               "bytes", "leaves", "fastest peer")  # fmt: skip
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return head + "".join(
        f"| {x.model} | {x.claim} | {x.verdict}{' **WRONG**' if x.wrong else ''} | {x.expected} | {x.seconds:.2f} "
        f"| {x.cpu_seconds:.2f} | {x.checked} | {x.check_seconds:.2f} | {x.certificate_bytes} | {x.leaves} "
        f"| {x.peer} {x.peer_seconds[:6]} |\n"
        for x in lines
    )


def summary(name: str, lines: list[Line]) -> dict[str, float | int | str]:
    seconds = [x.seconds for x in lines]
    proofs = [x for x in lines if x.verdict == "unsat"]
    return {
        "set": name, "instances": len(lines), "solved": sum(x.solved for x in lines),
        "wrong": sum(x.wrong for x in lines),
        "sat": sum(x.verdict == "sat" for x in lines), "unsat": len(proofs),
        "unsat with a valid certificate": sum(x.checked == "valid" for x in proofs),
        "unsat float32": sum(x.semantics == "float32" for x in proofs),
        "checks slower than their proof": sum(x.check_seconds > x.seconds for x in proofs),
        "median seconds": round(statistics.median(seconds), 3), "mean seconds": round(statistics.fmean(seconds), 3),
        "total seconds": round(sum(seconds), 1),
        "median processor seconds": round(statistics.median(x.cpu_seconds for x in lines), 3),
        "mean processor seconds": round(statistics.fmean(x.cpu_seconds for x in lines), 3),
        "processors": os.cpu_count() or 0,
        "load at the end": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--timeout-cap", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "vnncomp")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    folder = options.data / options.set
    with open(folder / "instances.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if all(t in r["onnx"] + " " + r["vnnlib"] for t in options.only)]
    compileall.compile_dir(ROOT / "src", quiet=1)
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows[:: options.every]:
            line = run(folder, row, options.timeout_cap, Path(scratch))
            lines.append(line)
            print(
                f"{line.model:34} {line.claim:28} {line.verdict:8} {line.expected:8} {line.seconds:7.2f} s "
                f"{line.cpu_seconds:7.2f} cpu  {line.checked:7} {line.check_seconds:6.2f} s {line.leaves:7} leaves"
                f"{'   WRONG' if line.wrong else ''}",
                flush=True,
            )
    found = summary(options.set, lines)
    text = "\n".join(f"{k:32} {v}" for k, v in found.items())
    print(text)
    if not options.no_save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        name = RESULTS / f"vnncomp_{options.set}"
        name.with_suffix(".md").write_text(f"# {options.set}\n\n```\n{text}\n```\n\n{table(lines)}")
        everything = {"summary": found, "instances": [asdict(x) for x in lines]}
        name.with_suffix(".json").write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
