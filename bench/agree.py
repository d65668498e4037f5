"""Executors held against their promises on the benchmark networks, node by node.

    python bench/agree.py [--on eager-cpu,eager-cuda,onnxruntime] [--sets DIR] [--write]

Two networks of each set; inputs: uniform in [0, 1], and those of `torchlean agree`, extremes included. `use` is the
largest part of the allowed difference that a node used: above 1 a promise is broken. `outside`: entries for which
nothing is promised, most of them where a partial sum may overflow. `not run`: nodes that the executor has no form for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from table import report
from torchlean.cli.executors import named
from torchlean.io.onnx import read_onnx
from torchlean.run.agree import agree
from torchlean.run.extremes import extreme_inputs, random_inputs
from torchlean.run.promises import Executor

SETS = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"
NAMES = ("acasxu", "mnist_fc", "oval21", "sri_resnet_a", "collins_rul_cnn_2023", "cora", "tllverifybench", "malbeware",
         "safenlp", "cersyve")  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default="eager-cpu")
    parser.add_argument("--sets", default=str(SETS), help="folder of the benchmark sets")
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    for executor in named(options.on):
        rows = []
        for name in NAMES:
            files = sorted(Path(options.sets, name, "onnx").rglob("*.onnx.gz"))
            rows += [row(name, path, executor) for path in files[:: max(1, len(files) // 2)][:2]]
        summary = {"kept": f"{sum(r['kept'] is True for r in rows)} of {len(rows)}"}
        report(f"agree_{executor.name}", rows, summary, options.write)


def row(name: str, path: Path, executor: Executor) -> dict[str, Any]:
    """One network on one executor, over all inputs."""
    program = read_onnx(path)
    sizes = dict.fromkeys(program.graph.symbols(), 2)
    types = {n: t.substitute(sizes) for n, t in program.graph.source_types("input").items()}
    rng = np.random.default_rng(0)
    uniform = {n: rng.random(t.sizes).astype(t.dtype.numpy) for n, t in types.items()}
    inputs = [uniform, *(v for _, v in random_inputs(types, 0)), *(v for _, v in extreme_inputs(types, 0))]
    nodes = [n for given in inputs for n in agree(program, given, [executor]).nodes]
    return {
        "set": name,
        "network": path.name.removesuffix(".onnx.gz")[:40],
        "kept": all(n.kept for n in nodes),
        "use": max((n.use or 0.0 for n in nodes), default=0.0),
        "ulps": float(max((n.ulps or 0 for n in nodes), default=0)),
        "outside": sum(n.outside for n in nodes),
        "entries": sum(n.entries for n in nodes),
        "not run": sum(n.status == "not run" for n in nodes),
    }


if __name__ == "__main__":
    main()
