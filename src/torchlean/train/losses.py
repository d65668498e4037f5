"""Losses: a mean over the batch, as graph nodes.

A loss is a function of two tensors, (prediction, target) -> f32[]; write your own with the tensors' operators.
Regression       prediction, target: [batch, *s], equal shapes
Classification   logits [batch, classes], labels i64[batch]
Certified        IBP, CrownIBP, SABR: the worst case over a box around each input (`certified`)
"""

from __future__ import annotations

from collections.abc import Callable

from torchlean.errors import ShapeError
from torchlean.ir import Tensor
from torchlean.train.certified import IBP, SABR, CrownIBP, RegionLoss

Loss = Callable[[Tensor, Tensor], Tensor] | RegionLoss


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of (prediction - target)^2 over all entries. Raises ShapeError unless the shapes are equal."""
    loss: Tensor = prediction.builder.mse(prediction, target)
    return loss


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of |prediction - target| over all entries. Raises ShapeError unless the shapes are equal."""
    loss: Tensor = prediction.builder.mae(prediction, target)
    return loss


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2).

    Raises   ShapeError unless the shapes are equal
    Source   Huber 1964, Robust estimation of a location parameter
    """
    if prediction.shape != target.shape:
        raise ShapeError(
            "huber: prediction and target differ in shape",
            where="loss huber",
            expected=str(prediction.type),
            got=str(target.type),
            fix="reshape the target: a silent broadcast would compare every pair",
        )
    size = abs(prediction - target)
    inner: Tensor = prediction.builder.minimum(size, delta)
    return (inner * (size - inner * 0.5)).mean()


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of -log softmax(logits)[label].

    Shapes   prediction: logits [batch, classes]; target: i64[batch], 0 <= label < classes
    """
    loss: Tensor = prediction.builder.cross_entropy(prediction, target)
    return loss


__all__ = ["IBP", "SABR", "CrownIBP", "Loss", "RegionLoss", "cross_entropy", "huber", "mae", "mse"]
