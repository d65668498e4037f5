"""Convolutions against their definition. Small integers, so that every sum is exact and equality is asked for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean_check import arith, conv
from torchlean_check.conv import Conv, Turned
from torchlean_check.sparse import full


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    sizes = st.lists(st.integers(1, 3), min_size=axes, max_size=axes).map(tuple)
    kernel, strides, dilations = draw(sizes), draw(sizes), draw(sizes)
    pads = tuple(draw(st.lists(st.integers(0, 3), min_size=2 * axes, max_size=2 * axes)))
    groups, per_in, per_out = (draw(st.integers(1, 2)) for _ in range(3))
    spatial = [draw(st.integers(max(1, d * (k - 1) + 1 - pads[i] - pads[axes + i]), 7))
               for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))]  # fmt: skip
    out = [(n + pads[i] + pads[axes + i] - d * (k - 1) - 1) // s + 1
           for i, (n, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True))]  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.integers(-9, 10, (groups * per_out, per_in, *kernel)).astype(np.float64)
    shapes = (groups * per_in, *spatial), (groups * per_out, *out)
    return Conv(weight, strides, pads, dilations, groups, *shapes), rng


def by_definition(c):
    """The matrix of the map: y[o, at] = sum over kernel positions of weight times the padded x, as ONNX says it."""
    matrix = np.zeros((*c.out_shape, *c.in_shape))
    per_out, per_in = c.out_shape[0] // c.groups, c.in_shape[0] // c.groups
    for o, i in itertools.product(range(c.out_shape[0]), range(per_in)):
        for at in np.ndindex(*c.out_shape[1:]):
            for k in np.ndindex(*c.weight.shape[2:]):
                x = [a * s + b * d - p for a, s, b, d, p in zip(at, c.strides, k, c.dilations, c.pads, strict=False)]
                if all(0 <= v < n for v, n in zip(x, c.in_shape[1:], strict=True)):
                    matrix[(o, *at, o // per_out * per_in + i, *x)] += c.weight[(o, i, *k)]
    return matrix.reshape(math.prod(c.out_shape), -1)


@pytest.mark.parametrize("name", ["rounded", "exact"])
@pytest.mark.parametrize("chunk", [1, 1 << 18])
def test_apply_and_transpose_are_the_defined_matrix_and_its_transpose(name, chunk, monkeypatch):
    monkeypatch.setattr(conv, "CHUNK", chunk)
    direct = []
    product = arith.arithmetic(name).product

    @given(convolutions(), st.integers(1, 4))
    @settings(deadline=None, derandomize=True, max_examples=60)
    def law(made, batch):
        c, rng = made
        matrix = by_definition(c)
        x, rows = (rng.integers(-9, 10, (batch, n)).astype(np.float64) for n in matrix.shape[::-1])
        for rows_as_stored in (rows, np.asfortranarray(rows)):
            assert (c.transpose(rows_as_stored, product) == rows @ matrix).all()
            assert (Turned(c).apply(rows_as_stored, product) == rows @ matrix).all()
        kept, wanted = (rng.permutation(n)[: rng.integers(1, n + 1)] for n in matrix.shape)
        whole = np.asfortranarray(rows)[:, kept]
        for columns, inputs in ((kept, None), (None, wanted), (kept, wanted)):
            given = rows if columns is None else whole
            some = rows @ matrix if columns is None else whole @ matrix[kept]
            found = c.transpose(given, product, columns, inputs)
            assert (found == (some if inputs is None else some[:, wanted])).all()
            direct.append(inputs is not None and c._phased(wanted) is not None)
        assert (c.apply(x, product) == x @ matrix.T).all()
        assert (Turned(c).transpose(x, product) == x @ matrix.T).all()
        assert (c.absolute().apply(x, product) == x @ np.abs(matrix).T).all()
        assert (c.leaves() == np.count_nonzero(matrix, axis=1)).all()
        assert (Turned(c).leaves() == np.count_nonzero(matrix, axis=0)).all()
        assert c.depth >= max(np.count_nonzero(matrix, axis=i).max(initial=0) for i in (0, 1))

    law()
    assert sum(direct) > 10


@pytest.mark.parametrize("name", ["rounded", "exact"])
def test_coefficients_on_a_few_places_come_back_as_through_the_whole_matrix(name):
    """Whatever a window leaves out has no coefficient; entries come without an order, and far fewer than all."""
    product = arith.arithmetic(name).product
    smaller = []

    @given(convolutions(), st.integers(1, 3))
    @settings(deadline=None, derandomize=True, max_examples=200)
    def law(made, batch):
        c, rng = made
        matrix = by_definition(c)
        for map_, whole, shape in ((c, matrix, c.out_shape), (Turned(c), matrix.T, c.in_shape)):
            spot = [int(rng.integers(n)) for n in shape[1:]]
            near = [(np.abs(at - s) <= rng.integers(3)) for at, s in zip(np.indices(shape)[1:], spot, strict=True)]
            columns = rng.permutation(np.flatnonzero(np.logical_and.reduce(near)))
            columns = columns[: rng.integers(1, len(columns) + 1)]
            rows = rng.integers(-9, 10, (batch, len(columns))).astype(np.float64)
            found, reached = map_.back(rows, columns, product)
            assert len(set(reached.tolist())) == len(reached) == found.shape[1]
            assert (full(found, reached, whole.shape[1]) == rows @ whole[columns]).all()
            assert (map_.back(full(rows, columns, len(whole)), None, product)[0] == rows @ whole[columns]).all()
            smaller.append(len(reached) < whole.shape[1])

    law()
    assert sum(smaller) > len(smaller) / 3


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(4, 2, 1), (3, 2, 1), (5, 3, 1), (3, 3, 2), (2, 3, 1)])
def test_some_inputs_are_found_in_their_phases(kernel, stride, dilation):
    """Of several channels and phases, in any order; where a phase is read by no output, all inputs are found first."""
    rng = np.random.default_rng(0)
    out = (8 + 3 - dilation * (kernel - 1) - 1) // stride + 1
    weight = rng.integers(-9, 10, (4, 3, kernel, kernel)).astype(np.float64)
    c = Conv(weight, (stride,) * 2, (1, 1, 2, 2), (dilation,) * 2, 1, (3, 8, 8), (4, out, out))
    matrix = by_definition(c)
    rows = rng.integers(-9, 10, (5, len(matrix))).astype(np.float64)
    for _ in range(10):
        wanted = rng.permutation(matrix.shape[1])[: rng.integers(1, matrix.shape[1])]
        assert (c._phased(wanted) is None) == (kernel < stride)
        assert (c.transpose(rows, np.matmul, None, wanted) == (rows @ matrix)[:, wanted]).all()
