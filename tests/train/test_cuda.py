"""Training on a CUDA device: the steps of the CPU, within float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, optim, train
from torchlean.train import losses

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
Y = np.abs(X).sum(axis=1, keepdims=True)
IMAGES = RNG.normal(size=(32, 1, 8, 8)).astype(np.float32)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > 0).astype(np.int64)


def test_a_dense_network_makes_the_steps_of_the_cpu(tmp_path: Path) -> None:
    program = nn.trace(nn.MLP(3, 16, 1), tl.f32["batch", 3], seed=0)

    def fit(backend: str, steps: int, resume: Path | None = None) -> train.Run:
        trainer = train.Trainer(losses.mse, optim.Adam(1e-2), backend=backend, progress=False)
        return trainer.fit(program, (X, Y), steps=steps, batch_size=10, checkpoint=tmp_path / "run", resume=resume)

    cpu, cuda = fit("eager", 40), fit("eager-cuda", 40)
    np.testing.assert_allclose(cuda.history.loss, cpu.history.loss, rtol=1e-3)  # roundings, amplified over 40 steps
    assert cuda.evaluate((X, Y))["rmse"] == pytest.approx(cpu.evaluate((X, Y))["rmse"], rel=1e-3)
    fit("eager-cuda", 20)
    rest = fit("eager-cuda", 40, resume=tmp_path / "run")
    for name, a in cuda.program.parameters.items():
        assert a.tobytes() == rest.program.parameters[name].tobytes()


def test_a_convolutional_network_with_batch_norm_makes_the_steps_of_the_cpu() -> None:
    model = nn.CNN(1, 4, 8, classes=2, batch_norm=True)
    training, inference = (nn.trace(model, tl.f32["n", 1, 8, 8], seed=0, training=t) for t in (True, False))
    runs = [
        train.Trainer(losses.cross_entropy, optim.SGD(0.1, momentum=0.9), backend=b, progress=False).fit(
            training, (IMAGES, LABELS), steps=8, batch_size=16, inference=inference
        )
        for b in ("eager", "eager-cuda")
    ]
    np.testing.assert_allclose(runs[1].history.loss, runs[0].history.loss, rtol=1e-3)


def test_pooling_and_padding_run_on_the_device() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool(2),
        nn.AvgPool(3, 2, 1, count_padding=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    program = nn.trace(model, tl.f32["n", 1, 8, 8], seed=0)
    runs = [
        train.Trainer(losses.cross_entropy, optim.AdamW(1e-2), backend=b, progress=False).fit(
            program, (IMAGES, LABELS), steps=8, batch_size=16
        )
        for b in ("eager", "eager-cuda")
    ]
    np.testing.assert_allclose(runs[1].history.loss, runs[0].history.loss, rtol=1e-3)
