"""Layers, initializers, and the step from a model to a program."""

from torchlean.nn import init
from torchlean.nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from torchlean.nn.blocks import CNN, MLP, Residual, Sequential
from torchlean.nn.layer import Layer
from torchlean.nn.linear import Linear
from torchlean.nn.norm import BatchNorm, LayerNorm, Normalize, RMSNorm
from torchlean.nn.plan import initialise
from torchlean.nn.shape import Flatten
from torchlean.nn.summary import parameter_count, summary
from torchlean.nn.tracing import trace
from torchlean.nn.windows import AvgPool, Conv1d, Conv2d, Conv3d, GlobalAvgPool, MaxPool

__all__ = [
    "CNN", "ELU", "GELU", "MLP", "AvgPool", "BatchNorm", "Conv1d", "Conv2d", "Conv3d", "Flatten", "GlobalAvgPool",
    "Layer", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MaxPool", "Mish", "Normalize", "RMSNorm", "ReLU",
    "Residual", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh", "init", "initialise",
    "parameter_count", "summary", "trace",
]  # fmt: skip
