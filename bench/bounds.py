"""CROWN on networks of four benchmark sets: time, peak memory, and tightness beside the interval walk.

    python bench/bounds.py [--device cpu|cuda] [--eps 0.002] [--write]

Each network in a process of its own, so that the peak is its own. The region is the box of radius eps around the centre
of a property file's first box. Width: the mean over outputs of upper minus lower. CPU s: processor time, which other
work on the machine lengthens less than the time that passes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from table import report

SETS = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"


def measure(path: Path, claim: Path, eps: float, device: str) -> dict[str, Any]:
    """One network: both methods, both semantics."""
    import torchlean as tl
    from torchlean.io.onnx import read_onnx
    from torchlean.io.vnnlib import read_vnnlib

    program = read_onnx(path)
    box = read_vnnlib(claim).clauses[0].box
    lo, hi = box.hull32()
    region = tl.box(((lo.astype(np.float64) + hi) / 2).astype(np.float32), eps)
    row: dict[str, Any] = {"network": path.name.removesuffix(".onnx.gz"), "eps": eps}
    for method in ("interval", "crown"):
        for semantics in ("real", "float32"):
            where = None if method == "interval" else device
            start, used = time.perf_counter(), time.process_time()
            low, high = tl.bounds(program, region, method, semantics=semantics, device=where)
            row[f"{method} {semantics} s"] = time.perf_counter() - start
            if method == "crown":
                row[f"{method} {semantics} CPU s"] = time.process_time() - used
            row[f"{method} {semantics} width"] = float(np.mean(high - low))
    row["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device == "cuda":
        import torch

        row["peak device MB"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--eps", type=float, default=0.002)
    parser.add_argument("--sets", default=str(SETS), help="folder of the benchmark sets")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), Path(options.one[1]), options.eps, options.device)))
        return
    rows = []
    for name in ("sri_resnet_a", "oval21", "vit_2023", "cgan_2023"):
        claim = sorted(Path(options.sets, name, "vnnlib").glob("*.gz"))[0]
        for path in sorted(Path(options.sets, name, "onnx").glob("*.onnx.gz")):
            command = [sys.executable, __file__, "--one", str(path), str(claim)]
            command += ["--device", options.device, "--eps", str(options.eps)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    summary = {"device": options.device, "crown": "float64 on the CPU, float32 without TF32 on CUDA"}
    report(f"bounds_{options.device}", rows, summary, options.write)


if __name__ == "__main__":
    main()
