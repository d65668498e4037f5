"""How long the shortest runs of the commands take, whole processes, beside `import numpy` alone.

    python bench/startup.py [--repeat N] [--write]

The network has two neurons, so next to nothing is computed: what is seen is what is loaded. Rounds run every command
once, in turn, so that what else the machine does falls on all of them alike; medians stand. Python starts from compiled
bytecode, as an installed package does. `to numpy` is the quotient with the time of `import numpy`.
"""

from __future__ import annotations

import argparse
import compileall
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from table import report, run
from torchlean import ops
from torchlean.apps.sweep import Processes
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program

ROOT = Path(__file__).resolve().parent.parent
NUMPY = "import numpy"


def files(folder: Path) -> None:
    """net.onnx of two relus; holds.vnnlib and fails.vnnlib about it."""
    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 2])
    hidden = g.relu(g.linear(x, g.parameter("w0", f32[2, 2]), g.parameter("b0", f32[2])))
    y = g.linear(hidden, g.parameter("w1", f32[1, 2]), g.parameter("b1", f32[1]))
    arrays = {
        "w0": np.array([[1.0, -1.0], [0.5, 2.0]], np.float32),
        "b0": np.array([0.125, -0.25], np.float32),
        "w1": np.ones((1, 2), np.float32),
        "b1": np.zeros(1, np.float32),
    }
    write_onnx(Program(g.finish({"y": y}), arrays), folder / "net.onnx")
    box = "".join(f"(declare-const X_{i} Real)\n(assert (>= X_{i} -1.0))\n(assert (<= X_{i} 1.0))\n" for i in (0, 1))
    for name, bound in (("holds", 100.0), ("fails", 0.5)):
        (folder / f"{name}.vnnlib").write_text(f"{box}(declare-const Y_0 Real)\n(assert (>= Y_0 {bound}))\n")


def commands(folder: Path) -> dict[str, list[str]]:
    model, holds, fails, proof = (str(folder / n) for n in ("net.onnx", "holds.vnnlib", "fails.vnnlib", "proof"))
    python = {
        "python": ["-c", "pass"],
        NUMPY: ["-c", NUMPY],
        "import torchlean": ["-c", "import torchlean"],
        "torchlean --help": ["-m", "torchlean", "--help"],
        "torchlean verify: unsat, certificate written": [
            "-m", "torchlean", "verify", model, holds, "--certificate", proof,
        ],
        "torchlean verify: sat, witness replayed": ["-m", "torchlean", "verify", model, fails],
        "torchlean-check: valid": ["-m", "torchlean_check", model, holds, proof],
    }  # fmt: skip
    return {name: [sys.executable, *words] for name, words in python.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    compileall.compile_dir(ROOT / "src", quiet=1)
    processes = Processes()
    with tempfile.TemporaryDirectory() as name:
        files(Path(name))
        asked = commands(Path(name))
        runs = [{what: processes.run(words, 60.0) for what, words in asked.items()} for _ in range(options.repeat)]
    wrong = [what for run in runs for what, ended in run.items() if ended.code != 0]
    if wrong:
        raise SystemExit(f"failed: {', '.join(sorted(set(wrong)))}")
    seconds = {what: statistics.median(run[what].seconds for run in runs) for what in asked}
    rows = [
        {
            "what": what,
            "ms": round(1000 * seconds[what]),
            "processor ms": round(1000 * statistics.median(run[what].cpu_seconds for run in runs)),
            "to numpy": round(seconds[what] / seconds[NUMPY], 2),
        }
        for what in asked
    ]
    report("startup", rows, {"runs of each": options.repeat}, options.write)


if __name__ == "__main__":
    run(main)
