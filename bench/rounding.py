"""Bounds of |float32 - real| beside the largest difference seen, and beside the width of the output's range.

    python bench/rounding.py [--samples 10000] [--write]

Networks: the quickstart's (trained, 5 % box), ACAS Xu 1_1 on properties 1 to 4, MNIST 256x2 on a box of radius 0.03.
The difference seen is that of the reference executor's float32 output from the same graph in float64, whose own error
is 2^-29 of it: a sample, so no bound. Ranges come from the interval walk, so they grow with depth and with the box.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import torchlean as tl
from table import report
from torchlean import ops
from torchlean.apps.quickstart import MOVING, WITHIN, load_and_train
from torchlean.io.onnx import read_onnx
from torchlean.io.vnnlib import read_vnnlib
from torchlean.passes.retype import retype
from torchlean.passes.vmap import vmap
from torchlean.rounding.certificate import split
from torchlean.run.program import Program

SETS = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"


def widened(program: Program) -> Program:
    """The same numbers in float64."""
    arrays = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in program.parameters.items()}
    return Program(retype(program.graph, ops.ALL, tl.f64), arrays)


def seen(program: Program, box: Any, samples: int) -> float:
    """The largest |float32 - float64| of the output over points of the box, 500 at a time."""
    rng, most, rows = np.random.default_rng(0), 0.0, 500
    lo, hi = box.hull32()
    shape = (rows, *box.shape[1:])
    if isinstance(program.input_type.shape[0], int):
        program = program.with_graph(vmap(program.graph, ops.ALL, tuple(program.graph.inputs), rows))
        shape = (rows, *box.shape)
    wide = widened(program)
    for _ in range(0, samples, rows):
        t = rng.random(shape, np.float32)
        x = np.clip(lo + (hi - lo) * t, lo, hi).astype(np.float32)
        most = max(most, float(np.abs(program(x).astype(np.float64) - wide(x.astype(np.float64))).max()))
    return most


def measure(label: str, program: Program, box: Any, samples: int) -> dict[str, Any]:
    program = program.inference()
    (output,) = (n for n, _ in program.graph.outputs)
    row: dict[str, Any] = {"network": label}
    for order in ("any", "reference"):
        start = time.perf_counter()
        found = tl.rounding(program, box, order)[output]
        row[f"{order} s"] = time.perf_counter() - start
        row[f"{order} bound"] = found.difference
    row["width"] = found.computed[1] - found.computed[0]
    row["seen"] = seen(program, box, samples)
    row["any / width"] = row["any bound"] / row["width"]
    row["any / seen"], row["reference / seen"] = row["any bound"] / row["seen"], row["reference bound"] / row["seen"]
    return row


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    trained = load_and_train(0, 2_000, progress=False)
    car = trained.held_out.x[0]
    region = tl.box(car[None], relative=WITHIN, only=trained.cars.columns(*MOVING))
    rows = [measure("quickstart 7-64-64-1", trained.program, region, options.samples)]
    for p in (1, 2, 3, 4):
        folder = SETS / "acasxu"
        program = read_onnx(folder / "onnx" / "ACASXU_run2a_1_1_batch_2000.onnx.gz")
        (box, _), *_ = read_vnnlib(folder / "vnnlib" / f"prop_{p}.vnnlib.gz").regions()
        (name,) = program.graph.inputs
        rows.append(measure(f"acasxu 1_1, prop_{p}", program, split(box, program)[name], options.samples))
        if p == 1:
            center = split(box, program)[name].floats32()[0]
            rows.append(measure("acasxu 1_1, radius 1e-5", program, tl.box(center, "0.00001"), options.samples))
    for path in sorted((SETS / "mnist_fc" / "onnx").glob("*x2*")):
        program = read_onnx(path)
        claim = sorted((SETS / "mnist_fc" / "vnnlib").glob("*0.03*"))[0]
        (box, _), *_ = read_vnnlib(claim).regions()
        (name,) = program.graph.inputs
        rows.append(measure(f"mnist_fc {path.name.split('.')[0]}", program, split(box, program)[name], options.samples))
    report("rounding", rows, {"samples": options.samples, "seen": "reference executor against the graph in float64"},
           options.write)  # fmt: skip


if __name__ == "__main__":
    main()
