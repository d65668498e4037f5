"""Layers: names of parameters, sharing, errors, and values against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.errors import DataError, GraphError, ShapeError, TorchLeanError, UsageError
from torchlean.ir import Tensor

torch = pytest.importorskip("torch")


def names(model: Any, *types: Any) -> list[str]:
    return list(nn.trace(model, *types).parameters)


@dataclass(frozen=True)
class Body(nn.Layer):
    first: nn.Layer
    layers: tuple[nn.Layer, ...]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x


def test_parameters_are_named_by_the_path_of_their_layer() -> None:
    x = tl.f32["n", 3]
    assert names(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), x) == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]
    assert names(nn.Sequential(fc1=nn.Linear(3, 4), fc2=nn.Linear(4, 2, bias=False)), x) == [
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
    ]
    assert names(nn.MLP(3, 5, 2), x) == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
    nested = Body(nn.Linear(3, 3, bias=False), (nn.Sequential(nn.Linear(3, 2, bias=False)), nn.ReLU()))
    assert names(nested, x) == ["first.weight", "layers.0.0.weight"]
    assert names(nn.Linear(3, 4), x) == ["weight", "bias"]


def test_one_layer_used_twice_is_one_set_of_parameters() -> None:
    shared = nn.Linear(3, 3)
    assert names(nn.Sequential(shared, nn.ReLU(), shared), tl.f32["n", 3]) == ["0.weight", "0.bias"]
    two = nn.Linear(3, 3), nn.Linear(3, 3)
    assert len(names(nn.Sequential(*two), tl.f32["n", 3])) == 4


def test_a_plain_function_is_a_model() -> None:
    a, b = nn.Linear(3, 4), nn.Linear(4, 1)
    program = nn.trace(lambda x: b(nn.ReLU()(a(x))), tl.f32["n", 3])
    assert list(program.parameters) == ["linear0.weight", "linear0.bias", "linear1.weight", "linear1.bias"]
    both = nn.trace(lambda u, v: u + v, tl.f32["n"], tl.f32["n"])
    assert list(both.graph.inputs) == ["u", "v"]


def test_nodes_carry_the_line_that_made_their_layer() -> None:
    program = nn.trace(
        nn.Sequential(
            nn.Linear(3, 4),
            nn.ReLU(),
        ),
        tl.f32["n", 3],
    )
    (relu,) = (n for n in program.graph.nodes if n.op == "relu")
    (linear,) = (n for n in program.graph.nodes if n.op == "linear")
    lines = [int(n.where.removeprefix("test_layers.py:")) for n in (linear, relu)]
    assert lines[1] == lines[0] + 1


def test_the_error_of_two_layers_that_do_not_fit() -> None:
    model = nn.Sequential(
        act=nn.ReLU(),
        fc1=nn.ReLU(),
        fc2=nn.Linear(784, 10),
    )
    with pytest.raises(ShapeError) as caught:
        nn.trace(model, tl.f32[32, 28, 28])
    line = caught.value.where.rpartition(":")[2]
    assert str(caught.value) == (
        "ShapeError: linear: the last axis of x must be the input axis of weight\n"
        f"  where:    layer 2 (fc2), test_layers.py:{line}\n"
        "  expected: x: [*batch, 784]        because weight is f32[10, 784]\n"
        "  got:      x: f32[32, 28, 28]\n"
        "  fix:      nn.Flatten() before this layer, or nn.Linear(28, 10)"
    )


def test_an_error_inside_nested_layers_names_the_innermost() -> None:
    model = nn.Sequential(nn.Flatten(), Body(nn.ReLU(), (nn.Linear(5, 5), nn.Linear(4, 2))))
    with pytest.raises(ShapeError, match=r"layer 1.layers.1 \(Linear\), test_layers.py:"):
        nn.trace(model, tl.f32["n", 5])


def forward(model: nn.Layer, module: Any, x: np.ndarray, training: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The layer's result and PyTorch's on the same parameters."""
    program = nn.trace(
        model, tl.TensorType(("n", *x.shape[1:]) and (tl.symbol("n"), *x.shape[1:]), tl.f32), training=training
    )
    values = dict(program.parameters)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.from_numpy(np.array(values[name])))
        want = module(torch.from_numpy(x)).numpy()
    return np.asarray(program(x, backend="eager")), want


RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(3, 4, 9, 8)).astype(np.float32)
ROW = RNG.normal(size=(5, 6)).astype(np.float32)
LINE = RNG.normal(size=(3, 4, 11)).astype(np.float32)
VOLUME = RNG.normal(size=(2, 2, 5, 4, 6)).astype(np.float32)
CASES: dict[str, tuple[nn.Layer, Callable[[], Any], np.ndarray]] = {
    "linear": (nn.Linear(6, 3), lambda: torch.nn.Linear(6, 3), ROW),
    "relu": (nn.ReLU(), torch.nn.ReLU, ROW),
    "leaky_relu": (nn.LeakyReLU(0.1), lambda: torch.nn.LeakyReLU(0.1), ROW),
    "sigmoid": (nn.Sigmoid(), torch.nn.Sigmoid, ROW),
    "tanh": (nn.Tanh(), torch.nn.Tanh, ROW),
    "elu": (nn.ELU(0.5), lambda: torch.nn.ELU(0.5), ROW),
    "softplus": (nn.Softplus(), torch.nn.Softplus, ROW),
    "silu": (nn.SiLU(), torch.nn.SiLU, ROW),
    "gelu": (nn.GELU(), torch.nn.GELU, ROW),
    "gelu tanh": (nn.GELU(tanh=True), lambda: torch.nn.GELU("tanh"), ROW),
    "mish": (nn.Mish(), torch.nn.Mish, ROW),
    "layer_norm": (nn.LayerNorm(6), lambda: torch.nn.LayerNorm(6), ROW),
    "layer_norm of an image": (nn.LayerNorm(9, 8, epsilon=1e-3), lambda: torch.nn.LayerNorm((9, 8), 1e-3), IMAGE),
    "rms_norm": (nn.RMSNorm(6), lambda: torch.nn.RMSNorm(6, 1e-5), ROW),
    "softmax": (nn.Softmax(), lambda: torch.nn.Softmax(-1), ROW),
    "log_softmax": (nn.LogSoftmax(), lambda: torch.nn.LogSoftmax(-1), ROW),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), lambda: torch.nn.Conv1d(4, 6, 3, 2, 1), LINE),
    "conv2d": (
        nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=2, groups=2),
        lambda: torch.nn.Conv2d(4, 6, (3, 2), 1, (1, 0), 2, 2),
        IMAGE,
    ),
    "conv2d plain": (nn.Conv2d(4, 5, 3, bias=False), lambda: torch.nn.Conv2d(4, 5, 3, bias=False), IMAGE),
    "conv3d": (nn.Conv3d(2, 3, 2), lambda: torch.nn.Conv3d(2, 3, 2), VOLUME),
    "max_pool": (nn.MaxPool(3, 2, 1), lambda: torch.nn.MaxPool2d(3, 2, 1), IMAGE),
    "avg_pool": (nn.AvgPool(2), lambda: torch.nn.AvgPool2d(2), IMAGE),
    "avg_pool padded": (
        nn.AvgPool(3, 2, 1, count_padding=False),
        lambda: torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        IMAGE,
    ),
    "global_avg_pool": (
        nn.GlobalAvgPool(),
        lambda: torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        IMAGE,
    ),
    "flatten": (nn.Flatten(), torch.nn.Flatten, IMAGE),
    "batch_norm": (nn.BatchNorm(4), lambda: torch.nn.BatchNorm2d(4).eval(), IMAGE),
}


