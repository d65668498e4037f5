"""Where curves and products are split: laws of the points and of the areas that they are chosen by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.verify.points import SHARES, Table, best, points, table
from torchlean_check.network import Affine, Curve, Dense, Input, Network, Product, Relu, Select
from torchlean_check.rules import convex
from torchlean_check.rules.functions import FUNCTIONS, find, named_elu, named_power

NAMES = (*FUNCTIONS, *(named_power(p) for p in (3.0, 4.0, 2.5, -1.5)), named_elu(1.0), named_elu(3.0))
ODD = ("sigmoid", "tanh", "erf", "sin", "pow 3.0")  # about their value at 0

each_function = pytest.mark.parametrize("name", NAMES)
few = settings(deadline=None, derandomize=True, max_examples=25)
ends = st.floats(-20, 20, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


def domain(name: str, x: np.ndarray) -> np.ndarray:
    """Numbers of a function's domain."""
    return np.abs(x) + 2.0**-10 if find(name).positive or name in ("sqrt", "reciprocal") else x


def boxes(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of all widths."""
    rng = np.random.default_rng(seed)
    middle, half = 4 * rng.normal(size=400), np.exp2(rng.uniform(-12, 4, 400))
    low, high = domain(name, middle - half), domain(name, middle + half)
    return np.minimum(low, high), np.maximum(low, high)


@each_function
def test_a_point_is_inside_and_found_again(name: str) -> None:
    lo, hi = boxes(name, 0)
    found = best(name, lo, hi)
    assert ((lo < found) & (found < hi)).all()
    table.cache_clear()
    np.testing.assert_array_equal(found, best(name, lo, hi))
    np.testing.assert_array_equal(found[7:8], best(name, lo[7:8], hi[7:8]))  # whatever stands beside it


@each_function
def test_a_point_leaves_no_more_than_the_middle(name: str) -> None:
    """By the kernel's own lines; where a wave's lines become constants, between two marks, at most a quarter more."""
    lo, hi = boxes(name, 1)
    lo, hi = np.maximum(lo, -16.0), np.minimum(hi, 16.0)
    lo, hi = lo[lo < hi], hi[lo < hi]

    def area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        place = np.zeros_like(low)
        found = convex.lines(name, low, high, place, place)
        return ((found.s - found.a) * (0.5 * low + 0.5 * high) + found.t - found.p) * (high - low)

    def left(at: np.ndarray) -> np.ndarray:
        return area(lo, at) + area(at, hi)

    chosen, middle = left(best(name, lo, hi)), left(0.5 * lo + 0.5 * hi)
    floor = (
        1e-9 * (1 + np.abs(hi) + np.abs(lo)) ** 2 * (1 + np.abs(find(name).value(hi)))
    )  # what lines pay for rounding
    assert (chosen <= (1.25 if find(name).wave is not None else 1.05) * middle + floor).all()
    assert ((chosen + floor) / (middle + floor)).mean() <= 1


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "exp", "reciprocal", "sin"])
def test_a_point_leaves_much_less_than_the_middle_somewhere(name: str) -> None:
    lo, hi = boxes(name, 2)
    assert (best(name, lo, hi) != 0.5 * lo + 0.5 * hi).sum() > 40


@pytest.mark.parametrize("name", ODD)
@few
@given(lo=ends, hi=ends)
def test_points_of_odd_functions_mirror_each_other(name: str, lo: float, hi: float) -> None:
    if name == "sin":
        lo, hi = lo / 8, hi / 8  # within a period of 0
    lo, hi = min(lo, hi), max(lo, hi) + 1.0
    one, other = best(name, np.array([lo]), np.array([hi])), best(name, np.array([-hi]), np.array([-lo]))
    np.testing.assert_array_equal(one, -other)
    size = max(abs(lo), abs(hi))
    assert best(name, np.array([-size]), np.array([size])) == 0.0


def test_a_bend_is_where_a_box_that_reaches_far_over_it_is_split() -> None:
    (sigmoid,) = best("sigmoid", np.array([-1.5]), np.array([2.5]))
    assert sigmoid > 1.0  # the left half may bend, the right one is nearly straight
    (reciprocal,) = best("reciprocal", np.array([0.01]), np.array([1.0]))
    assert reciprocal < 0.2
    np.testing.assert_array_equal(best("square", np.array([-3.0, 1.0]), np.array([5.0, 8.0])), [1.0, 4.5])


@each_function
def test_boxes_without_a_choice_have_the_middle(name: str) -> None:
    """Of no width, between neighbours, beyond the marks, of no numbers."""
    one = 1.0
    lo = np.array([one, one, 1e30, np.nan, 1.0, np.inf])
    hi = np.array([one, np.nextafter(one, 2), 2e30, 1.0, np.nan, np.inf])
    found = best(name, lo, hi)
    np.testing.assert_array_equal(found[[0, 1, 3, 4]], (0.5 * lo + 0.5 * hi)[[0, 1, 3, 4]])
    assert 1e30 < found[2] < 2e30


def test_jumps_are_split_in_the_middle() -> None:
    for name in ("floor", "sign"):
        assert best(name, np.array([-1.0]), np.array([4.0])) == 1.5


def test_an_area_is_interpolated_between_the_nearest_boxes() -> None:
    """Of a parabola, a sixth of the cube of the width: the same wherever it is."""
    known = table("square")
    lo, hi = np.array([-0.93, 0.11, -0.5]), np.array([-0.21, 0.117, 0.5])
    place = np.zeros(3)
    lines = convex.lines("square", lo, hi, place, place)
    exact = ((lines.s - lines.a) * (0.5 * lo + 0.5 * hi) + lines.t - lines.p) * (hi - lo)
    np.testing.assert_allclose(known.area(lo, hi), exact, rtol=1e-6)
    skew = Table(np.array([0.0, 1.0, 3.0]), np.array([[1.0, 2.0, 4.0], [2.0, 1.0, 3.0], [4.0, 3.0, 2.0]]))
    assert skew.area(np.array([0.5]), np.array([2.0])) == ((2.0 + 1.0) / 4 + (4.0 + 3.0) / 4) * 1.5**3
    assert len(SHARES) % 2 and SHARES[len(SHARES) // 2] == 0.5  # the middle is among the candidates


def test_a_value_is_split_where_its_readers_say() -> None:
    """At 0 where a relu reads it; a product's factors in the middle; of several readers, the mean."""
    one = Select(np.arange(1), 1)
    weight = Affine(
        ((Dense(np.eye(1)), 0),), np.zeros(1), 1, (1,), np.ones(1), False, 0.0, np.zeros(1), np.zeros(1), ""
    )
    nodes = (
        Input(1, (1,)), weight, Relu(1, 1, (1,), ""), weight, Curve("exp", 3, 1, (1,), ""),
        weight, Curve("exp", 5, 1, (1,), ""), Product(one, one, (5, 6), 1, (1,), ""), weight,
        Product(one, one, (8, 8), 1, (1,), ""),
    )  # fmt: skip
    network = Network(nodes, 9, (1,))
    lo, hi = np.array([-3.0]), np.array([5.0])
    alone = best("exp", lo, hi)
    assert alone > 1.5
    assert points(network, 1, lo, hi) == 0.0
    assert points(network, 3, lo, hi) == alone
    assert points(network, 5, lo, hi) == 0.5 * (alone + 1.0)
    assert points(network, 8, lo, hi) == 1.0
