"""Two blobs in the plane and a small network that tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

import torchlean as tl
from torchlean import data, nn, optim, train
from torchlean.apps.robustness import Examples


@pytest.fixture(scope="package")
def blobs():
    """(program, examples): three classes around corners, close enough that some examples are near a border."""
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    y = np.arange(240) % 3
    x = (centers[y] + rng.normal(0, 0.25, (240, 2))).astype(np.float32)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    program = tl.trace(model, tl.f32["batch", 2], seed=0)
    trainer = train.Trainer(loss=tl.losses.cross_entropy, optimizer=optim.Adam(1e-2), progress=False)
    program = trainer.fit(program, data.Dataset(x, y.astype(np.int64)), steps=150, batch_size=48, seed=0).program
    return program, Examples(x[:40, None], y[:40].astype(np.int64))