@pytest.mark.parametrize(("layer", "module", "x"), CASES.values(), ids=CASES)
def test_layers_agree_with_pytorch(layer: nn.Layer, module: Callable[[], Any], x: np.ndarray) -> None:
    got, want = forward(layer, module(), x)
    assert got.shape == want.shape and got.dtype == np.float32
    # Sums of at most 72 products, in another order: a few roundings.
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("x", [IMAGE, ROW], ids=["image", "row"])
def test_batch_norm_in_training_normalizes_and_moves_its_running_statistics(x: np.ndarray) -> None:
    channels = x.shape[1]
    module = (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(channels)
    model = nn.BatchNorm(channels)
    training = nn.trace(model, tl.TensorType((tl.symbol("n"), *x.shape[1:]), tl.f32), training=True)
    inference = nn.trace(model, tl.TensorType((tl.symbol("n"), *x.shape[1:]), tl.f32))
    assert dict(training.parameters).keys() == dict(inference.parameters).keys() and not inference.graph.updates
    answer = training(x, backend="eager")
    want = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(answer["y"], want, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(answer["update:running_mean"], module.running_mean.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(answer["update:running_variance"], module.running_var.numpy(), rtol=1e-5)


def test_a_state_updated_twice_in_one_run_is_refused() -> None:
    shared = nn.BatchNorm(3)
    with pytest.raises(GraphError, match="a state is updated twice"):
        nn.trace(nn.Sequential(shared, shared), tl.f32["n", 3], training=True)
    nn.trace(nn.Sequential(shared, shared), tl.f32["n", 3])  # inference only reads it


def test_normalize_subtracts_and_scales_by_constants_in_real_units() -> None:
    x = np.array([[1.0, 100.0], [3.0, 300.0], [5.0, 500.0]])
    layer = nn.Normalize.from_data(x)
    program = nn.trace(layer, tl.f32["n", 2])
    assert not program.parameters
    y = program(x.astype(np.float32))
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-6)
    constant = nn.Normalize.from_data(np.full((4, 1), 7.0))
    assert constant.scale == (1.0,)


def test_residual_adds_and_refuses_other_shapes() -> None:
    program = nn.trace(nn.Residual(nn.Linear(3, 3)), tl.f32["n", 3], plan={"*": nn.init.zeros()})
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(program(x), x)
    assert names(nn.Residual(nn.Linear(3, 5), nn.Linear(3, 5, bias=False)), tl.f32["n", 3]) == [
        "body.weight",
        "body.bias",
        "shortcut.weight",
    ]
    with pytest.raises(ShapeError, match="the two branches have different shapes"):
        nn.trace(nn.Residual(nn.Linear(3, 4)), tl.f32["n", 3])


def test_cnn_has_the_shapes_it_says() -> None:
    program = nn.trace(nn.CNN(1, 4, 8, classes=10, batch_norm=True), tl.f32["n", 1, 28, 28])
    assert str(program.graph.output_types["y"]) == "f32[n, 10]"
    assert np.asarray(program(np.zeros((2, 1, 28, 28), np.float32), backend="eager")).shape == (2, 10)


BAD: dict[str, tuple[Callable[[], object], type[TorchLeanError]]] = {
    "no size": (lambda: nn.Linear(0, 3), ShapeError),
    "float size": (lambda: nn.Linear(2.0, 3), ShapeError),  # type: ignore[arg-type]
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=4), ShapeError),
    "kernel axes": (lambda: nn.Conv2d(4, 6, (3, 3, 3)), ShapeError),
    "padding": (lambda: nn.Conv1d(4, 6, 3, padding=-1), ShapeError),
    "one size": (lambda: nn.MLP(3), UsageError),
    "a class": (lambda: nn.Sequential(nn.ReLU), UsageError),  # type: ignore[arg-type]
    "both": (lambda: nn.Sequential(nn.ReLU(), a=nn.ReLU()), UsageError),
    "not a layer": (lambda: nn.Sequential(3), UsageError),  # type: ignore[arg-type]
    "channels": (lambda: nn.trace(nn.Conv2d(3, 4, 3), tl.f32["n", 1, 8, 8]), ShapeError),
    "rank": (lambda: nn.trace(nn.Conv2d(3, 4, 3), tl.f32["n", 3, 8]), ShapeError),
    "pool rank": (lambda: nn.trace(nn.MaxPool(2), tl.f32["n", 8]), ShapeError),
    "norm channels": (lambda: nn.trace(nn.BatchNorm(3), tl.f32["n", 4]), ShapeError),
    "layer norm width": (lambda: nn.trace(nn.LayerNorm(3), tl.f32["n", 4]), ShapeError),
    "layer norm of nothing": (lambda: nn.LayerNorm(), ShapeError),
    "rms norm size": (lambda: nn.RMSNorm(0), ShapeError),
    "normalize width": (lambda: nn.trace(nn.Normalize([0.0], [1.0]), tl.f32["n", 4]), ShapeError),
    "normalize shapes": (lambda: nn.Normalize([0.0, 1.0], [1.0]), ShapeError),
    "normalize zero": (lambda: nn.Normalize([0.0], [0.0]), DataError),
    "normalize nan": (lambda: nn.Normalize.from_data(np.array([[np.nan]])), DataError),
    "normalize empty": (lambda: nn.Normalize.from_data(np.zeros((0, 3))), DataError),
    "numbers": (lambda: nn.Linear(3, 4)(np.zeros((2, 3))), ShapeError),
    "no type": (lambda: nn.trace(nn.ReLU()), UsageError),
    "an array for a type": (lambda: nn.trace(nn.ReLU(), np.zeros(3)), UsageError),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("make", "kind"), BAD.values(), ids=BAD)
def test_bad_models_are_refused_with_a_fix(make: Callable[[], object], kind: type[TorchLeanError]) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert caught.value.fix and caught.value.expected


def test_the_summary_counts_what_the_program_holds() -> None:
    program = nn.trace(nn.MLP(7, 64, 64, 1), tl.f32["batch", 7])
    text = nn.summary(program)
    assert "4,737" in text and "weight f32[64, 7], bias f32[64]" in text and "f32[batch, 64]" in text
    assert nn.parameter_count(program) == 4737
