"""What the type rules refuse: each with the five parts, the op's name, and the line that asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from torchlean import ops
from torchlean.errors import ShapeError
from torchlean.ir import Builder, f32, f64, i64, parse_type, trace

CONV = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}
POOL = {"kernel": (2,), "stride": (2,), "padding": ((0, 0),)}
AVG = {**POOL, "count_include_pad": True}
SLICE = {"starts": (0,), "stops": (2,), "steps": (1,)}

REFUSED: list[tuple[str, str, list[str], dict[str, Any]]] = [
    ("shapes that broadcast in two ways", "add", ["f32[n, 1]", "f32[n]"], {}),
    ("two symbols", "add", ["f32[n]", "f32[m]"], {}),
    ("two dtypes", "mul", ["f32[3]", "f64[3]"], {}),
    ("bools in arithmetic", "add", ["bool[3]", "bool[3]"], {}),
    ("ints in exp", "exp", ["i64[3]"], {}),
    ("floats in logic", "logical_and", ["f32[3]", "f32[3]"], {}),
    ("a condition that is no bool", "where", ["f32[3]", "f32[3]", "f32[3]"], {}),
    ("an unknown dtype", "cast", ["f32[3]"], {"dtype": "f33"}),
    ("lo above hi", "clip", ["f32[3]"], {"lo": 1.0, "hi": 0.0}),
    ("nan as a bound", "clip", ["f32[3]"], {"lo": float("nan"), "hi": 0.0}),
    ("no overflow policy", "round_to", ["f32[3]"], {"dtype": "f8e4m3"}),
    ("an unknown overflow policy", "round_to", ["f32[3]"], {"dtype": "f8e4m3", "overflow": "wrap"}),
    ("rounding to an integer's grid", "round_to", ["f32[3]"], {"dtype": "i8", "overflow": "saturate"}),
    ("rounding to f32", "round_to", ["f32[3]"], {"dtype": "f32", "overflow": "ieee"}),
    ("codes of 16 bits", "quantize", ["f32[3]", "f32[]", "i32[]"], {"lo": 0, "hi": 9, "axis": None}),
    ("codes beyond the dtype", "quantize", ["f32[3]", "f32[]", "u8[]"], {"lo": -1, "hi": 9, "axis": None}),
    ("an empty range of codes", "quantize", ["f32[3]", "f32[]", "i8[]"], {"lo": 9, "hi": 9, "axis": None}),
    ("a scale of another dtype", "quantize", ["f32[3]", "f64[]", "i8[]"], {"lo": 0, "hi": 9, "axis": None}),
    ("one scale with an axis", "quantize", ["f32[3]", "f32[]", "i8[]"], {"lo": 0, "hi": 9, "axis": -1}),
    ("scales of another length", "quantize", ["f32[3]", "f32[2]", "i8[3]"], {"lo": 0, "hi": 9, "axis": -1}),
    ("zero points of another length", "quantize", ["f32[3]", "f32[3]", "i8[]"], {"lo": 0, "hi": 9, "axis": -1}),
    ("no axis of that number", "quantize", ["f32[3]", "f32[3]", "i8[3]"], {"lo": 0, "hi": 9, "axis": -2}),
    ("floats as codes", "dequantize", ["f32[3]", "f32[]", "i8[]"], {"axis": None}),
    ("a zero point of another dtype", "dequantize", ["i8[3]", "f32[]", "u8[]"], {"axis": None}),
    ("integer scales", "dequantize", ["i8[3]", "i32[]", "i8[]"], {"axis": None}),
    ("a slope above 1", "leaky_relu", ["f32[3]"], {"slope": 1.5}),
    ("an exponent of 0", "power", ["f32[3]"], {"exponent": 0.0}),
    ("an exponent that is no number", "power", ["f32[3]"], {"exponent": float("nan")}),
    ("a large exponent", "power", ["f32[3]"], {"exponent": 65.0}),
    ("a negative alpha", "elu", ["f32[3]"], {"alpha": -1.0}),
    ("ints in gelu", "gelu", ["i64[3]"], {}),
    ("the minimum of nothing", "min", ["f32[3, 0]"], {"axes": (-1,), "keepdims": False}),
    ("float labels", "one_hot", ["f32[3]"], {"depth": 3, "dtype": "f32"}),
    ("no classes", "one_hot", ["i64[3]"], {"depth": 0, "dtype": "f32"}),
    ("more indices than axes", "scatter_nd", ["f32[4]", "i64[1, 2]", "f32[1]"], {}),
    ("updates of another shape", "scatter_nd", ["f32[4, 3]", "i64[2, 1]", "f32[2, 4]"], {}),
    ("an indexed axis of unknown size", "scatter_nd", ["f32[n, 3]", "i64[2, 1]", "f32[2, 3]"], {}),
    ("a size of 0", "resize_linear", ["f32[3]"], {"size": (0,), "align": "half_pixel"}),
    ("no such alignment", "resize_linear", ["f32[3]"], {"size": (6,), "align": "corners"}),
    ("no such choice", "resize_nearest", ["f32[3]"], {"size": (6,), "align": "half_pixel", "mode": "linear"}),
    ("an unknown axis to resize", "resize_linear", ["f32[n]"], {"size": (6,), "align": "half_pixel"}),
    ("a scale of another shape", "layer_norm", ["f32[b, 4]", "f32[3]"], {"axis": -1, "epsilon": 1e-5}),
    ("an epsilon of 0", "rms_norm", ["f32[b, 4]", "f32[4]"], {"axis": -1, "epsilon": 0.0}),
    ("a bias of rms_norm", "rms_norm", ["f32[b, 4]", "f32[4]", "f32[4]"], {"axis": -1, "epsilon": 1e-5}),
    ("keys of another width", "attention", ["f32[b, 2, 3]", "f32[b, 2, 4]", "f32[b, 2, 4]"], {"scale": 1.0}),
    ("a mask of another length", "attention", [*["f32[b, 2, 3]"] * 3, "f32[3]"], {"scale": 1.0}),
    ("an attribute too many", "relu", ["f32[3]"], {"slope": 0.5}),
    ("an attribute too few", "leaky_relu", ["f32[3]"], {}),
    ("an input too few", "add", ["f32[3]"], {}),
    ("inner axes that differ", "matmul", ["f32[2, 3]", "f32[4, 2]"], {}),
    ("an image before a linear layer", "linear", ["f32[32, 28, 28]", "f32[10, 784]", "f32[10]"], {}),
    ("channels that differ", "conv", ["f32[b, 3, 8]", "f32[4, 2, 3]"], CONV),
    ("a bias of another size", "conv", ["f32[b, 2, 8]", "f32[4, 2, 3]", "f32[3]"], CONV),
    ("groups that do not divide", "conv", ["f32[b, 3, 8]", "f32[4, 1, 3]"], {**CONV, "groups": 3}),
    ("a kernel larger than the input", "conv", ["f32[b, 2, 2]", "f32[4, 2, 3]"], CONV),
    ("negative padding", "conv", ["f32[b, 2, 8]", "f32[4, 2, 3]"], {**CONV, "padding": ((-1, 0),)}),
    ("a stride of 0", "conv", ["f32[b, 2, 8]", "f32[4, 2, 3]"], {**CONV, "stride": (0,)}),
    ("a stride for another rank", "conv", ["f32[b, 2, 8]", "f32[4, 2, 3]"], {**CONV, "stride": (1, 1)}),
    ("no channel axis", "conv", ["f32[b, 8]", "f32[4, 3]"], CONV),
    ("a size that conv does not map back", "conv_transpose", ["f32[b, 4, 6]", "f32[4, 2, 3]"], {**CONV, "size": (9,)}),
    ("a gradient of another size", "conv_weight_grad", ["f32[b, 2, 8]", "f32[b, 4, 5]"], {**CONV, "kernel": (3,)}),
    ("padding as large as the kernel", "max_pool", ["f32[b, 2, 8]"], {**POOL, "padding": ((2, 0),)}),
    ("no axis before the pooled ones", "avg_pool", ["f32[8]"], AVG),
    ("an axis that is not there", "sum", ["f32[3]"], {"axes": (-2,), "keepdims": False}),
    ("an axis named twice", "sum", ["f32[3, 4]"], {"axes": (-1, 1), "keepdims": False}),
    ("the maximum of nothing", "max", ["f32[3, 0]"], {"axes": (-1,), "keepdims": False}),
    ("the position in nothing", "argmax", ["f32[3, 0]"], {"axis": -1}),
    ("another number of entries", "reshape", ["f32[3, 4]"], {"shape": (5, -1)}),
    ("an axis left out", "permute", ["f32[3, 4]"], {"axes": (-1,)}),
    ("repeating an axis of size 3", "broadcast", ["f32[3]"], {"shape": (2, 6)}),
    ("a stop beyond the end", "slice", ["f32[1]"], SLICE),
    ("a negative start", "slice", ["f32[4]"], {**SLICE, "starts": (-2,)}),
    ("a step of 0", "slice", ["f32[4]"], {**SLICE, "steps": (0,)}),
    ("a part of an unknown axis", "slice", ["f32[n]"], SLICE),
    ("padding with another value than 0", "pad", ["f32[4]"], {"low": (1,), "high": (0,), "value": 1.0}),
    ("cropping by padding", "pad", ["f32[4]"], {"low": (-1,), "high": (0,), "value": 0.0}),
    ("other axes that differ", "concat", ["f32[2, 3]", "f32[3, 3]"], {"axis": -1}),
    ("float indices", "gather", ["f32[4]", "f32[2]"], {"axis": -1}),
    ("an index too few", "scatter_add", ["f32[4]", "i64[3]"], {"axis": -1, "size": 5}),
    ("a softmax over nothing", "softmax", ["f32[3, 0]"], {"axis": -1}),
    ("statistics of other channels", "batch_norm", ["f32[b, 3]", *["f32[2]"] * 4], {"epsilon": 1e-5}),
    ("a negative epsilon", "batch_norm", ["f32[b, 2]", *["f32[2]"] * 4], {"epsilon": -1.0}),
    ("a target of another shape", "mse", ["f32[b, 1]", "f32[b]"], {}),
    ("one-hot labels", "cross_entropy", ["f32[b, 4]", "f32[b, 4]"], {}),
    ("labels with an axis too many", "cross_entropy", ["f32[b, 4]", "i64[b, 1]"], {}),
]


@pytest.mark.parametrize(("title", "op", "types", "attrs"), REFUSED, ids=[t[0] for t in REFUSED])
def test_refused(title: str, op: str, types: list[str], attrs: dict[str, Any]) -> None:
    g = Builder(ops.ALL)
    inputs = [g.input(f"x{i}", parse_type(t)) for i, t in enumerate(types)]
    with pytest.raises(ShapeError) as caught:
        g.apply(op, *inputs, **attrs)
    error = caught.value
    assert op in str(error)
    assert "test_refusals.py" in error.where
    assert all((error.what, error.expected, error.got, error.fix))


def test_the_subgraph_must_fit() -> None:
    body = trace(ops.ALL, lambda g, x: g.exp(x), x=f32[3])
    weighted = trace(ops.ALL, lambda g, x: g.mul(x, g.parameter("w", f32[3])), x=f32[3])
    g = Builder(ops.ALL)
    x, y = g.input("x", f64[3]), g.input("y", f32[3])
    with pytest.raises(ShapeError, match="not those of the graph"):
        g.call(x, graph=body)
    with pytest.raises(ShapeError, match="without parameters"):
        g.call(y, graph=weighted)
    with pytest.raises(ShapeError, match="cotangent per input"):
        g.custom_vjp(y, graph=body, vjp=trace(ops.ALL, lambda g, x, y, dy: g.sum(dy, axes=(-1,), keepdims=False),
                                              x=f32[3], y=f32[3], dy=f32[3]))  # fmt: skip
    grows = trace(ops.ALL, lambda g, c, x: (g.concat(c, x, axis=-1), x), c=f32[2], x=f32[1])
    c, xs = g.input("c", f32[2]), g.input("xs", f32[4, 1])
    with pytest.raises(ShapeError, match="return its carries"):
        g.scan(c, xs, body=grows, carries=1, sequences=1, length=4)
    with pytest.raises(ShapeError, match="first axis is the step"):
        g.scan(c, xs, body=grows, carries=1, sequences=1, length=3)


def test_sizes_may_be_symbols() -> None:
    """Height, width, batch and channels of unknown size give sizes in their terms."""
    g = Builder(ops.ALL)
    x, w = g.input("x", f32["b", 3, "h", 8]), g.input("w", f32[4, 3, 3, 3])
    y = g.conv(x, w, stride=(2, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    assert str(y.type) == "f32[b, 4, ((h + 1) // 2), 8]"
    assert str(g.mean(x, axes=(0, 2), keepdims=False).type) == "f32[3, 8]"
    n = g.input("labels", i64["b"])
    assert str(g.cross_entropy(g.input("logits", f32["b", 10]), n).type) == "f32[]"


def test_a_symbolic_mean_is_the_mean_of_its_size() -> None:
    import numpy as np

    from torchlean.grad import value_and_grad
    from torchlean.passes import specialise
    from torchlean.run.execute import execute

    graph = trace(ops.ALL, lambda g, x, y: g.mse(x, y), x=f64["n", 3], y=f64["n", 3])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 3))
    found = execute(specialise(value_and_grad(graph, ["x"]), n=5), {"x": x, "y": y}, "eager-cpu")
    np.testing.assert_allclose(found["y"], np.mean((x - y) ** 2), rtol=1e-14)  # another order of the same sum
    np.testing.assert_allclose(found["grad:x"], 2 * (x - y) / 15, rtol=1e-14)
