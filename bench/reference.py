"""The reference executor beside plain numpy float32, on the mnist_fc networks.

    OMP_NUM_THREADS=1 python bench/reference.py [--sets DIR] [--write]

Prints the median of 30 ratios, each of ten calls beside one, and a SHA-256 digest of the reference's outputs: equal on
every machine.
Predicted: the left fold reads and writes the running sum once per term, in the first-level cache, where the BLAS keeps
it in registers and is bound by its fused multiply-add units: 8 to 15 times slower.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from table import report
from torchlean.io.onnx import read_onnx

SETS = Path(__file__).resolve().parents[2] / "shared" / "vnncomp"


def seconds(function: Callable[[], object], calls: int) -> float:
    """Mean wall time of some calls."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=str(SETS), help="folder of the benchmark sets")
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    x = np.random.default_rng(0).random((100, 784), np.float32)
    rows = []
    for path in sorted(Path(options.sets, "mnist_fc", "onnx").glob("*.onnx.gz")):
        program = read_onnx(path)
        arrays = list(program.parameters.values())
        weights = [a for a in arrays if a.ndim == 2]
        biases = [a for a in arrays if a.ndim == 1]

        def plain(weights: list[np.ndarray] = weights, biases: list[np.ndarray] = biases) -> np.ndarray:
            h = x
            for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
                h = h @ w.T + b
                h = np.maximum(h, 0) if i < len(weights) - 1 else h
            return h

        batched = program.graph.source_types("input")
        one = next(iter(batched.values()))
        rows_in = x.reshape(100, *one.shape[1:])

        def reference(program: object = program, rows_in: np.ndarray = rows_in) -> np.ndarray:
            return batch_of(program)(rows_in)

        y = reference()
        # In turn, so that a machine whose speed drifts slows both.
        pairs = np.array([(seconds(plain, 10), seconds(reference, 1)) for _ in range(30)])
        rows.append(
            {
                "network": path.name.removesuffix(".onnx.gz"),
                "numpy ms": 1e3 * float(np.median(pairs[:, 0])),
                "reference ms": 1e3 * float(np.median(pairs[:, 1])),
                "ratio": float(np.median(pairs[:, 1] / pairs[:, 0])),
                "largest difference": float(np.max(np.abs(y.reshape(100, -1) - plain()))),
                "digest": hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest()[:16],
            }
        )
    report("reference", rows, {"batch": 100, "allowed ratio": 25}, options.write)


def batch_of(program: object) -> object:
    """The program with its batch axis of 100: the files fix it at 1."""
    from torchlean import ops
    from torchlean.passes import vmap
    from torchlean.run.program import Program

    assert isinstance(program, Program)
    name, t = next(iter(program.graph.source_types("input").items()))
    graph = vmap(program.graph, ops.ALL, (name,), "batch")

    def run(x: np.ndarray) -> np.ndarray:
        answer: np.ndarray = program.with_graph(graph)(x.reshape(len(x), *t.sizes))
        return answer

    return run


if __name__ == "__main__":
    main()
