"""Metrics: each against its definition on small arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from torchlean.errors import DataError, ShapeError, UsageError
from torchlean.train import metrics

PREDICTION = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
TARGET = np.array([[1.0], [4.0], [1.0]], dtype=np.float32)
LOGITS = np.array([[3, 1, 2], [0, 0, 5], [1, 1, 0], [0, 2, 1]], dtype=np.float32)
LABELS = np.array([0, 1, 0, 2])


def test_regression_metrics() -> None:
    found = metrics.regression(PREDICTION, TARGET)
    assert found["rmse"] == pytest.approx(math.sqrt(13 / 3)) and found["mae"] == pytest.approx(5 / 3)
    assert found["r2"] == pytest.approx(1 - 13 / 6) and found.count == 3
    assert str(found).startswith("rmse 2.082   mae 1.667   r2 ")
    assert math.isnan(metrics.r2(PREDICTION, np.ones_like(TARGET)))


def test_classification_metrics() -> None:
    found = metrics.classification(LOGITS, LABELS)
    assert found["accuracy"] == 0.5
    assert found["confusion"].tolist() == [[2, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert metrics.top_k(LOGITS, LABELS, 1) == 0.5 and metrics.top_k(LOGITS, LABELS, 2) == 0.75
    assert metrics.top_k(LOGITS, LABELS, 3) == 1.0


def test_equal_logits_count_for_the_first_class() -> None:
    even = np.zeros((2, 4))
    assert metrics.accuracy(even, np.array([0, 1])) == metrics.top_k(even, np.array([0, 1]), 1) == 0.5


def test_a_nan_prediction_never_makes_a_good_metric() -> None:
    broken = np.where(PREDICTION > 3, np.nan, PREDICTION)
    assert all(math.isnan(v) for v in metrics.regression(broken, TARGET).values())


def test_what_metrics_refuse() -> None:
    with pytest.raises(ShapeError):
        metrics.regression(PREDICTION, TARGET[:, 0])
    with pytest.raises(DataError, match="outside the classes"):
        metrics.confusion(LOGITS, np.array([0, 1, 3, 0]))
    with pytest.raises(UsageError):
        metrics.top_k(LOGITS, LABELS, 4)
