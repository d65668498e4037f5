"""The dense layer."""

from __future__ import annotations

from dataclasses import dataclass

from torchlean.errors import ShapeError
from torchlean.ir import Tensor
from torchlean.ir.dims import numel
from torchlean.nn.init import Initializer, torch_default
from torchlean.nn.layer import Layer


def positive(layer: str, **sizes: int) -> None:
    """Raises ShapeError unless every size is a positive int."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ShapeError(
                f"{layer}: {name} must be a positive int",
                where=f"nn.{layer}",
                expected=f"{name} >= 1",
                got=repr(size),
                fix=f"give the number of {name}",
            )


@dataclass(frozen=True)
class Linear(Layer):
    """x weight^T + bias.

    Shapes   x: [*batch, inputs] -> [*batch, outputs]; weight [outputs, inputs], bias [outputs]
    Init     PyTorch's: both uniform within 1 / sqrt(inputs)
    """

    inputs: int
    outputs: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive("Linear", inputs=self.inputs, outputs=self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        if x.type.rank < 1 or x.shape[-1] != self.inputs:
            got = x.shape[-1] if x.type.rank else "?"
            fix = f"nn.Linear({got}, {self.outputs})"
            if numel(x.shape[1:]) == self.inputs:
                fix = f"nn.Flatten() before this layer, or {fix}"
            raise ShapeError(
                "linear: the last axis of x must be the input axis of weight",
                where=f"Linear, {self._where}",
                expected=f"x: [*batch, {self.inputs}]        "
                f"because weight is {x.dtype}[{self.outputs}, {self.inputs}]",
                got=f"x: {x.type}",
                fix=fix,
            )
        default = torch_default(self.inputs)
        weight = self.parameter(x, "weight", (self.outputs, self.inputs), self.weight_init or default)
        if not self.bias:
            return x.builder.linear(x, weight)
        bias = self.parameter(x, "bias", (self.outputs,), self.bias_init or default)
        return x.builder.linear(x, weight, bias)
