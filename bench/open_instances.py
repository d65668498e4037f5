"""Every VNN-COMP instance that a committed table leaves open, with the reason.

    python bench/open_instances.py [--data FOLDER] [--write]

Reads bench/results/vnncomp_SET.json (2 processor cores) and vnncomp_gpu.json. An instance stands here when no table has
it, or when one that has it does not solve it. Solved: `sat`, or `unsat` for every float32 execution. A table without
the limit of an instance that ran out of time has the seconds in its place. Writes bench/results/open.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from table import RESULTS, markdown
from torchlean.apps.sweep import Instance, read_instances

DATA = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"
PLACES = ("2 cores", "GPU")
NAMES = {"onnx": ("onnx", "model"), "vnnlib": ("vnnlib", "claim", "prop"), "status": ("status", "verdict"),
         "semantics": ("semantics", "sem")}  # fmt: skip


NO_WITNESS = "called sat, but no witness is known to us: the least g of 4 million descents of 120 steps on a GPU is"
REASONS = {
    ("mnist-net_256x4", "prop_2_0.05"): f"{NO_WITNESS} 0.66",
    ("mnist-net_256x6", "prop_7_0.05"): f"{NO_WITNESS} 0.166",
    ("mnist-net_256x6", "prop_9_0.05"): f"{NO_WITNESS} 0.133",
    ("cifar_wide_kw", "cifar_wide_kw-img7564-eps0.04183006535947713"): (
        "after 443 s 452 cases of three clauses are left"
    ),
    ("cifar_wide_kw", "cifar_wide_kw-img6432-eps0.034771241830065365"): (
        "after 425 s 197 cases of eight clauses are left"
    ),
    ("cifar_wide_kw", "cifar_wide_kw-img5989-eps0.028235294117647063"): "found after 198 s, replayed in 140 s; 403 MB",
    ("cifar_deep_kw", "cifar_deep_kw-img4405-eps0.036732026143790855"): (
        "found after 247 s; the replay had 43 s, and the file's limit is 720 s"
    ),
    (
        "cGAN_imgSz32_nCh_3",
        "cGAN_imgSz32_nCh_3_prop_1_input_eps_0.010_output_eps_0.015",
    ): "the margin at the nearest point is 8.5e-5, float32's charge there 2.9e-4, and adverse orders reach 7.2e-5",
    ("cifar_wide_kw", "cifar_wide_kw-img9062-eps0.0014379084967320263"): "float32's charge is more than the margin",
}  # of what stays open, beside what the tables say


@dataclass(frozen=True)
class Found:
    """What a table says of an instance; onnx and vnnlib may be the ends of its names."""

    onnx: str
    vnnlib: str
    solved: bool
    why: str


def found(row: Mapping[str, Any]) -> Found:
    """A row of any of the tables."""
    onnx, vnnlib, status, semantics = (next((str(row[n]) for n in names if n in row), "") for names in NAMES.values())
    known = row["expected"] in ("sat", "unsat")
    wrong = status in ("sat", "unsat") and known and status != row["expected"]
    solved = not wrong and (status == "sat" or (status == "unsat" and semantics != "real"))
    said, reason = status, str(row.get("reason", ""))
    if status == "unsat":
        said = "unsat over the reals only" if semantics == "real" else "unsat for float32"
    elif status == "timeout":
        said = f"timeout of {row['timeout']:g} s" if "timeout" in row else f"timeout after {row['seconds']:.0f} s"
        reason = "" if reason == "the time limit was reached" else reason
    elif status != "sat":
        reason = reason or "no reason kept"
    said = f"{said}: {reason}" if reason and status not in ("sat", "unsat") else said
    return Found(_bare(onnx), _bare(vnnlib), solved, f"WRONG: {said}" if wrong else said)


def _bare(path: str) -> str:
    return path.removesuffix(".gz").removesuffix(".onnx").removesuffix(".vnnlib")


def tables(results: Path) -> dict[tuple[str, str], list[Found]]:
    """(set, place) -> what is known there."""
    known: dict[tuple[str, str], list[Found]] = {}
    for path in sorted(results.glob("vnncomp_*.json")):
        record = json.loads(path.read_text())
        title, gpu = path.stem.removeprefix("vnncomp_"), path.stem == "vnncomp_gpu"
        for row in record if isinstance(record, list) else record["instances"]:
            known.setdefault((row["set"] if gpu else title, PLACES[gpu]), []).append(found(row))
    return known


def match(instance: Instance, rows: Iterable[Found]) -> Found | None:
    """The row of an instance. Raises ValueError where two rows could be."""
    onnx, vnnlib = _bare(instance.onnx), _bare(instance.vnnlib)
    fit = [row for row in rows if onnx.endswith(row.onnx) and vnnlib.endswith(row.vnnlib)]
    if len(fit) > 1:
        raise ValueError(f"{instance.title}: {len(fit)} rows")
    return fit[0] if fit else None


def open_rows(name: str, found_at: Sequence[tuple[Instance, Mapping[str, Found | None]]]) -> list[dict[str, str]]:
    """The open instances of one set.      found_at   each instance with what each place says of it"""
    rows = []
    for instance, at in found_at:
        there = [row for row in at.values() if row is not None]
        if not there or not all(row.solved for row in there):
            said = {place: "not run" if row is None else row.why for place, row in at.items()}
            names = {"network": Path(_bare(instance.onnx)).name, "property": Path(_bare(instance.vnnlib)).name}
            reason = REASONS.get((names["network"], names["property"]), "")
            rows.append({"set": name, **names, "expected": instance.expected, **said, "reason": reason})
    return rows


def counts(name: str, found_at: Sequence[tuple[Instance, Mapping[str, Found | None]]]) -> dict[str, str | int]:
    """How many instances of one set are solved, of those that ran."""
    row: dict[str, str | int] = {"set": name, "instances": len(found_at)}
    for place in PLACES:
        there = [at[place] for _, at in found_at if at[place] is not None]
        row[f"solved, {place}"] = f"{sum(x.solved for x in there if x)} of {len(there)}" if there else "not run"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--write", action="store_true", help="keep the table as bench/results/open.md")
    options = parser.parse_args()
    known, sets, rows = tables(RESULTS), [], []
    for folder in sorted(options.data.iterdir()):
        instances, problems = read_instances(folder / "instances.csv")
        if problems:
            raise problems[0]
        found_at = [(i, {p: match(i, known.get((folder.name, p), [])) for p in PLACES}) for i in instances]
        sets.append(counts(folder.name, found_at))
        rows += open_rows(folder.name, found_at)
    text = f"# Open instances\n\n{markdown(sets)}\n\n{markdown(rows)}\n"
    print(text)
    if options.write:
        (RESULTS / "open.md").write_text(text)


if __name__ == "__main__":
    main()
