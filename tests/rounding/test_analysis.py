"""The table: what it reports, how sharp it is, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import ops
from torchlean.errors import DataError, MissingRule, ShapeError, UsageError
from torchlean.ir import Builder, bf16, f16, f32, f64, i64
from torchlean.run.program import Program


def program(f: Any, **types: Any) -> Program:
    g = Builder(ops.ALL)
    return Program(g.finish({"y": f(g, *(g.input(n, t) for n, t in types.items()))}))


def test_a_table_reads_as_its_graph(tools: Any) -> None:
    table = tl.rounding(tools.mlp(), tl.box(np.zeros(3), 0.5))
    assert table["y"].op == "linear" and table["x"].difference <= 2.0**-126 and table["y"].shape == (1, 2)
    assert [n.number for n in table.nodes] == list(range(len(table.graph.nodes)))
    assert all(np.isfinite(n.difference) and not (n.overflow or n.nan or n.undefined) for n in table.nodes)
    with pytest.raises(UsageError, match="no value of this name"):
        table["z"]


def test_the_difference_is_far_below_the_ranges_and_tighter_in_one_order(tools: Any) -> None:
    net, region = tools.mlp((7, 32, 32, 1)), tl.box(np.ones(7), relative=0.05)
    anyhow, one = tl.rounding(net, region)["y"], tl.rounding(net, region, "reference")["y"]
    width = anyhow.computed[1] - anyhow.computed[0]
    assert one.difference < anyhow.difference < width * 1e-3
    assert one.real == anyhow.real and one.computed[1] <= anyhow.computed[1]


def test_difference_bound_is_within_a_factor_of_what_is_seen(tools: Any) -> None:
    net, region = tools.mlp((7, 16, 1)), tl.box(np.ones(7, np.float32), 0.0)
    found = tl.rounding(net, region, "reference")["y"]
    seen = abs(float(net(np.ones((1, 7), np.float32))[0, 0]) - found.real[0])
    assert seen <= found.difference and found.difference < 60 * 2.0**-24 * max(map(abs, found.computed)) + 1e-6


@pytest.mark.parametrize("order", ["any", "reference"])
def test_overflow_and_nan_are_told(order: str) -> None:
    big = program(lambda g, x: g.exp(x), x=f32[2])
    row = tl.rounding(big, tl.box(np.zeros(2), 100.0), order)["y"]
    assert row.overflow and row.difference == np.inf and not row.undefined
    assert not tl.rounding(big, tl.box(np.zeros(2), 10.0), order)["y"].overflow
    lost = program(lambda g, x: g.sub(g.exp(x), g.exp(x + 1.0)), x=f32[2])
    assert tl.rounding(lost, tl.box(np.zeros(2), 100.0), order)["y"].nan
    total = program(lambda g, x: g.sum(x, axes=(-1,), keepdims=False), x=f32[4])
    row = tl.rounding(total, tl.box(np.array([3e38, 3e38, -3e38, -3e38], np.float32), 0.0), order)["y"]
    assert row.overflow and row.nan
    row = tl.rounding(program(lambda g, x: g.log(x), x=f32[1]), tl.box(np.zeros(1), 1.0), order)["y"]
    assert row.undefined and row.nan
    row = tl.rounding(program(lambda g, x: g.div(1.0, x), x=f32[1]), tl.box(np.zeros(1), 1.0), order)["y"]
    assert row.undefined and row.overflow and row.difference == np.inf


def test_a_square_root_of_what_is_not_negative_stays_defined() -> None:
    """Rounding keeps the sign of a square, so its root cannot be NaN."""
    root = program(lambda g, x: g.sqrt(g.mul(x, x)), x=f32[1])
    for order in ("any", "reference"):
        row = tl.rounding(root, tl.box(np.zeros(1), 1.0), order)["y"]
        assert not row.nan and row.difference < 2.0**-11


@pytest.mark.parametrize("kind", [f64, f16, bf16])
def test_other_formats_round_in_their_own_unit(kind: Any) -> None:
    """In float64 the difference is of the order 2^-53, in the narrow ones of theirs."""
    half = {f64: 2.0**-53, f16: 2.0**-11, bf16: 2.0**-8}[kind]
    f = program(lambda g, x: g.cast(g.cast(x, dtype=kind) * 3.0 - 1.0, dtype=f64), x=f32[1])
    row = tl.rounding(f, tl.box(np.array([1.2], np.float32), 0.1))["y"]
    assert half <= row.difference <= 16 * half
    seen = f(np.array([1.3], np.float32))
    assert row.computed[0] <= float(seen[0]) <= row.computed[1]


def test_a_format_without_a_rule_is_refused_by_name() -> None:
    f = program(lambda g, x: g.exp(x), x=f16[2])
    with pytest.raises(MissingRule, match=r"exp has no rounding rule in float16[\s\S]*node %1 \(exp\)"):
        tl.rounding(f, tl.box(np.zeros(2), 1.0))
    assert tl.rounding(f, tl.box(np.zeros(2), 1.0), "reference")["y"].difference < 2.0**-9


def test_a_rule_that_reads_a_constant_refuses_a_range() -> None:
    def norm(g: Any, x: Any, v: Any) -> Any:
        one = g.constant(np.ones(2, np.float32))
        return g.batch_norm(x, one, one, one, v, epsilon=1e-5)

    f = program(norm, x=f32[1, 2], v=f32[2])
    region = {"x": tl.box(np.zeros((1, 2)), 1.0), "v": tl.box(np.ones(2), 0.5)}
    with pytest.raises(MissingRule, match=r"batch_norm has no rounding rule where its input 4 varies[\s\S]*node %"):
        tl.rounding(f, region)
    assert tl.rounding(f, region, "reference")["y"].difference < 1e-5


def test_integer_inputs_take_whole_numbers() -> None:
    f = program(lambda g, x, i: g.gather(x, i, axis=0), x=f32[3], i=i64[2])
    boxes = {"x": tl.box(np.array([1.0, 5.0, 9.0], np.float32), 0.0), "i": tl.box(lo=[0, "0.5"], hi=[0, "1.5"])}
    row = tl.rounding(f, boxes)["y"]
    assert row.computed == (1.0, 5.0) and row.difference == 0
    with pytest.raises(DataError, match="no whole number"):
        tl.rounding(f, boxes | {"i": tl.box(lo=[0, "0.25"], hi=[0, "0.75"])})


def test_bad_arguments_are_refused(tools: Any) -> None:
    net = tools.mlp()
    with pytest.raises(UsageError, match="no such order"):
        tl.rounding(net, tl.box(np.zeros(3), 1.0), "left")
    with pytest.raises(ShapeError, match="does not fit the input"):
        tl.rounding(net, tl.box(np.zeros(4), 1.0))
    with pytest.raises(UsageError, match="a box for every input"):
        tl.rounding(net, {"z": tl.box(np.zeros(3), 1.0)})
    with pytest.raises(DataError, match="nan"):
        tl.rounding(net, tl.box(np.full(3, np.nan), 1.0))
    with pytest.raises(DataError, match="empty"):
        tl.rounding(net, tl.box(lo=np.ones(3), hi=np.zeros(3)))


def test_a_subnormal_input_may_be_read_as_zero() -> None:
    f = program(lambda g, x: g.where(g.less(0.0, x), g.literal(1.0, x), g.literal(2.0, x)), x=f32[1])
    point = tl.box(np.array([1e-40], np.float32), 0.0)
    assert tl.rounding(f, point)["y"].computed == (1.0, 2.0)
    assert tl.rounding(f, point, "reference")["y"].computed == (1.0, 1.0)


def test_a_sum_of_both_signs_may_change_its_sign() -> None:
    """The exact sum is 0.5; left to right it is -1.5."""
    f = program(lambda g, x: g.sum(x, axes=(-1,), keepdims=False), x=f32[5])
    x = np.array([2.0**24, 1, 1, -(2.0**24), -1.5], np.float32)
    assert float(f(x)) == -1.5
    for order in ("any", "reference"):
        row = tl.rounding(f, tl.box(x, 0.0), order)["y"]
        assert row.real == (0.5, 0.5) and row.computed[0] <= -1.5 and row.difference >= 2.0


def test_a_sum_of_one_product_rounds_the_product() -> None:
    x = np.array([[1 + 2.0**-23]], np.float32)
    weight = x.copy()
    f = program(lambda g, x: g.matmul(x, g.constant(weight)), x=f32[1, 1])
    for order in ("any", "reference"):
        row = tl.rounding(f, tl.box(x, 0.0), order)["y"]
        exact = float(x[0, 0]) ** 2
        assert row.difference >= abs(float(f(x)[0, 0]) - exact) > 0
