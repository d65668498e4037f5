"""An inequality over a box of outputs."""

from fractions import Fraction
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.bounds.property import inequality

small = st.integers(-3, 3)
rows = st.fixed_dictionaries({0: small, 1: small, 2: small})


@settings(deadline=None, derandomize=True)
@given(
    x=rows,
    y=rows,
    constant=st.integers(-4, 4),
    strict=st.booleans(),
    ends=st.lists(st.tuples(small, small), min_size=3, max_size=3),
)
def test_decided_is_what_holds_at_every_corner(x, y, constant, strict, ends):
    g = inequality(
        {i: Fraction(c) for i, c in x.items()}, {j: Fraction(c) for j, c in y.items()}, Fraction(constant), strict
    )
    point = [Fraction(1), Fraction(-2), Fraction(1, 2)]
    boxes = [sorted(pair) for pair in ends]
    said = {g.holds(point, [Fraction(v) for v in corner]) for corner in product(*boxes)}
    lo, hi = zip(*boxes, strict=True)
    assert g.decided(point, lo, hi) == (said.pop() if len(said) == 1 else None)
