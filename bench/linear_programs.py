"""The strategy `lp` beside the default, on instances of ../shared/vnncomp.

    python bench/linear_programs.py [--set mnist_fc] [--first 0] [--count 30] [--step 1] [--timeout 60] [--write]

For each instance: seconds, leaves and bounded nodes of both strategies and what the checker says of lp's certificate;
and at the root, over all clauses, how far the walk with the dual's numbers is from the linear program's value
(strong duality, to the solver's tolerance), and what the slopes' rounding to 2^-14 costs.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import torchlean_check as tc
from table import report
from torchlean.files import read_bytes
from torchlean.verify import verify_files
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Dual
from torchlean.verify.forms import Forms
from torchlean.verify.lp.highs import INF
from torchlean.verify.lp.multipliers import multipliers
from torchlean.verify.lp.triangle import Triangle
from torchlean.verify.maps import NumpyMaps
from torchlean.verify.problem import Files, Problem

SHARED = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"


def root_gaps(model: bytes, claim: bytes) -> tuple[float, float, float]:
    """The worst clause's value at the root; the largest distances of the walk, exact and with rounded slopes."""
    network, regions = tc.load(model, claim)
    worst, exact, rounded = INF, 0.0, 0.0
    for region in regions:
        problem = Problem(Files(model, claim), network, region, "float32", Deadline(600), np.random.default_rng(0))
        state = problem.kernel.start()
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in state.boxes.items()}
        triangle = Triangle(problem.kernel, boxes, state.lo[0], state.hi[0])
        dual = Dual(problem.kernel, boxes, triangle.neurons, NumpyMaps(network))
        side = np.zeros(len(triangle.neurons))
        for clause in range(len(region.clauses)):
            solved = triangle.clause(clause, side, 600)
            if solved is None or solved.value == INF:
                continue
            m, rows = multipliers(triangle, solved, clause), np.flatnonzero(region.row_clause == clause)
            w = np.array(m.weights)
            parts = (w @ a[rows] for a in (region.rows_y, region.rows_x, region.rows_c))
            forms = Forms(network.output, *(np.atleast_1d(p)[None] if np.ndim(p) else np.array([p]) for p in parts))
            values = []
            for alpha in (m.alpha, np.rint(m.alpha * 2.0**14) / 2.0**14):
                values.append(float(dual.maximise(forms, side[None], alpha[None], m.beta[None], 0).value[0]))
            worst = min(worst, solved.value)
            exact, rounded = max(exact, abs(solved.value - values[0])), max(rounded, values[0] - values[1])
    return worst, exact, rounded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="mnist_fc")
    for name, value in (("first", 0), ("count", 30), ("step", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    folder = SHARED / options.set
    with (folder / "instances.csv").open() as file:
        instances = list(csv.DictReader(file))[options.first :: options.step][: options.count]
    rows, load = [], round(os.getloadavg()[0], 1)
    for row in instances:
        model, claim = (read_bytes(folder / row[key]) for key in ("onnx", "vnnlib"))
        found: dict[str, Any] = {"network": Path(row["onnx"]).stem, "property": Path(row["vnnlib"]).stem,
                                 "expected": row["expected"]}  # fmt: skip
        for strategy in ("lp", "auto"):
            verdict = verify_files(model, claim, options.timeout, strategy=strategy)
            found |= {strategy: verdict.status.value, f"{strategy} s": verdict.seconds,
                      f"{strategy} leaves": verdict.leaves, f"{strategy} nodes": verdict.boxes}  # fmt: skip
            if verdict.certificate is not None:
                start = time.perf_counter()
                checked = tc.check(verdict.model, verdict.claim, verdict.certificate).status
                found |= {f"{strategy} checked": checked, f"{strategy} check s": time.perf_counter() - start}
            else:
                found |= {f"{strategy} checked": "", f"{strategy} check s": ""}
        value, exact, rounded = root_gaps(model, claim)
        found |= {"root value": value, "value - walk": exact, "walk - rounded": rounded}
        rows.append(found)
        print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in found.items()}, flush=True)
    summary = {f"{s} decided": sum(r[s] in ("sat", "unsat") for r in rows) for s in ("lp", "auto")}
    summary |= {f"{s} seconds": round(sum(r[f"{s} s"] for r in rows), 1) for s in ("lp", "auto")}
    summary |= {"seconds each at most": options.timeout, "load average at the start": load}
    report(f"linear_programs_{options.set}", rows, summary, options.write)


if __name__ == "__main__":
    main()
