"""Initializers: how the first value of a parameter is drawn.

Counter-based: the bits of an array depend on the seed and the parameter's name alone, so adding a layer changes no
other, and every machine draws the same bits (`random.py`). Numbers are drawn in float64 and rounded once to the dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from torchlean.errors import ShapeError, UsageError
from torchlean.ir import TensorType
from torchlean.nn.random import Stream


class Initializer(ABC):
    """Draws the first value of one parameter."""

    @abstractmethod
    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        """float64[*shape]. Raises ShapeError for a shape that the initializer cannot fill."""

    def value(self, name: str, type: TensorType, seed: int) -> np.ndarray:
        """The first value of parameter `name`, in its dtype.

        Raises   ShapeError that names the parameter.
        """
        shape = type.sizes
        try:
            drawn = self.draw(Stream(seed, name), shape)
        except ShapeError as error:
            raise ShapeError(
                error.what, where=f"parameter {name}", expected=error.expected, got=error.got, fix=error.fix
            ) from None
        if drawn.shape != shape:
            raise ShapeError(
                "the initial value has the wrong shape",
                where=f"parameter {name}",
                expected=str(type),
                got=f"{list(drawn.shape)} from {self!r}",
                fix="give an array of the parameter's shape, or another initializer",
            )
        return drawn.astype(type.dtype.numpy)


@dataclass(frozen=True)
class Constant(Initializer):
    """Every entry is `fill`."""

    fill: float

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.fill, dtype=np.float64)


def zeros() -> Constant:
    """Every entry is 0."""
    return Constant(0.0)


def ones() -> Constant:
    """Every entry is 1."""
    return Constant(1.0)


@dataclass(frozen=True, eq=False)
class Given(Initializer):
    """The array itself."""

    array: np.ndarray

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(self.array)

    def __repr__(self) -> str:
        return f"Given({self.array.dtype.name}{list(self.array.shape)})"


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform on [low, high)."""

    low: float
    high: float

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return self.low + (self.high - self.low) * stream.uniform(shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with this mean and standard deviation."""

    mean: float = 0.0
    deviation: float = 1.0

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return self.mean + self.deviation * stream.normal(shape)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight [out, in, *kernel]: entries read by one output, written by one input.

    Raises   ShapeError below rank 2.
    """
    if len(shape) < 2:
        raise ShapeError(
            "fan-scaled initializers need a weight of rank 2 or more",
            where="initializer",
            expected="[out, in, *kernel]",
            got=str(list(shape)),
            fix="use zeros(), Uniform or Normal for a bias",
        )
    receptive = prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": sqrt(2.0)}


def gain(activation: str, slope: float = 0.0) -> float:
    """The factor that keeps the variance through an activation; `slope` is leaky_relu's. Source: PyTorch."""
    if activation == "leaky_relu":
        return sqrt(2.0 / (1.0 + slope * slope))
    if activation not in GAINS:
        raise UsageError(
            "no gain is known for this activation",
            where="initializer",
            expected=", ".join((*GAINS, "leaky_relu")),
            got=repr(activation),
            fix="name one of these",
        )
    return GAINS[activation]


@dataclass(frozen=True)
class _Kaiming(Initializer):
    activation: str = "relu"
    slope: float = 0.0
    fan: str = "in"

    def __post_init__(self) -> None:
        gain(self.activation, self.slope)
        if self.fan not in ("in", "out"):
            raise UsageError(
                "fan is 'in' or 'out'",
                where="initializer",
                expected="'in' or 'out'",
                got=repr(self.fan),
                fix="use 'in' to keep the variance forward, 'out' backward",
            )

    def deviation(self, shape: tuple[int, ...]) -> float:
        """gain / sqrt(fan)."""
        return gain(self.activation, self.slope) / sqrt(max(fans(shape)[self.fan == "out"], 1))


@dataclass(frozen=True)
class KaimingNormal(_Kaiming):
    """Normal with deviation gain / sqrt(fan). Source: He et al. 2015, arXiv:1502.01852."""

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return self.deviation(shape) * stream.normal(shape)


@dataclass(frozen=True)
class KaimingUniform(_Kaiming):
    """Uniform of the same deviation: bound gain sqrt(3 / fan). Source: He et al. 2015, arXiv:1502.01852."""

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        bound = sqrt(3.0) * self.deviation(shape)
        return Uniform(-bound, bound).draw(stream, shape)


@dataclass(frozen=True)
class _Xavier(Initializer):
    scale: float = 1.0

    def deviation(self, shape: tuple[int, ...]) -> float:
        """scale sqrt(2 / (fan in + fan out))."""
        return self.scale * sqrt(2.0 / max(sum(fans(shape)), 1))


@dataclass(frozen=True)
class XavierNormal(_Xavier):
    """Normal with deviation scale sqrt(2 / (fan in + fan out)). Source: Glorot and Bengio 2010."""

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        return self.deviation(shape) * stream.normal(shape)


@dataclass(frozen=True)
class XavierUniform(_Xavier):
    """Uniform of the same deviation. Source: Glorot and Bengio 2010."""

    def draw(self, stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
        bound = sqrt(3.0) * self.deviation(shape)
        return Uniform(-bound, bound).draw(stream, shape)


def torch_default(fan_in: int) -> Uniform:
    """What PyTorch's Linear and Conv draw for weight and bias: uniform within 1 / sqrt(fan in).

    PyTorch writes the weight's as kaiming_uniform(a=sqrt(5)), which is the same bound.
    """
    bound = 1.0 / sqrt(max(fan_in, 1))
    return Uniform(-bound, bound)
