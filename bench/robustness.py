"""Certified accuracy of the mnist_fc networks on MNIST test images, radius by radius.

    python bench/robustness.py [--count 10] [--timeout 20] [--eps 0.01,0.03,0.05] [--jobs 1] [--write]

The networks and images lie in ../shared. Shares in percent; the columns are those of docs/robustness.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from table import report

SHARED = Path(__file__).resolve().parents[2] / "shared"
NETWORKS = ("mnist-net_256x2", "mnist-net_256x4", "mnist-net_256x6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", default="10")
    parser.add_argument("--timeout", default="20")
    parser.add_argument("--eps", default="0.01,0.03,0.05")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for network in NETWORKS:
        command = [sys.executable, "-m", "torchlean", "robustness", SHARED / f"vnncomp/mnist_fc/onnx/{network}.onnx.gz",
                   SHARED / "data/mnist_test_uint8.npz", "--scale", "255", "--domain", "0,1", "--json",
                   "--eps", options.eps, "--count", options.count, "--timeout", options.timeout,
                   "--jobs", options.jobs]  # fmt: skip
        start = time.perf_counter()
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        seconds = time.perf_counter() - start
        found = json.loads(ran.stdout)
        n, nominal = found["examples"], len(found["nominal"])
        for level in found["levels"]:
            shares = {"nominal": nominal, "attacked": nominal - len(level["attacked"])}
            shares.update(IBP=len(level["ibp"]), CROWN=len(level["crown"]), complete=len(level["complete"]))
            rows.append({"network": network, "eps": level["eps"], **{k: 100 * v / n for k, v in shares.items()},
                         "unknown": len(level["unknown"]), "seconds, all radii": round(seconds)})  # fmt: skip
    report("robustness", rows, {"images": options.count, "seconds per proof": options.timeout, "jobs": options.jobs,
                                "semantics": "float32"}, options.write)  # fmt: skip


if __name__ == "__main__":
    main()
