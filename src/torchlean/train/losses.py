"""Losses: a mean over the batch, as graph nodes.

A loss is a function of two tensors, (prediction, target) -> f32[]; write your own with the tensors' operators.
Regression   prediction, target: [batch, *s], equal shapes          Classification   logits [batch, classes], labels i64[batch]
"""

from __future__ import annotations

from collections.abc import Callable

from torchlean.errors import ShapeError
from torchlean.ir import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def _same(loss: str, prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ShapeError(f"{loss}: prediction and target have different shapes", where=f"loss {loss}",
                         expected=f"target: {prediction.type}", got=f"target: {target.type}",
                         fix="reshape one of them: [n] and [n, 1] are different shapes")  # fmt: skip


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of (prediction - target)^2 over all entries."""
    _same("mse", prediction, target)
    difference = prediction - target
    return (difference * difference).mean()


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of |prediction - target| over all entries. At 0 the slope is the op abs's."""
    _same("mae", prediction, target)
    return abs(prediction - target).mean()


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2). Source: Huber 1964."""
    _same("huber", prediction, target)
    g = prediction.builder
    size = abs(prediction - target)
    inner = g.minimum(size, g.literal(delta, size))
    return (inner * (size - inner * 0.5)).mean()


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of -log softmax(logits)[label].

    Shapes   prediction: logits [batch, classes]; target: i64[batch], 0 <= label < classes
    """
    return prediction.builder.cross_entropy(prediction, target)  # type: ignore[no-any-return]
