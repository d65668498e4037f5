"""Plain and certified training of one small network on MNIST, measured by certified accuracy.

    python bench/robust_training.py [--eps 0.1] [--steps 3000] [--count 200] [--proved 0] [--timeout 10] [--write]

The images are MNIST's test set in ../shared: 8,000 to train on, the first `count` of the other 2,000 to measure on.
Shares in percent; the columns are those of docs/robustness.md, at the radius of the training. `complete` (--proved N)
is of the first N of these images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

import torchlean as tl
from table import report
from torchlean import nn, optim, train
from torchlean.apps import robustness
from torchlean.train import losses
from torchlean.verify.program import exported

IMAGES = Path(__file__).resolve().parents[2] / "shared/data/mnist_test_uint8.npz"
FIT = 8000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eps", default="0.1")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--proved", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    arrays = np.load(IMAGES)
    x, y = (arrays["X"].reshape(-1, 784) / 255).astype(np.float32), arrays["y"].astype(np.int64)
    eps, third = float(options.eps), options.steps // 3
    growth = {"warmup": third // 3, "ramp": 2 * third - third // 3, "domain": (0.0, 1.0)}
    rows = []
    for name, loss in {
        "plain": losses.cross_entropy,
        "IBP": losses.IBP(eps, **growth),
        "CROWN-IBP": losses.CrownIBP(eps, **growth),
        "SABR, 0.4": losses.SABR(eps, **growth),
    }.items():
        layers = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
        program = nn.trace(layers, tl.f32["batch", 784], seed=0)
        trainer = train.Trainer(loss=loss, optimizer=optim.Adam(optim.Cosine(1e-3, options.steps)), progress=False)
        start = time.perf_counter()
        found = trainer.fit(program, (x[:FIT], y[:FIT]), steps=options.steps, batch_size=100).program
        seconds = time.perf_counter() - start
        settings = robustness.Settings((Fraction(options.eps),), (Fraction(0), Fraction(1)), "crown")
        held = robustness.Examples(x[FIT : FIT + options.count, None], y[FIT : FIT + options.count])
        measured = robustness.measure(found, held, settings)
        (level,) = measured.levels
        row = {"training": name, "nominal": measured.nominal, "attacked": ~level.attacked, "IBP": level.ibp,
               "CROWN": level.crown}  # fmt: skip
        if options.proved:
            row[f"complete, first {options.proved}"] = proved(found, held, options)
        rows.append({k: v if isinstance(v, str) else round(100 * float(np.mean(v)), 1) for k, v in row.items()}
                    | {"seconds of training": round(seconds)})  # fmt: skip
    report("robust_training", rows, {"network": "784-128-128-10", "eps": options.eps, "steps": options.steps,
                                     "batch": 100, "images": options.count, "proved": options.proved,
                                     "semantics": "float32"}, options.write)  # fmt: skip


def proved(program: tl.Program, held: robustness.Examples, options: argparse.Namespace) -> np.ndarray:
    """Which of the first images have a certificate that the checker accepts: `torchlean robustness` on files."""
    with tempfile.TemporaryDirectory() as folder:
        model, images = Path(folder, "model.onnx"), Path(folder, "images.npz")
        model.write_bytes(exported(program)[0])
        np.savez(images, x=held.x[: options.proved, 0], y=held.y[: options.proved])
        ran = subprocess.run([sys.executable, "-m", "torchlean", "robustness", model, images, "--domain", "0,1",
                              "--eps", options.eps, "--timeout", str(options.timeout), "--json"],
                             stdout=subprocess.PIPE, check=True)  # fmt: skip
    (level,) = json.loads(ran.stdout)["levels"]
    return np.isin(np.arange(options.proved), level["complete"])


if __name__ == "__main__":
    main()
