"""The relu rule charges at least the exact minimum, for any slopes, on any box."""

from fractions import Fraction

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
