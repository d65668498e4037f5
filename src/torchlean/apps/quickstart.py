"""The tour: real data, a trained network, a proved interval, a checked certificate.

Data   Auto MPG (Quinlan 1993, doi:10.24432/C5859H): miles per gallon of 392 cars from seven features.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import numpy as np

import torchlean as tl
from torchlean import data, nn, optim, train
from torchlean.bounds.region import Box
from torchlean.run.program import Program

MOVING = ("weight", "displacement", "horsepower")
WITHIN = 0.05
SAMPLES = 10_000
PROBE = "first held-out car"


@dataclass(frozen=True)
class Trained:
    """A network, its data and how it did.

    baseline   held-out root mean squared error of the best linear fit, in mpg        rmse   the network's
    """

    cars: Any
    fit: Any
    held_out: Any
    program: Program
    run: Any
    baseline: float
    rmse: float


def load_and_train(seed: int, steps: int, progress: bool) -> Trained:
    """Load Auto MPG and train normalization + 7-64-64-1 with Adam on 80 % of it."""
    import torch

    torch.set_num_threads(1)  # matrices of 32 rows: handing them to threads costs more than it saves
    cars = data.auto_mpg()
    fit, held_out = cars.split(0.8, seed=seed)
    model = nn.Sequential(
        nn.Normalize.from_data(fit.x),
        nn.Linear(7, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 1),
    )
    program = tl.trace(model, tl.f32["batch", 7], seed=seed)
    trainer = train.Trainer(loss=tl.losses.mse, optimizer=optim.Adam(1e-3), progress=progress)
    run = trainer.fit(
        program,
        fit,
        steps=steps,
        batch_size=32,
        seed=seed,
        validation=held_out,
        validate_every=max(1, steps // 40),
        probes={PROBE: held_out.x[:1]},
    )
    baseline = train.linear_baseline(fit, held_out).held_out
    return Trained(cars, fit, held_out, run.program, run, baseline["rmse"], run.evaluate(held_out)["rmse"])


@dataclass(frozen=True)
class Proof:
    """The proved interval for one car.

    lower, upper   in mpg: proved        attacked   the least and the greatest prediction that the search found
    samples        [n] predictions at random points of the region
    """

    car: np.ndarray
    region: Box
    lower: float
    upper: float
    attacked: tuple[float, float]
    samples: np.ndarray
    verdict: Any
    seconds: float

    @property
    def printed(self) -> tuple[str, str]:
        """The interval to four decimals, rounded outward: what is printed must be as true as what was proved."""
        unit = Decimal("0.0001")
        return (
            str(Decimal(self.lower).quantize(unit, ROUND_FLOOR)),
            str(Decimal(self.upper).quantize(unit, ROUND_CEILING)),
        )

    @property
    def gap(self) -> float:
        """How far the proved interval is wider than what was reached, in mpg: the two sides together."""
        return (self.attacked[0] - self.lower) + (self.upper - self.attacked[1])


def prove(trained: Trained, timeout: float, seed: int, say: Callable[[str], None]) -> Proof:
    """The tightest interval that branch and bound proves for the first held-out car."""
    car = trained.held_out.x[0]
    columns = trained.cars.columns(*MOVING)
    region = tl.box(car, relative=WITHIN, only=columns)
    start = time.perf_counter()
    found = tl.verify.tightest(trained.program, region, timeout=timeout, seed=seed, say=say)
    rng = np.random.default_rng(seed)
    lo, hi = region.hull32()
    points = (lo + (hi - lo) * rng.random((SAMPLES, len(car)), np.float32)).clip(lo, hi).astype(np.float32)
    samples = trained.program(points)[:, 0]
    return Proof(
        car, region, found.lower, found.upper, found.attacked, samples, found.verdict, time.perf_counter() - start
    )


def save(proof: Proof, folder: Path) -> tuple[Path, Path, Path]:
    """Write model.onnx, claim.vnnlib and proof.tlcert."""
    model, claim, certificate = proof.verdict.save(folder)
    return Path(model), Path(claim), Path(certificate)
