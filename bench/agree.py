"""Executors held against their promises on the benchmark networks, node by node.

    python bench/agree.py [--on eager-cpu,eager-cuda] [--sets DIR] [--write]

Two networks of each set; inputs: zeros, uniform in [0, 1], normal x 1e3, normal x 1e-40. `use` is the
largest part of the allowed difference that a node used: above 1 a promise is broken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from table import report
from torchlean.io.onnx import read_onnx
from torchlean.run.agree import agree

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
    rng = np.random.default_rng(0)
    rows = []
    for name in NAMES:
        files = sorted(Path(options.sets, name, "onnx").rglob("*.onnx.gz"))
        for path in files[:: max(1, len(files) // 2)][:2]:
            program = read_onnx(path)
            kind = program.input_type
            shape = tuple(s if isinstance(s, int) else 2 for s in kind.shape)
            inputs = {
                "zeros": np.zeros(shape),
                "uniform": rng.random(shape),
                "normal x 1e3": 1e3 * rng.standard_normal(shape),
                "normal x 1e-40": 1e-40 * rng.standard_normal(shape),
            }
            source = next(iter(program.graph.inputs))
            for executor in options.on.split(","):
                uses, ulps, kept = [0.0], [0.0], True
                for values in inputs.values():
                    given = {source: values.astype(np.float32)}
                    found = agree(program, given, [executor])
                    kept &= found.broken is None
                    uses += [n.use for n in found.nodes]
                    ulps += [n.ulps for n in found.nodes]
                rows.append({"set": name, "network": path.name.removesuffix(".onnx.gz")[:40], "executor": executor,
                             "kept": kept, "use": max(uses), "ulps": max(ulps)})  # fmt: skip
    summary = {"kept": f"{sum(r['kept'] is True for r in rows)} of {len(rows)}"}
    report("agree_" + options.on.replace(",", "_"), rows, summary, options.write)


if __name__ == "__main__":
    main()
