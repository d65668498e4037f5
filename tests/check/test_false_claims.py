"""Claims that are false, and files that say something else than they seem to: none becomes `valid`."""

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check.errors import CheckError
from torchlean_check.rules import relu
from torchlean_check.vnnlib_reader import read_property

DECLARED = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"


@pytest.mark.parametrize("arithmetic", ["rounded", "exact"])
def test_coefficients_that_underflow_prove_nothing(tools, arithmetic):
    """y = 2^-120 x through values near 2^960: going backward, the coefficient 2^-1080 becomes 0, and y would seem to
    be 0."""
    names = [("Mul", f"a{i}", "u" if i < 8 else "d") for i in range(17)]
    nodes = [(op, [a if a != "a0" else "x", c], f"a{i + 1}", {}) for i, (op, a, c) in enumerate(names)]
    weights = {"u": np.full(1, 2.0**120, np.float32), "d": np.full(1, 2.0**-120, np.float32)}
    model = tools.model_bytes(nodes, weights, (1, 1), outputs=("a17",))
    claim = tools.property_text(1, 1, ["(assert (<= Y_0 -0." + "0" * 38 + "1))"])
    network, (region,) = tc.load(model, claim)
    with pytest.raises(CheckError, match="2\\^200"):
        tc.Kernel(network, region, "real", arithmetic)


def test_the_relu_line_of_the_smallest_box_is_above_relu():
    """On [-2^-1074, 2^-1074] half of the upper end is not a float64: the line must not round down to 0."""
    tiny = np.full((1, 1), 5e-324)
    line = relu.lines(-tiny, tiny)
    assert line.t[0, 0] >= 2.0**-960 and (relu.lines(-tiny, tiny, np.full((1, 1), 2.0)).p < 0).all()


@pytest.mark.parametrize("head", ["+-", "-*", "+-*", "--", ""])
def test_a_term_with_two_operator_signs_is_refused(head):
    with pytest.raises(CheckError, match=r"linear term|neither"):
        read_property(f"{DECLARED}(assert (<= ({head} Y_0 X_0) 1))".encode())


def test_a_comment_ends_at_a_carriage_return():
    (region,) = read_property(f"{DECLARED}; text\r(assert (<= Y_0 1))".encode()).regions
    assert len(region.clauses) == 1


def test_a_relu_that_reads_a_relu_keeps_the_order_of_neurons(tools):
    """The first relu has neurons (active, unstable), the second one only active ones: their live columns differ in
    order. y_0 = 4 a_0 - a_1 reaches 8 - 2 = 6 at x = (0, 1)."""
    nodes = [
        ("Gemm", "xwb", "z", {}),
        ("Relu", "z", "a", {}),
        ("Identity", "a", "i", {}),
        ("Relu", "i", "r", {}),
        ("Gemm", "ro", "y", {}),
    ]
    weights = {"w": np.eye(2), "b": np.array([2, 0]), "o": np.array([[4.0], [-1.0]])}
    model = tools.model_bytes(nodes, {k: v.astype(np.float32) for k, v in weights.items()})
    claim = tools.property_text(2, 1, ["(assert (>= Y_0 5))"])
    network, (region,) = tc.load(model, claim)
    kernel = tc.Kernel(network, region, "real")
    bounds = kernel.bound(kernel.start(), derive=True)
    assert not bounds.refuted.any() and bounds.margin[0, 0] < 5 - 12
    assert tools.certify(model, claim, "real") is None


def test_an_average_of_huge_values_may_overflow_before_it_is_divided(tools):
    """Four entries of 1.5e38 have an average in range; their sum is infinite in float32."""
    model = tools.model_bytes([("AveragePool", "x", "y", {"kernel_shape": [4]})], {}, (1, 1, 4))
    claim = tools.property_text(4, 1, ["(assert (<= Y_0 0))"], "1" + "0" * 38 + ".0", "15" + "0" * 37 + ".0")
    network, (region,) = tc.load(model, claim)
    with np.errstate(over="ignore"):
        assert np.isinf(np.sum(np.full(4, 1.5e38, np.float32)))
    with pytest.raises(CheckError, match="overflow"):
        tc.Kernel(network, region, "float32")
    kernel = tc.Kernel(network, region, "real")
    assert kernel.bound(kernel.start(), derive=True).refuted.all()


def norm_bytes(tools, **values):
    weights = {k: np.full(1, values[k], np.float32) for k in ("gamma", "beta", "mean", "var")}
    attributes = {"epsilon": values.get("epsilon", 1e-5)}
    return tools.model_bytes([("BatchNormalization", ["x", *weights], "y", attributes)], weights, (1, 1))


def test_a_batch_norm_whose_factor_underflows(tools):
    """gamma 2^-127, mean 2^20: an execution that flushes subnormals has factor 0 and y = 0, the exact y is about
    2^-107."""
    model = norm_bytes(tools, gamma=2.0**-127, beta=0.0, mean=-(2.0**20), var=1.0)
    network, (region,) = tc.load(model, tools.property_text(1, 1, ["(assert (<= Y_0 0))"]))
    kernel = tc.Kernel(network, region, "float32")
    assert not kernel.bound(kernel.start(), derive=True).refuted.any()


@pytest.mark.parametrize("values", [{"var": 0.0, "epsilon": 1e-40}, {"gamma": 2.0**100}])
def test_a_batch_norm_that_may_divide_by_a_flushed_zero_is_refused(tools, values):
    model = norm_bytes(tools, **{"gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0} | values)
    with pytest.raises(CheckError, match="shapes or values"):
        tc.load(model, tools.property_text(1, 1, ["(assert (<= Y_0 0))"]))


def test_a_batch_norm_whose_difference_overflows_after_the_division(tools):
    """(x - mean) / deviation is 2^150 before gamma makes it small again."""
    model = norm_bytes(tools, gamma=2.0**-60, beta=0.0, mean=0.0, var=0.0, epsilon=2.0**-100)
    claim = tools.property_text(1, 1, ["(assert (<= Y_0 -2" + "0" * 39 + ".0))"], "0.0", "1" + "0" * 30 + ".0")
    network, (region,) = tc.load(model, claim)
    with pytest.raises(CheckError, match="overflow"):
        tc.Kernel(network, region, "float32")
