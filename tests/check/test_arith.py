"""Both arithmetics keep their error bound; the exact one is exact."""

from fractions import Fraction

import numpy as np
import pytest

from torchlean_check import arith
from torchlean_check.errors import CheckError


def exact_product(rows, matrix):
    return [
        [sum((Fraction(a) * Fraction(b) for a, b in zip(r, c, strict=True)), Fraction(0)) for c in matrix.T.tolist()]
        for r in rows.tolist()
    ]


@pytest.mark.parametrize("name", ["rounded", "exact"])
@pytest.mark.parametrize("spread", [0, 20, 100])
def test_product_is_within_gamma(name, spread):
    rng = np.random.default_rng(spread)
    a = arith.arithmetic(name)
    rows = rng.normal(size=(5, 37)) * 2.0 ** rng.integers(-spread, spread + 1, (5, 37))
    matrix = (
        (rng.normal(size=(37, 4)) * 2.0 ** rng.integers(-spread // 2, spread // 2 + 1, (37, 4)))
        .astype(np.float32)
        .astype(np.float64)
    )
    trimmed, moved = a.trim(rows)
    limit = np.zeros(5) if moved is None else moved
    assert (np.abs(trimmed - rows) <= limit[:, None]).all()
    got = a.product(trimmed, matrix)
    size = exact_product(np.abs(trimmed), np.abs(matrix))
    for i, row in enumerate(exact_product(trimmed, matrix)):
        for j, want in enumerate(row):
            assert abs(Fraction(float(got[i, j])) - want) <= Fraction(a.gamma(37)) * size[i][j]
    dots = a.dots(rows, rows[::-1])
    for i in range(5):
        pairs = [Fraction(x) * Fraction(y) for x, y in zip(rows[i].tolist(), rows[::-1][i].tolist(), strict=True)]
        assert abs(Fraction(float(dots[i])) - sum(pairs)) <= Fraction(a.gamma(37)) * sum(map(abs, pairs))
    up = a.trim_up(np.abs(rows))
    assert (up >= np.abs(rows)).all() and (a.trim(up)[0] == up).all()


def test_exact_product_does_not_depend_on_order():
    rng = np.random.default_rng(1)
    a = arith.Exact()
    rows, matrix = a.trim(rng.normal(size=(3, 50)))[0], rng.normal(size=(50, 6)).astype(np.float32).astype(np.float64)
    order = rng.permutation(50)
    assert np.array_equal(a.product(rows, matrix), a.product(rows[:, order], matrix[order]))


def test_rows_stay_trimmed_where_their_largest_entry_reaches_a_power_of_two():
    a = arith.Exact()
    rows = np.array([[1.0 - 2.0**-50, 3 * 2.0**-46, 2.0**-200]])
    for trimmed in (a.trim(rows)[0], a.trim_up(rows)):
        assert trimmed[0, 0] == 1.0 and np.isfinite(a.product(trimmed, np.ones((3, 2)))).all()
        assert (a.trim(trimmed)[0] == trimmed).all()


def test_exact_refuses_untrimmed_rows_with_nan():
    a = arith.Exact()
    assert np.isnan(a.product(np.array([[1.0, 2.0**-60]]), np.ones((2, 3)))).all()
    assert np.isnan(a.product(np.array([[1.0, np.nan]]), np.ones((2, 3)))).all()


def test_self_test_passes_here_and_unknown_names_are_refused():
    arith.self_test()
    with pytest.raises(CheckError):
        arith.arithmetic("fast")
