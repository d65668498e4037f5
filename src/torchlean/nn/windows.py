"""Layers that slide a window over spatial axes: convolution and pooling.

Arguments per spatial axis are an int, the same for all axes, or one int for each. Padding is symmetric here; the ops
take (low, high) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torchlean.errors import ShapeError
from torchlean.ir import Tensor
from torchlean.nn.init import Initializer, torch_default
from torchlean.nn.layer import Layer
from torchlean.nn.linear import positive

PerAxis = int | tuple[int, ...]


def per_axis(layer: Layer, name: str, value: PerAxis, axes: int, least: int = 1) -> tuple[int, ...]:
    """One int per spatial axis. Raises ShapeError for a wrong count or an int below `least`."""
    entries = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(entries) != axes or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in entries):
        raise ShapeError(
            f"{type(layer).__name__}: {name} needs an int per spatial axis",
            where=f"nn.{type(layer).__name__}",
            expected=f"{axes} ints >= {least}, or one",
            got=repr(value),
            fix=f"{name}={max(least, 1)}",
        )
    return entries


def spatial(layer: Layer, x: Tensor, axes: int, channels: int | None = None) -> None:
    """Raises ShapeError unless x is [batch, channels, *sp] with this many spatial axes."""
    if x.type.rank == axes + 2 and (channels is None or x.shape[1] == channels):
        return
    sizes = ", ".join(["depth", "height", "width"][-axes:]) if axes > 1 else "length"
    wrong = x.type.rank == axes + 2
    kind = type(layer).__name__
    raise ShapeError(
        f"{kind.lower()}: " + ("axis 1 of x must be the layer's input channels" if wrong else "x has the wrong rank"),
        where=f"{kind}, {layer._where}",
        expected=f"x: [batch, {channels if channels is not None else 'channels'}, {sizes}]",
        got=f"x: {x.type}",
        fix=f"nn.{kind}({x.shape[1]}, ...)" if wrong else "add or drop axes: x.reshape(batch, channels, ...)",
    )


@dataclass(frozen=True)
class _Conv(Layer):
    """A convolution (cross-correlation), weight [outputs, inputs / groups, *kernel], bias [outputs].

    Init     PyTorch's: both uniform within 1 / sqrt(inputs / groups * prod(kernel))
    """

    axes: ClassVar[int]
    inputs: int
    outputs: int
    kernel: PerAxis
    stride: PerAxis = 1
    padding: PerAxis = 0
    dilation: PerAxis = 1
    groups: int = 1
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(type(self).__name__, inputs=self.inputs, outputs=self.outputs, groups=self.groups)
        for name in ("kernel", "stride", "dilation"):
            per_axis(self, name, getattr(self, name), self.axes)
        per_axis(self, "padding", self.padding, self.axes, 0)
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: the channels do not divide into the groups",
                fix="groups=1",
                where=f"nn.{type(self).__name__}",
                expected=f"multiples of {self.groups}",
                got=f"{self.inputs} inputs, {self.outputs} outputs",
            )

    def forward(self, x: Tensor) -> Tensor:
        spatial(self, x, self.axes, self.inputs)
        kernel = per_axis(self, "kernel", self.kernel, self.axes)
        shape = (self.outputs, self.inputs // self.groups, *kernel)
        default = torch_default(prod(shape[1:]))
        values = [x, self.parameter(x, "weight", shape, self.weight_init or default)]
        if self.bias:
            values.append(self.parameter(x, "bias", (self.outputs,), self.bias_init or default))
        padding = per_axis(self, "padding", self.padding, self.axes, 0)
        return x.builder.conv(
            *values,
            stride=per_axis(self, "stride", self.stride, self.axes),
            padding=tuple((p, p) for p in padding),
            dilation=per_axis(self, "dilation", self.dilation, self.axes),
            groups=self.groups,
        )


@dataclass(frozen=True)
class Conv1d(_Conv):
    """Convolution over one spatial axis. Shapes: x: [batch, inputs, length] -> [batch, outputs, *]."""

    axes: ClassVar[int] = 1


@dataclass(frozen=True)
class Conv2d(_Conv):
    """Convolution over two spatial axes. Shapes: x: [batch, inputs, height, width] -> [batch, outputs, *, *]."""

    axes: ClassVar[int] = 2


@dataclass(frozen=True)
class Conv3d(_Conv):
    """Convolution over three spatial axes.

    Shapes   x: [batch, inputs, depth, height, width] -> [batch, outputs, *, *, *]
    """

    axes: ClassVar[int] = 3


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest entry of each window, over all spatial axes; padding takes no part.

    Shapes   x: [batch, channels, *sp] -> [batch, channels, *out]; stride: the kernel where None
    """

    kernel: PerAxis
    stride: PerAxis | None = None
    padding: PerAxis = 0

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.max_pool(x, **_window(self, x))


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each window, over all spatial axes; padded zeros count unless `count_padding` is False.

    Shapes   x: [batch, channels, *sp] -> [batch, channels, *out]; stride: the kernel where None
    """

    kernel: PerAxis
    stride: PerAxis | None = None
    padding: PerAxis = 0
    count_padding: bool = True

    def forward(self, x: Tensor) -> Tensor:
        return x.builder.avg_pool(x, **_window(self, x), count_include_pad=self.count_padding)


def _window(layer: MaxPool | AvgPool, x: Tensor) -> dict[str, tuple[object, ...]]:
    axes = x.type.rank - 2
    if not 1 <= axes <= 3:
        spatial(layer, x, 2)
    kernel = per_axis(layer, "kernel", layer.kernel, axes)
    stride = kernel if layer.stride is None else per_axis(layer, "stride", layer.stride, axes)
    padding = per_axis(layer, "padding", layer.padding, axes, 0)
    return {"kernel": kernel, "stride": stride, "padding": tuple((p, p) for p in padding)}


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean over all spatial axes: [batch, channels, *sp] -> [batch, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        if x.type.rank < 3:
            spatial(self, x, 2)
        return x.mean(tuple(range(2 - x.type.rank, 0)))
