"""The classical baseline: least squares with an intercept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torchlean.errors import DataError, ShapeError
from torchlean.train.metrics import Metrics, regression


@dataclass(frozen=True, eq=False)
class LinearBaseline:
    """x weight + bias in float64, of least squared error on the fitted data.

    Shapes   weight: [features, targets], bias: [targets]; held_out: metrics on the data kept back
    """

    weight: np.ndarray
    bias: np.ndarray
    held_out: Metrics

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = _columns(x) @ self.weight + self.bias
        return result

    def __str__(self) -> str:
        return f"linear baseline: {self.held_out}"


def linear_baseline(fit: Any, held_out: Any) -> LinearBaseline:
    """Least squares on `fit`, measured on `held_out` (datasets with x and y).

    Columns are standardised first, so that units do not spoil the conditioning; rank-deficient data give the solution
    of least norm in those units.
    Raises   DataError for a dataset without rows; ShapeError when the two have different columns
    """
    x, y = _columns(fit.x), _columns(fit.y)
    if len(x) == 0:
        raise DataError(
            "there is nothing to fit",
            where="linear_baseline",
            expected="one row or more",
            got="none",
            fix="pass the training data",
        )
    if _columns(held_out.x).shape[1] != x.shape[1]:
        raise ShapeError(
            "the two datasets have different columns",
            where="linear_baseline",
            expected=f"{x.shape[1]} columns",
            got=str(_columns(held_out.x).shape[1]),
            fix="split one dataset",
        )
    centre, middle = x.mean(axis=0), y.mean(axis=0)
    spread = x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    solution, *_ = np.linalg.lstsq((x - centre) / spread, y - middle, rcond=None)
    weight = solution / spread[:, None]
    bias = middle - centre @ weight
    metrics = regression(_columns(held_out.x) @ weight + bias, _columns(held_out.y))
    return LinearBaseline(weight, bias, metrics)


def _columns(values: np.ndarray) -> np.ndarray:
    """float64[n, columns]."""
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), -1)
