"""Places of largest entries: no execution is outside of the bounds, with ties, and entries that are flushed."""

from fractions import Fraction

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify.files import verify_files

TINY = 2.0**-126


def model(tools, rows, count, last, hot):
    """The places in each row, or one-hot rows by two values."""
    form = {"axis": 1, "keepdims": 0, **({"select_last_index": 1} if last else {})}
    nodes = [("ArgMax", "x", "i", form)]
    one_hot = [("OneHot", "idv", "t", {}), ("Flatten", "t", "y", {"axis": 0})]
    nodes += one_hot if hot else [("Cast", "i", "y", {"to": 1})]
    weights = {"d": np.array(count, np.int64), "v": np.float32([-0.25, 3.0])}
    return tools.model_bytes(nodes, weights if hot else {}, (rows, count))


def places(x, last):
    return [max((i for i in range(len(row)) if row[i] == max(row)), key=lambda i: i if last else -i) for row in x]


def result(found, count, hot):
    return [3.0 if j == i else -0.25 for i in found for j in range(count)] if hot else [float(i) for i in found]


def executions(x, last, semantics):
    """Of float32: each entry that is subnormal may be flushed."""
    yield places(x, last)
    if semantics == "float32":
        yield places([[0.0 if abs(v) < TINY else v for v in row] for row in x], last)


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("hot", [False, True])
def test_no_execution_is_outside_of_the_bounds(tools, hot, last, semantics):
    exact = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        rows, count = int(rng.integers(1, 3)), int(rng.integers(2, 6))
        outputs = rows * count if hot else rows
        kind = seed % 4
        low = {0: rng.normal(size=rows * count), 1: rng.integers(0, 3, rows * count) / 2.0,
               2: rng.integers(-2, 3, rows * count) * 2.0**-140, 3: rng.normal(size=rows * count)}[kind]  # fmt: skip
        low = low.astype(np.float32).astype(np.float64)
        high = low + (1.0 if kind == 3 else 0.0) * rng.integers(0, 2, low.size)
        network, (region,) = tc.load(model(tools, rows, count, last, hot), tools.any_sign(low, high, outputs))
        kernel = tc.Kernel(network, region, semantics, ("rounded", "exact")[seed % 2])
        found = kernel.bound(kernel.start(), derive=bool(seed % 3)).margin[0]
        lower, upper = found[0::2], -found[1::2]
        for n in range(8):
            x = low + (high - low) * (rng.integers(0, 2, low.size) if n % 2 else rng.random(low.size))
            x = np.clip(x.astype(np.float32), low, high).reshape(rows, count).tolist()
            for run in executions(x, last, semantics):
                y = result(run, count, hot)
                assert all(Fraction(a) <= Fraction(v) <= Fraction(b)
                           for a, v, b in zip(lower.tolist(), y, upper.tolist(), strict=True)), (seed, y)  # fmt: skip
        if kind == 0:
            exact += bool((upper - lower < 1e-6).all())
    assert exact == 6  # without ties a point has one place


@pytest.mark.parametrize("last", [False, True])
def test_a_tie_may_go_either_way(tools, last):
    """A closed box holds both sides of a jump, so a proof may not decide an equality."""
    network, (region,) = tc.load(model(tools, 1, 3, last, False), tools.any_sign([0.5, 0.5, 0.0], [0.5, 0.5, 0.0], 1))
    found = tc.Kernel(network, region).bound(tc.Kernel(network, region).start(), derive=True).margin[0]
    assert found[0] <= 0.0 and -found[1] >= 1.0


def test_verdicts_about_a_place(tools):
    """The class of a small network on a box, proved with splits; and on a larger one, where it changes."""
    w = np.float32([[1.0, -1.0, 0.5], [0.5, 1.0, -1.0]])
    nodes = [("Gemm", "xwb", "h", {}), ("Relu", "h", "a", {}), ("Gemm", "avc", "z", {}),
             ("ArgMax", "z", "i", {"axis": 1}), ("Cast", "i", "y", {"to": 1})]  # fmt: skip
    weights = {"w": w, "b": np.float32([0.1, 0.2, 0.0]), "v": np.eye(3, dtype=np.float32), "c": np.float32([0, 0, 0.1])}
    data = tools.model_bytes(nodes, weights, (1, 2))
    lines = ["(assert (or (<= Y_0 -0.5) (>= Y_0 0.5)))"]
    narrow, wide = (tools.property_text(2, 1, lines, *ends) for ends in (("0.6", "0.9"), ("-0.9", "0.9")))
    proved = verify_files(data, narrow, 20.0)
    assert proved.status == "unsat" and tc.check(data, narrow, proved.certificate).status == "valid"
    assert verify_files(data, wide, 20.0).status == "sat"
