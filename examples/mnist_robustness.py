"""Digits: train a small network, measure its robustness, prove it for some images, check the proofs.

    python examples/mnist_robustness.py mnist_test_uint8.npz

The file holds pixels X: uint8 [n, 28, 28, 1] and labels y: [n].
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction

import torchlean as tl
from torchlean import data, nn, optim, train
from torchlean.apps import robustness
from torchlean.cli.columns import columns

EPSILONS = (Fraction("0.005"), Fraction("0.015"), Fraction("0.03"))
DOMAIN = (Fraction(0), Fraction(1))


def main(path: str) -> None:
    digits = data.images(path)
    fit, held_out = digits.split(0.8, seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10))
    program = tl.trace(model, tl.f32["batch", 1, 28, 28], seed=0)
    trainer = train.Trainer(loss=tl.losses.cross_entropy, optimizer=optim.Adam(2e-3), progress=False)
    program = trainer.fit(program, fit, steps=400, batch_size=64, seed=0).program

    few = held_out.take(range(40))
    examples = robustness.Examples(few.x[:, None], few.y)
    settings = robustness.Settings(EPSILONS, DOMAIN, method="crown")
    print(columns(robustness.HEAD, robustness.rows(robustness.measure(program, examples, settings))))

    y = tl.output
    for k in range(3):
        image, digit = held_out.x[k], int(held_out.y[k])
        region = tl.box(image[None], EPSILONS[1], clip=DOMAIN)
        verdict = tl.verify(program, region >> (y[digit] > y.others), timeout=10)
        print(f"image {k}, a {digit}: {verdict}")
        if verdict.holds:
            with tempfile.TemporaryDirectory() as folder:
                print(f"  torchlean-check: {tl.check(*verdict.save(folder)).status}")
        elif verdict.witness is not None:
            print(f"  {verdict.witness}")


if __name__ == "__main__":
    main(sys.argv[1])
