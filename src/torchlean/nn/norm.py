"""Normalization: of inputs by fixed constants, and of features over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torchlean.errors import DataError, ShapeError
from torchlean.ir import Tensor
from torchlean.ir.dims import numel
from torchlean.nn.init import ones, zeros
from torchlean.nn.layer import Layer, as_float32, tracing
from torchlean.nn.linear import positive


@dataclass(frozen=True, init=False)
class Normalize(Layer):
    """(x - mean) * scale, with constants: part of the program, so that claims about it are in the data's own units.

    Shapes   x: [*batch, *s] -> the same; mean, scale: [*s], or scalars
    Units    mean in those of x, scale in their inverse
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    shape: tuple[int, ...]

    def __init__(self, mean: Any, deviation: Any) -> None:
        """`deviation` divides: scale = 1 / deviation, rounded once to float32."""
        centre = as_float32(mean)
        spread = np.asarray(deviation, dtype=np.float64)
        if spread.shape != centre.shape:
            raise ShapeError(
                "Normalize: mean and deviation have different shapes",
                where="nn.Normalize",
                expected=f"deviation: {list(centre.shape)}",
                got=str(list(spread.shape)),
                fix="give one deviation per mean",
            )
        if not np.all(np.isfinite(centre)) or not np.all(np.isfinite(spread)) or not np.all(spread > 0):
            raise DataError(
                "Normalize: mean and deviation must be finite, and deviation positive",
                where="nn.Normalize",
                expected="finite numbers, deviation > 0",
                got=f"mean {centre}, deviation {spread}",
                fix="drop constant columns, and rows with missing values",
            )
        object.__setattr__(self, "mean", tuple(float(v) for v in centre.ravel()))
        object.__setattr__(self, "scale", tuple(float(v) for v in as_float32(1.0 / spread).ravel()))
        object.__setattr__(self, "shape", tuple(centre.shape))

    @staticmethod
    def from_data(x: np.ndarray) -> Normalize:
        """Mean and standard deviation of each column (axis 0 is the example); a constant column gets deviation 1.

        Shapes   x: [n, *s]
        Raises   DataError for an empty array, NaN or infinity
        """
        array = np.asarray(x, dtype=np.float64)
        if array.ndim < 1 or array.shape[0] == 0:
            raise DataError(
                "there is nothing to normalize by",
                where="nn.Normalize.from_data",
                expected="x: [n, *s], n >= 1",
                got=str(list(array.shape)),
                fix="pass the training inputs",
            )
        if not np.all(np.isfinite(array)):
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise DataError(
                "the data hold a value that is not finite",
                where=f"nn.Normalize.from_data, row {row}",
                expected="finite numbers",
                got="NaN or infinity",
                fix="drop or fill these rows first",
            )
        deviation = array.std(axis=0)
        return Normalize(array.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        rank = len(self.shape)
        if rank and x.shape[-rank:] != self.shape:
            raise ShapeError(
                "normalize: the trailing axes of x must be those of mean",
                where=f"Normalize, {self._where}",
                expected=f"x: [*batch, {', '.join(map(str, self.shape))}]",
                got=f"x: {x.type}",
                fix="normalize by data of the same shape",
            )
        g = x.builder
        mean = g.constant(np.array(self.mean, dtype=np.float32).reshape(self.shape), x.dtype)
        scale = g.constant(np.array(self.scale, dtype=np.float32).reshape(self.shape), x.dtype)
        return (x - mean) * scale


@dataclass(frozen=True, init=False)
class LayerNorm(Layer):
    """Each example normalized over its trailing axes, then scaled and shifted.

    Shapes   x: [*batch, *s] -> the same; weight, bias: [*s]
    Source   Ba et al. 2016, arXiv:1607.06450; epsilon is PyTorch's
    """

    shape: tuple[int, ...]
    epsilon: float

    def __init__(self, *shape: int, epsilon: float = 1e-5) -> None:
        _trailing("LayerNorm", self, shape, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        _fits("LayerNorm", self.shape, x, self._where)
        weight, bias = self.parameter(x, "weight", self.shape, ones()), self.parameter(x, "bias", self.shape, zeros())
        return x.builder.layer_norm(x, weight, bias, axis=-len(self.shape), epsilon=self.epsilon)


@dataclass(frozen=True, init=False)
class RMSNorm(Layer):
    """Each example over the root of its mean square along the trailing axes, then scaled.

    Shapes   x: [*batch, *s] -> the same; weight: [*s]
    Source   Zhang and Sennrich 2019, arXiv:1910.07467
    """

    shape: tuple[int, ...]
    epsilon: float

    def __init__(self, *shape: int, epsilon: float = 1e-5) -> None:
        _trailing("RMSNorm", self, shape, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        _fits("RMSNorm", self.shape, x, self._where)
        weight = self.parameter(x, "weight", self.shape, ones())
        return x.builder.rms_norm(x, weight, axis=-len(self.shape), epsilon=self.epsilon)


def _trailing(name: str, layer: Layer, shape: tuple[int, ...], epsilon: float) -> None:
    """Sets the sizes that are normalized. Raises ShapeError where there is none, or one is not positive."""
    positive(name, **{f"size_{i}": n for i, n in enumerate(shape)})
    if not shape:
        raise ShapeError(
            f"{name} needs the sizes of the axes that it normalizes",
            where=f"nn.{name}",
            expected="one size or more",
            got="none",
            fix=f"nn.{name}(64)",
        )
    object.__setattr__(layer, "shape", tuple(shape))
    object.__setattr__(layer, "epsilon", epsilon)


def _fits(name: str, shape: tuple[int, ...], x: Tensor, where: str) -> None:
    if x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name}: the trailing axes of x must be those that are normalized",
            where=f"{name}, {where}",
            expected=f"x: [*batch, {', '.join(map(str, shape))}]",
            got=f"x: {x.type}",
            fix=f"nn.{name}({', '.join(map(str, x.shape[-len(shape) :]))})",
        )


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each channel normalized over the batch and the spatial axes, then scaled and shifted.

    Training   by the batch's mean and (biased) variance; the running ones move by `momentum` towards the batch's mean
               and unbiased variance, as updates of states
    Inference  by the running mean and variance
    Shapes     x: [batch, channels, *s] -> the same; weight, bias, running_mean, running_variance: [channels]
    Source     Ioffe and Szegedy 2015, arXiv:1502.03167; the constants are PyTorch's
    """

    channels: int
    epsilon: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        positive("BatchNorm", channels=self.channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.type.rank < 2 or x.shape[1] != self.channels:
            raise ShapeError(
                "batch_norm: axis 1 of x must be the channels",
                where=f"BatchNorm, {self._where}",
                expected=f"x: [batch, {self.channels}, *s]",
                got=f"x: {x.type}",
                fix=f"nn.BatchNorm({x.shape[1] if x.type.rank > 1 else '...'})",
            )
        size = (self.channels,)
        weight, bias = self.parameter(x, "weight", size, ones()), self.parameter(x, "bias", size, zeros())
        mean = self.state(x, "running_mean", size, zeros())
        variance = self.state(x, "running_variance", size, ones())
        g = x.builder
        if not tracing(g).training:
            return g.batch_norm(x, weight, bias, mean, variance, epsilon=self.epsilon)
        return self._train(x, weight, bias, mean, variance)

    def _train(self, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        g, rank = x.builder, x.type.rank
        axes = (-rank, *range(2 - rank, 0))
        spread = (self.channels,) if rank == 2 else (1, self.channels, *(1 for _ in range(rank - 2)))
        count = g.literal(numel(tuple(x.shape[a] for a in axes)), x)  # a node: the batch may still be a symbol
        m = x.mean(axes)
        centred = x - m.reshape(spread)
        v = (centred * centred).mean(axes)
        factor = weight / g.sqrt(v + self.epsilon)
        self.update(x, "running_mean", mean * (1.0 - self.momentum) + m * self.momentum)
        unbiased = v * (count / (count - 1.0))
        self.update(x, "running_variance", variance * (1.0 - self.momentum) + unbiased * self.momentum)
        y: Tensor = centred * factor.reshape(spread) + bias.reshape(spread)
        return y
