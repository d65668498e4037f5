"""Quantized networks beside their float32 ones: bytes, the certified difference, and the largest seen.

    python bench/quantization.py [--samples 200] [--write]

A box of radius eps around a test image for mnist_fc, around (0.1, ..., 0.1) for acasxu. The certified difference is
over every float32 execution of both programs; the largest seen is over corners and random points of the box, in the
reference executor. Ratio: certified over seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import torchlean as tl
from table import report
from torchlean.io.onnx import read_onnx
from torchlean.quant import difference, quantize_program, stored

SHARED = Path(__file__).resolve().parents[2] / "shared"
FORMATS = (("int8", "none"), ("int4", "none"), ("int8", "int8"), ("bf16", "none"), ("bf16", "bf16"), ("f8e4m3", "none"))


def cases() -> Iterator[tuple[str, Any, np.ndarray, np.ndarray, float]]:
    """(name, program, inputs to calibrate from, centre, radius)."""
    images = np.load(SHARED / "data" / "mnist_test_uint8.npz")["X"][:200].reshape(200, 784, 1) / np.float32(255)
    for size in ("256x2", "256x4", "256x6"):
        program = read_onnx(SHARED / "vnncomp" / "mnist_fc" / "onnx" / f"mnist-net_{size}.onnx.gz")
        for eps in (0.0, 0.001, 0.01):
            yield f"mnist {size}", program, images, images[3], eps
    path = next((SHARED / "vnncomp" / "acasxu" / "onnx").glob("*1_1*.onnx.gz"))
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (1000, *read_onnx(path).input_type.sizes[1:])).astype(np.float32)
    for eps in (0.0, 0.001, 0.01):
        yield "acasxu 1_1", read_onnx(path), points, np.full_like(points[0], 0.1), eps


def seen(first: Any, second: Any, region: Any, samples: int) -> float:
    """The largest difference at corners and random points."""
    lo, hi = (a.reshape(first.input_type.sizes) for a in region.floats32())
    rng, worst = np.random.default_rng(1), 0.0
    for i in range(samples):
        t = rng.integers(0, 2, lo.shape) if i % 2 else rng.random(lo.shape)
        x = np.clip((lo + t * (hi.astype(np.float64) - lo)).astype(np.float32), lo, hi)
        worst = max(worst, float(np.abs(second(x).astype(np.float64) - first(x)).max()))
    return worst


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="keep the table under bench/results")
    options = parser.parse_args()
    rows = []
    for name, program, data, centre, eps in cases():
        for weights, activations in FORMATS:
            made = quantize_program(program, weights, activations, calibration_data=data, overflow="saturate")
            region = tl.box(centre, eps)
            start = time.perf_counter()
            bound = difference(program, made, region).largest
            spent = time.perf_counter() - start
            worst = seen(program, made, region, options.samples if eps else 1)
            assert worst <= bound
            rows.append({"network": name, "eps": eps, "weights": weights, "activations": activations,
                         "bytes": sum(s.bytes for s in stored(program)), "packed": sum(s.packed for s in stored(made)),
                         "certified": bound, "seen": worst, "ratio": bound / worst, "s": spent})  # fmt: skip
    report("quantization", rows, {"samples": options.samples, "scales": "per channel, minmax"}, options.write)


if __name__ == "__main__":
    main()
