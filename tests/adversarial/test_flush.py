"""Networks that tell whether subnormal numbers are kept: y > 0 over the reals, and 0 where something is flushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status

Flush = Callable[[float], float]


def kept(v: float) -> float:
    return v


def flushed(v: float) -> float:
    return 0.0 if abs(v) < 2.0**-126 else v


class Case(NamedTuple):
    """A graph from x to y, its weights, the least x (the largest is 17/16 of it), and y where `f` treats subnormals."""

    nodes: list[tuple[str, list[str], str, dict[str, Any]]]
    weights: dict[str, list[float]]
    x: float
    y: Callable[[float, Flush], float]


def norm(eps: float) -> tuple[str, list[str], str, dict[str, Any]]:
    return "BatchNormalization", ["x", "g", "b", "m", "v"], "y", {"epsilon": eps}


def gemm(**more: float) -> tuple[str, list[str], str, dict[str, Any]]:
    return "Gemm", ["x", "w"], "y", more


CASES = {
    "relu of the input": Case([("Relu", ["x"], "y", {})], {}, 2.0**-130, lambda x, f: f(x)),
    "relu, then moves": Case(
        [("Relu", ["x"], "t", {}), ("Transpose", ["t"], "u", {}), ("Flatten", ["u"], "y", {})],
        {},
        2.0**-130,
        lambda x, f: f(x),
    ),
    "relu of a relu": Case(
        [("Relu", ["x"], "t", {}), ("Relu", ["t"], "y", {})], {}, 1.75 * 2.0**-127, lambda x, f: f(x)
    ),
    "negation": Case([("Neg", ["x"], "y", {})], {}, -(2.0**-130), lambda x, f: -f(x)),
    "an input, amplified": Case([gemm()], {"w": [2.0**120]}, 2.0**-130, lambda x, f: 2.0**120 * f(x)),
    "a weight, amplified by the input": Case([gemm()], {"w": [2.0**-130]}, 2.0**100, lambda x, f: f(2.0**-130) * x),
    "a product, amplified by the next layer": Case(
        [("Mul", ["x", "w"], "t", {}), ("Mul", ["t", "u"], "y", {})],
        {"w": [2.0**-70], "u": [2.0**120]},
        2.0**-70,
        lambda x, f: f(2.0**-70 * x) * 2.0**120,
    ),
    "alpha after the product": Case(
        [gemm(alpha=2.0**60)], {"w": [2.0**-60]}, 2.0**-70, lambda x, f: 2.0**60 * f(x * 2.0**-60)
    ),
    "alpha before the weight": Case(
        [gemm(alpha=2.0**-60)], {"w": [2.0**60]}, 2.0**-70, lambda x, f: f(x * 2.0**-60) * 2.0**60
    ),
    "alpha times the weight": Case([gemm(alpha=2.0**-60)], {"w": [2.0**-70]}, 2.0**60, lambda x, f: f(2.0**-130) * x),
    "a weight before alpha": Case(
        [gemm(alpha=2.0**60)], {"w": [2.0**-130]}, 2.0**40, lambda x, f: f(2.0**-130) * 2.0**60 * x
    ),
    "an added constant before beta": Case(
        [("Gemm", ["x", "w", "c"], "y", {"beta": 2.0**60})],
        {"w": [0.0], "c": [2.0**-130]},
        1.0,
        lambda x, f: f(2.0**-130) * 2.0**60,
    ),
    "an added constant after beta": Case(
        [("Gemm", ["x", "w", "c"], "y", {"beta": 2.0**-60})],
        {"w": [0.0], "c": [2.0**-70]},
        1.0,
        lambda x, f: f(2.0**-60 * 2.0**-70),
    ),
    "the scale of a normalisation": Case(
        [norm(2.0**-90)],
        {"g": [2.0**-127], "b": [0.0], "m": [0.0], "v": [0.0]},
        2.0**30,
        lambda x, f: f(2.0**-127) * 2.0**45 * x,
    ),
    "the input and the mean of a normalisation": Case(
        [norm(2.0**-90)],
        {"g": [2.0**30], "b": [0.0], "m": [-(2.0**-127)], "v": [0.0]},
        1.75 * 2.0**-127,
        lambda x, f: (f(x) - f(-(2.0**-127))) * 2.0**75,
    ),
    "both operands of a difference": Case(
        [("Sub", ["x", "c"], "y", {})],
        {"c": [-1.75 * 2.0**-127]},
        1.75 * 2.0**-127,
        lambda x, f: f(x) + f(1.75 * 2.0**-127),
    ),
    "both operands of a residual": Case(
        [("Relu", ["x"], "t", {}), ("Add", ["x", "t"], "y", {})], {}, 1.75 * 2.0**-127, lambda x, f: f(x) + f(x)
    ),
    "a dividend": Case([("Div", ["x", "c"], "y", {})], {"c": [2.0**-60]}, 2.0**-130, lambda x, f: f(x) / 2.0**-60),
    "a value that is repeated": Case(
        [("Relu", ["x"], "t", {}), ("Mul", ["t", "r"], "u", {}), ("MatMul", ["u", "s"], "y", {})],
        {"r": [1.0, 1.0], "s": [2.0**100, 2.0**100]},
        2.0**-130,
        lambda x, f: 2.0**101 * f(x),
    ),
    "an average": Case(
        [
            ("Reshape", ["x", "i"], "t", {}),
            ("AveragePool", ["t"], "u", {"kernel_shape": [1]}),
            ("Mul", ["u", "w"], "y", {}),
        ],
        {"w": [2.0**100]},
        2.0**-130,
        lambda x, f: 2.0**100 * f(x),
    ),
}


def files(lab, case: Case, violation: str) -> tuple[bytes, bytes]:
    weights: dict[str, np.ndarray] = {name: np.array(v, np.float32) for name, v in case.weights.items()}
    for name, shape in (("w", (1, 1)), ("r", (1, 2)), ("s", (2, 1))):
        if name in weights:
            weights[name] = weights[name].reshape(shape)
    if any("i" in ins for _, ins, _, _ in case.nodes):
        weights["i"] = np.array([1, 1, 1], np.int64)
    ends = sorted([case.x, case.x * 17 / 16])
    return lab.model(case.nodes, weights, (1, 1)), lab.claim(ends[:1], ends[1:], 1, violation)


@pytest.mark.parametrize("title", CASES)
def test_a_network_that_detects_flushing_is_never_claimed_for_float32(lab, title) -> None:
    case = CASES[title]
    x = float(np.float32(case.x))
    assert x == case.x and case.y(x, kept) > 0 == case.y(x, flushed)
    both = files(lab, case, "(<= Y_0 0.0)")
    lab.not_claimed(both)
    real = verify_files(*both, timeout=10, semantics="real")
    assert real.status is Status.UNSAT and real.semantics == "real"


@pytest.mark.parametrize("title", CASES)
def test_what_no_flushing_can_reach_is_proved_for_float32(lab, title) -> None:
    verdict = verify_files(*files(lab, CASES[title], "(<= Y_0 -1.0)"), timeout=10)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32"
