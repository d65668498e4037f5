"""The relu rule charges at least the exact minimum, for any slopes, on any box."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchlean_check.arith import Rounded
from torchlean_check.rules import relu

ends = st.floats(-100, 100) | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-300, -1e-300, 1e30, -1e30])
slopes = st.floats(-3, 3) | st.sampled_from([0.0, 1.0, float("nan")])


@settings(deadline=None, derandomize=True, max_examples=400)
@given(ends, ends, slopes, st.floats(-1e6, 1e6))
@example(-1e-300, 1e30, 0.3, -1.0)
@example(-1.0, 5e-324, float("nan"), -1.0)
def test_charge_is_at_least_the_exact_minimum(a, b, slope, coefficient):
    lo, hi = np.array([[min(a, b)]]), np.array([[max(a, b)]])
    line = relu.lines(lo, hi, np.array([[slope]]))
    g = Fraction(coefficient)
    factor = line.a if coefficient > 0 else line.s
    taken = Fraction(float((np.float64(coefficient) * factor)[0, 0]))  # as the walk rounds it
    low = line.p[0, 0] if line.p is not None else 0.0
    charge = g * Fraction(float(low)) if coefficient > 0 else g * Fraction(float(line.t[0, 0]))
    for z in {
        Fraction(float(lo[0, 0])),
        Fraction(float(hi[0, 0])),
        min(max(Fraction(0), Fraction(float(lo[0, 0]))), Fraction(float(hi[0, 0]))),
    }:
        assert g * max(z, 0) - taken * z >= charge - Fraction(2) ** -800  # the underflow that the kernel charges once


def test_stable_neurons_are_exact():
    line = relu.lines(np.array([[0.0, -2.0, 1.0]]), np.array([[3.0, 0.0, 2.0]]))
    assert (
        line.a.tolist() == [[1, 0, 1]]
        and line.s.tolist() == [[1, 0, 1]]
        and line.t.tolist() == [[0, 0, 0]]
        and line.p is None
    )


@pytest.mark.parametrize("seed", range(8))
def test_rows_that_share_a_box_have_the_lines_of_their_own_boxes(seed):
    """But for the entries that are split, whose boxes are given; the step back is the same, its sum to rounding."""
    rng = np.random.default_rng(seed)
    rows, n = 6, 9
    lo, hi = -rng.random((1, n)), rng.random((1, n))
    slope = np.where(rng.random((rows, n)) < 0.3, np.nan, rng.random((rows, n)))
    row, column = np.unravel_index(np.sort(rng.permutation(rows * n)[:14]), (rows, n))
    whole = [np.repeat(end, rows, axis=0) for end in (lo, hi)]
    cut = rng.uniform(lo[0, column], hi[0, column])
    low, high = rng.random(len(row)) < 0.4, rng.random(len(row)) < 0.4
    whole[0][row[low], column[low]] = np.where(rng.random(low.sum()) < 0.5, 0.0, cut[low])
    whole[1][row[high], column[high]] = np.maximum(whole[0][row[high], column[high]], 0.0)
    own, expected = (whole[0][row, column], whole[1][row, column]), relu.lines(*whole, slope)
    line = relu.shared((lo, hi), slope, row, column, *own)
    assert (line.a == expected.a).all() and line.p is None and expected.p is None
    for shared, part, each in ((line.s, line.but[2], expected.s), (line.t, line.but[3], expected.t)):
        found = np.repeat(shared, rows, axis=0)
        found[row, column] = part
        assert (found == each).all()
    box = rng.integers(0, rows, 11)
    given = rng.normal(size=(11, n))
    here, there = given.copy(), given.copy()
    shift, other = (relu.back(x, g, box, Rounded()) for x, g in ((line, here), (expected, there)))
    assert (here == there).all()
    terms = [[Fraction(min(g, 0.0)) * Fraction(t) for g, t in zip(*both, strict=True)]
             for both in zip(given.tolist(), expected.t[box].tolist(), strict=True)]  # fmt: skip
    for some in (shift, other):
        for s, exact in zip(some.tolist(), terms, strict=True):
            assert abs(Fraction(s) - sum(exact)) <= sum(map(abs, exact)) * n * Fraction(1, 1 << 52)
