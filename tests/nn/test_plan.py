"""Initializers and plans: exactly one initializer per parameter."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.errors import ShapeError, TorchLeanError, UsageError
from torchlean.nn import init

TYPES = {"0.weight": tl.f32[4, 3], "0.bias": tl.f32[4], "1.weight": tl.f32[2, 4], "1.bias": tl.f32[2]}


def test_names_or_patterns_give_each_parameter_its_value() -> None:
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    values = nn.initialise(TYPES, {"*.bias": init.zeros(), "0.weight": init.Uniform(-1, 1), "1.weight": given}, seed=1)
    assert list(values) == list(TYPES)
    assert not values["0.bias"].any() and np.array_equal(values["1.weight"], given)
    assert values["0.weight"].dtype == np.float32 and values["0.weight"].shape == (4, 3)


def refused(plan: dict[str, object]) -> TorchLeanError:
    with pytest.raises(TorchLeanError) as caught:
        nn.initialise(TYPES, plan)  # type: ignore[arg-type]
    return caught.value


def test_a_parameter_without_initializer_is_named() -> None:
    error = refused({"*.bias": init.zeros(), "0.weight": init.zeros()})
    assert isinstance(error, UsageError) and error.what == "the parameter '1.weight' has no initializer"
    assert "1.weight: f32[2, 4]" in error.expected


def test_a_surplus_initializer_is_named() -> None:
    error = refused({"*": init.zeros(), "2.weight": init.zeros()})
    assert error.what == "the plan initializes '2.weight', which is no parameter"


def test_a_second_initializer_is_named() -> None:
    error = refused({"*.bias": init.zeros(), "*.weight": init.zeros(), "1.bias": init.ones()})
    assert error.what == "the parameter '1.bias' has two initializers" and error.got == "'*.bias' and '1.bias'"


def test_a_value_of_the_wrong_shape_is_named() -> None:
    error = refused({"*.bias": init.zeros(), "0.weight": init.zeros(), "1.weight": np.zeros((4, 2), np.float32)})
    assert isinstance(error, ShapeError) and error.where == "parameter 1.weight" and error.expected == "f32[2, 4]"


def test_a_fan_scaled_initializer_refuses_a_bias_by_name() -> None:
    error = refused({"*.weight": init.zeros(), "*.bias": init.KaimingUniform()})
    assert isinstance(error, ShapeError) and error.where == "parameter 0.bias"


def test_a_trace_replaces_only_what_the_plan_names() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = nn.trace(model, tl.f32["n", 3], seed=5)
    other = nn.trace(model, tl.f32["n", 3], seed=5, plan={"2.*": init.Constant(0.5)})
    assert np.array_equal(plain.parameters["0.weight"], other.parameters["0.weight"])
    assert np.all(other.parameters["2.weight"] == 0.5) and np.all(other.parameters["2.bias"] == 0.5)
    with pytest.raises(UsageError, match="which is no parameter"):
        nn.trace(model, tl.f32["n", 3], plan={"7.weight": init.zeros()})


WEIGHT = (64, 32, 3, 3)
LAWS = {
    "kaiming uniform": (init.KaimingUniform(), sqrt(6 / (32 * 9)), sqrt(2 / (32 * 9))),
    "kaiming normal": (init.KaimingNormal(), None, sqrt(2 / (32 * 9))),
    "kaiming leaky": (init.KaimingNormal("leaky_relu", 0.2), None, sqrt(2 / 1.04 / (32 * 9))),
    "kaiming fan out": (init.KaimingNormal(fan="out"), None, sqrt(2 / (64 * 9))),
    "xavier uniform": (init.XavierUniform(), sqrt(6 / (96 * 9)), sqrt(2 / (96 * 9))),
    "xavier normal": (init.XavierNormal(), None, sqrt(2 / (96 * 9))),
    "torch default": (init.torch_default(32 * 9), 1 / sqrt(32 * 9), 1 / sqrt(3 * 32 * 9)),
}


@pytest.mark.parametrize(("rule", "bound", "deviation"), LAWS.values(), ids=LAWS)
def test_initializers_have_the_bound_and_deviation_of_their_source(
    rule: init.Initializer, bound: float | None, deviation: float
) -> None:
    value = rule.value("w", tl.f32[WEIGHT], 0).astype(np.float64)
    assert abs(value.std() / deviation - 1) < 0.02 and abs(value.mean()) < 0.02 * deviation
    if bound is not None:
        assert np.max(np.abs(value)) <= np.float32(bound)


def test_bounds_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for activation, slope in (("relu", 0.0), ("tanh", 0.0), ("linear", 0.0), ("sigmoid", 0.0), ("leaky_relu", 0.3)):
        want = torch.nn.init.calculate_gain(activation, slope or None)
        assert init.gain(activation, slope) == pytest.approx(want, rel=1e-15)
    layer = torch.nn.Linear(50, 1000)
    bound = max(layer.weight.abs().max().item(), layer.bias.abs().max().item())
    ours = init.torch_default(50)
    assert bound <= ours.high and bound > 0.99 * ours.high


@pytest.mark.parametrize("bad", [lambda: init.KaimingUniform("gelu"), lambda: init.KaimingNormal(fan="both")])
def test_an_unknown_option_is_refused(bad: object) -> None:
    with pytest.raises(UsageError):
        bad()  # type: ignore[operator]
