"""What the tests of passes share: evaluation in every number system, and lint after every pass."""

from __future__ import annotations

import numpy as np
import pytest

from torchlean import ops
from torchlean.ir import lint
from torchlean.meaning import Float, IntervalFloat, IntervalReal, Ranges
from torchlean.meaning.evaluate import evaluate

EXTREMES = np.array(
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, 0.1], np.float32
)  # fmt: skip


def float_bits(graph, values):
    """dtype, shape and bytes of every result of the reference execution; all NaNs count as one."""
    lint(graph, ops.ALL)
    found = {}
    for name, array in evaluate(graph, Float(), values).items():
        array = np.array(array)
        if array.dtype.kind == "f":
            array[np.isnan(array)] = np.nan
        found[name] = (array.dtype.name, array.shape, array.tobytes())
    return found


def ranges(graph, N, values):
    """The enclosure of every result over boxes around the values, whose ends are float32."""
    boxes = {}
    for name, array in values.items():
        lo, hi = array - np.float32(1.0), array + np.float32(2.0)
        boxes[name] = Ranges(lo.astype(np.float64), hi.astype(np.float64), np.zeros(lo.shape, bool), "float32")
    return evaluate(graph, N, boxes)


def inside(inner, outer):
    """Whether every enclosure lies within the other graph's: no looser, so nothing was lost."""
    assert inner.keys() == outer.keys()
    for name, a in inner.items():
        b = outer[name]
        assert a.shape == b.shape and (a.lo >= b.lo).all() and (a.hi <= b.hi).all() and (a.nan <= b.nan).all()


@pytest.fixture
def same_meaning():
    """Checks that two graphs have one meaning: Float on extremes, both interval systems on boxes, no looser."""

    def check(before, after):
        types = before.source_types("input") | before.source_types("parameter") | before.source_types("state")
        rng = np.random.default_rng(0)
        extreme = {n: np.resize(rng.permutation(EXTREMES), t.sizes).astype(t.dtype.numpy) for n, t in types.items()}
        usual = {n: rng.normal(size=t.sizes).astype(t.dtype.numpy) for n, t in types.items()}
        for values in (extreme, usual):
            assert float_bits(after, values) == float_bits(before, values)
        for system in (IntervalReal(), IntervalFloat()):
            inside(ranges(after, system, usual), ranges(before, system, usual))

    return check


@pytest.fixture
def bits():
    return float_bits
