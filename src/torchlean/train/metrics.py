"""What a trained program is worth on a dataset. Computed in float64 from float32 predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchlean.errors import DataError, ShapeError, UsageError


@dataclass(frozen=True, eq=False)
class Metrics(Mapping[str, Any]):
    """Named results on `count` examples; prints as one line."""

    values_: dict[str, Any]
    count: int

    def __getitem__(self, name: str) -> Any:
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __str__(self) -> str:
        numbers = [f"{n} {v:.4g}" for n, v in self.items() if isinstance(v, float)]
        return "   ".join([*numbers, f"on {self.count} examples"])

    __repr__ = __str__


def rmse(prediction: np.ndarray, target: np.ndarray) -> float:
    """sqrt of the mean squared error, in the target's units."""
    return float(np.sqrt(np.mean((_f64(prediction) - _f64(target)) ** 2)))


def mae(prediction: np.ndarray, target: np.ndarray) -> float:
    """The mean absolute error, in the target's units."""
    return float(np.mean(np.abs(_f64(prediction) - _f64(target))))


def r2(prediction: np.ndarray, target: np.ndarray) -> float:
    """1 - (squared error) / (squared distance from the target's mean); NaN for a constant target."""
    error = np.sum((_f64(prediction) - _f64(target)) ** 2)
    total = np.sum((_f64(target) - np.mean(_f64(target), axis=0)) ** 2)
    return float(1.0 - error / total) if total > 0 else float("nan")


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of examples whose largest logit (the first of equal ones) is the label's."""
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def top_k(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of examples whose label is among the k largest logits; among equal ones the first classes win.

    Raises   UsageError unless 1 <= k <= classes
    """
    if not 1 <= k <= logits.shape[-1]:
        raise UsageError(
            "k must lie between 1 and the number of classes",
            where="top_k",
            expected=f"1 to {logits.shape[-1]}",
            got=str(k),
            fix="give a smaller k",
        )
    best = np.argsort(-_f64(logits), axis=-1, kind="stable")[:, :k]
    return float(np.mean(np.any(best == labels[:, None], axis=-1)))


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """i64[classes, classes]: entry [true, predicted] counts examples. Raises DataError for a label outside."""
    classes = logits.shape[-1]
    check_labels(labels, classes)
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (labels, np.argmax(logits, axis=-1)), 1)
    return table


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raises DataError unless every label is 0 <= label < classes."""
    outside = (labels < 0) | (labels >= classes)
    if np.any(outside):
        row = int(np.argmax(outside))
        raise DataError(
            "a label is outside the classes",
            where=f"y[{row}]",
            expected=f"0 to {classes - 1}",
            got=str(labels[row]),
            fix="give the model one output per class",
        )


def regression(prediction: np.ndarray, target: np.ndarray) -> Metrics:
    """rmse, mae and r2. Raises ShapeError when the shapes differ."""
    if prediction.shape != target.shape:
        raise ShapeError(
            "prediction and target have different shapes",
            where="metrics",
            fix="reshape one of them",
            expected=str(list(target.shape)),
            got=str(list(prediction.shape)),
        )
    found = {"rmse": rmse(prediction, target), "mae": mae(prediction, target), "r2": r2(prediction, target)}
    return Metrics(found, len(target))


def classification(logits: np.ndarray, labels: np.ndarray) -> Metrics:
    """accuracy, top-5 where there are more than five classes, and the confusion matrix."""
    found: dict[str, Any] = {"accuracy": accuracy(logits, labels)}
    if logits.shape[-1] > 5:
        found["top5"] = top_k(logits, labels, 5)
    found["confusion"] = confusion(logits, labels)
    return Metrics(found, len(labels))


def measure(prediction: np.ndarray, target: np.ndarray) -> Metrics:
    """Regression metrics for float targets, classification metrics for integer labels."""
    return (regression if target.dtype.kind == "f" else classification)(prediction, target)


def _f64(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)
