"""ONNX ops beyond affine and relu: what is read computes what onnxruntime computes; traps are refused."""

import numpy as np
import pytest

from torchlean_check.errors import CheckError
from torchlean_check.network import Affine, Curve, Product, Relu
from torchlean_check.onnx_reader import read_network
from torchlean_check.rules.functions import find

RNG = np.random.default_rng(0)


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


IMAGE = (1, 2, 6, 5)
UP = ("ConvTranspose", "xwb", "y")
CASES = {
    **{
        op: ([(op, "x", "y", {})], {}, (1, 4))
        for op in ("Exp", "Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Softplus", "Floor", "Sign", "Abs")
    },
    **{op: ([("Exp", "x", "t", {}), (op, "t", "y", {})], {}, (1, 4)) for op in ("Log", "Sqrt", "Reciprocal")},
    "square": ([("Pow", "xc", "y", {})], {"c": np.float32(2)}, (2, 3)),
    "cube": ([("Pow", "xc", "y", {})], {"c": np.float32([3])}, (2, 3)),
    "tenth power by an integer": ([("Pow", "xc", "y", {})], {"c": i64(10)}, (2, 3)),
    "first power": ([("Pow", "xc", "t", {}), ("Relu", "t", "y", {})], {"c": np.float32(1)}, (2, 3)),
    **{
        f"power {p}": ([("Exp", "x", "t", {}), ("Pow", "tc", "y", {})], {"c": np.float32(p)}, (2, 3))
        for p in (0.5, 0.3, 2.7, -0.5, -1.0, -2.5)
    },
    "elu": ([("Elu", "x", "y", {})], {}, (2, 3)),
    "steep elu": ([("Elu", "x", "y", {"alpha": 2.5})], {}, (2, 3)),
    "selu": ([("Selu", "x", "y", {})], {}, (2, 3)),
    "another selu": ([("Selu", "x", "y", {"alpha": 0.5, "gamma": 3.0})], {}, (2, 3)),
    "hard sigmoid": ([("Mul", "xc", "t", {}), ("HardSigmoid", "t", "y", {})], {"c": f32(3) * 4}, (2, 3)),
    "steep hard sigmoid": ([("HardSigmoid", "x", "y", {"alpha": 2.0, "beta": 0.25})], {}, (2, 3)),
    "hard swish": ([("Mul", "xc", "t", {}), ("HardSwish", "t", "y", {})], {"c": f32(3) * 4}, (2, 3), 14),
    "mish": ([("Mish", "x", "y", {})], {}, (2, 3), 18),
    "gelu": ([("Gelu", "x", "y", {})], {}, (2, 3), 20),
    "silu as its parts": ([("Sigmoid", "x", "s", {}), ("Mul", "sx", "y", {})], {}, (2, 3)),
    "gelu as its parts": (
        [("Div", "xr", "t", {}), ("Erf", "t", "e", {}), ("Add", "eo", "w", {}), ("Mul", "xw", "z", {}),
         ("Mul", "zh", "y", {})],
        {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32([0.5])}, (2, 3),
    ),
    "gelu of a multiple": (
        [("Mul", "xr", "u", {}), ("Mul", "ur", "t", {}), ("Erf", "t", "e", {}), ("Add", "oe", "w", {}),
         ("Mul", "wh", "z", {}), ("Mul", "zu", "y", {})],
        {"r": np.float32(0.7), "o": np.float32(1), "h": np.float32(0.5)}, (2, 3),
    ),
    "gelu of two multiples": (
        [("Mul", "xr", "t", {}), ("Mul", "hx", "u", {}), ("Erf", "t", "e", {}), ("Add", "eo", "w", {}),
         ("Mul", "uw", "y", {})],
        {"r": np.float32(0.7), "o": np.float32(1), "h": np.float32(0.5)}, (2, 3),
    ),
    "layer norm": ([("LayerNormalization", "xsb", "y", {})], {"s": f32(4), "b": f32(4)}, (2, 3, 4), 17),
    "layer norm of two axes": (
        [("LayerNormalization", "xs", "y", {"axis": 1, "epsilon": 0.25})], {"s": f32(3, 4)}, (2, 3, 4), 17,
    ),
    "layer norm of repeated parameters": (
        [("LayerNormalization", "xsb", "y", {"axis": -2})], {"s": f32(1), "b": f32(3, 1)}, (2, 3, 4), 17,
    ),
    "rms norm": ([("RMSNormalization", "xs", "y", {"axis": -2})], {"s": f32(3, 4)}, (2, 3, 4), 23),
    "softmax of the last axis": ([("Softmax", "x", "y", {"axis": -1})], {}, (2, 3, 4)),
    "softmax of a middle axis": ([("Softmax", "x", "y", {"axis": 1})], {}, (2, 3, 4)),
    "product": ([("Sin", "x", "t", {}), ("Mul", "xt", "y", {})], {}, (2, 3)),
    "product that broadcasts": (
        [("Slice", "xse", "t", {}), ("Mul", "tx", "y", {})],
        {"s": i64(0), "e": i64(1)},
        (2, 3),
    ),
    "product with itself": ([("Mul", "xx", "y", {})], {}, (2, 3)),
    "quotient": ([("Exp", "x", "t", {}), ("Div", "xt", "y", {})], {}, (2, 3)),
    "constant over value": ([("Exp", "x", "t", {}), ("Div", "ct", "y", {})], {"c": f32(3)}, (2, 3)),
    "matmul of values": ([("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("MatMul", "xt", "y", {})], {}, (2, 3, 4)),
    "matmul that broadcasts": (
        [("Squeeze", "xa", "t", {}), ("Transpose", "t", "u", {"perm": [1, 0]}), ("MatMul", "xu", "y", {})],
        {"a": i64(0)},
        (1, 3, 4),
    ),
    "matmul of vectors": ([("MatMul", "xx", "t", {}), ("Unsqueeze", "ta", "y", {})], {"a": i64(0)}, (4,)),
    "matmul with a vector": ([("MatMul", "xw", "y", {})], {"w": f32(4)}, (2, 3, 4)),
    "constant vector times value": ([("MatMul", "wx", "y", {})], {"w": f32(3)}, (3, 2)),
    "constant arithmetic": (
        [("MatMul", "uw", "t", {}), ("Add", "tb", "v", {}), ("Relu", "v", "z", {}), ("Sub", "xz", "y", {})],
        {"u": f32(2, 3), "w": f32(3, 3), "b": f32(3)},
        (2, 3),
    ),
    "sum over axes": ([("ReduceSum", "xa", "y", {"keepdims": 0})], {"a": i64(0, 2)}, (2, 3, 4)),
    "sum of all": ([("ReduceSum", "x", "y", {})], {}, (2, 3)),
    "mean over an axis": ([("ReduceMean", "x", "y", {"axes": [-2]})], {}, (2, 3, 4)),
    "max": ([("Sin", "x", "t", {}), ("Max", "xtc", "y", {})], {"c": f32(1, 3)}, (2, 3)),
    "min": ([("Sin", "x", "t", {}), ("Min", "xt", "y", {})], {}, (2, 3)),
    "max of one": ([("Max", "x", "t", {}), ("Relu", "t", "y", {})], {}, (2, 3)),
    "clip": ([("Clip", "xab", "y", {})], {"a": np.float32(-0.5), "b": np.float32(0.25)}, (2, 3)),
    "clip from above": ([("Clip", ("x", "", "b"), "y", {})], {"b": np.float32(0.25)}, (2, 3)),
    "leaky relu": ([("LeakyRelu", "x", "y", {"alpha": 0.2})], {}, (2, 3)),
    "leaky relu by default": ([("LeakyRelu", "x", "y", {})], {}, (2, 3)),
    "max pool": ([("MaxPool", "x", "y", {"kernel_shape": [2, 3], "strides": [2, 1]})], {}, IMAGE),
    "padded max pool": ([("MaxPool", "x", "y", {"kernel_shape": [3, 3], "pads": [1, 2, 0, 1]})], {}, IMAGE),
    "transposed convolution": ([(*UP, {})], {"w": f32(2, 3, 2, 3), "b": f32(3)}, IMAGE),
    "strided transposed convolution": (
        [(*UP, {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 2], "dilations": [1, 2]})],
        {"w": f32(2, 3, 3, 2), "b": f32(3)},
        IMAGE,
    ),
    "grouped transposed convolution": ([(*UP, {"group": 2})], {"w": f32(2, 2, 2, 2), "b": f32(4)}, IMAGE),
    "split": ([("Split", "x", ("a", "b"), {"axis": -1}), ("Sub", "ab", "y", {})], {}, (2, 3, 4)),
    "split of sizes": (
        [("Split", "xs", ("a", "b"), {"axis": 1}), ("Concat", "ba", "y", {"axis": 1})], {"s": i64(1, 2)}, (2, 3),
    ),
    "split by an attribute": (
        [("Split", "x", ("a", "b"), {"split": [2, 1]}), ("Concat", "ba", "y", {"axis": 0})], {}, (3, 2), 11,
    ),
    "split of unequal parts": (
        [("Split", "x", ("a", "b"), {"axis": 1, "num_outputs": 2}), ("Concat", "ba", "y", {"axis": 1})], {}, (2, 3), 18,
    ),
    "split of one": ([("Split", "x", ("y",), {})], {}, (2, 3)),
    "pad": ([("Pad", "xp", "y", {})], {"p": i64(1, 0, 2, 0, 3, 0)}, (2, 3, 1)),
    "pad by a value": ([("Pad", "xpv", "y", {})], {"p": i64(1, 0, 2, 3), "v": np.float32(0.75)}, (2, 3)),
    "pad of an axis": ([("Pad", ("x", "p", "", "a"), "y", {})], {"p": i64(1, 2), "a": i64(-1)}, (2, 3), 18),
    "old pad": ([("Pad", "x", "y", {"pads": [0, 1, 1, 0], "value": -1.5})], {}, (2, 3), 10),
    "largest over axes": ([("ReduceMax", "x", "y", {"axes": [0, -1], "keepdims": 0})], {}, (2, 3, 5)),
    "least of all": ([("ReduceMin", "x", "y", {})], {}, (2, 3)),
    "largest over an axis that is an input": ([("ReduceMax", "xa", "y", {})], {"a": i64(1)}, (2, 7), 18),
    "largest of one": ([("ReduceMax", "x", "t", {"axes": [0]}), ("Relu", "t", "y", {})], {}, (1, 3)),
    "global max pool": ([("GlobalMaxPool", "x", "y", {})], {}, IMAGE),
    "scatter": (
        [("Sin", "u", "v", {}), ("ScatterND", "xiv", "y", {})],
        {"u": f32(2), "i": i64(0, 1, 1, -1).reshape(2, 2)}, (2, 3),
    ),
    "scatter of rows": ([("Slice", "xse", "u", {}), ("ScatterND", "xiu", "y", {})],
                        {"s": i64(0), "e": i64(2), "i": i64(2, 0).reshape(2, 1)}, (3, 2)),
    "resize by scales": ([("Resize", ("x", "", "s"), "y", {})], {"s": np.float32([1, 1, 2, 2])}, IMAGE),
    "resize on exact ties": ([("Resize", ("x", "", "", "s"), "y", {})], {"s": i64(1, 2, 3, 5)}, IMAGE),
    "resize to sizes": (
        [("Resize", ("x", "", "", "s"), "y", {"coordinate_transformation_mode": "asymmetric",
                                             "nearest_mode": "floor"})],
        {"s": i64(1, 2, 4, 11)}, IMAGE,
    ),
    "resize with corners": (
        [("Resize", ("x", "", "", "s"), "y", {"coordinate_transformation_mode": "align_corners",
                                             "nearest_mode": "ceil"})],
        {"s": i64(1, 2, 4, 8)}, IMAGE,
    ),
    "resize that prefers the later": (
        [("Resize", ("x", "", "s"), "y", {"coordinate_transformation_mode": "pytorch_half_pixel",
                                          "nearest_mode": "round_prefer_ceil"})],
        {"s": np.float32([1, 1, 0.5, 2])}, (1, 2, 8, 5),
    ),
    **{
        f"linear resize to {new}, {align}": (
            [("Resize", ("x", "", "", "s"), "y", {"mode": "linear", "coordinate_transformation_mode": align})],
            {"s": i64(*new)}, shape,
        )
        for align in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for shape, new in ((IMAGE, (1, 2, 12, 10)), (IMAGE, (1, 2, 4, 7)), ((1, 2, 5), (1, 2, 1)),
                           ((1, 1, 2, 3, 4), (1, 1, 3, 2, 5)))
    },
    "linear resize of axes": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear", "axes": [-1, 2]})], {"s": np.float32([2, 1.5])}, IMAGE, 18,
    ),
    "linear upsample": ([("Upsample", "xs", "y", {"mode": "linear"})], {"s": np.float32([1, 1, 3, 2])}, IMAGE, 9),
    "old linear resize": ([("Resize", "xs", "y", {"mode": "linear"})], {"s": np.float32([1, 1, 2, 2])}, IMAGE, 10),
    "resize of axes": (
        [("Resize", ("x", "", "", "s"), "y", {"axes": [-1, 1]})], {"s": i64(10, 4)}, IMAGE, 18,
    ),
    "matmul with several matrices": ([("MatMul", "xw", "y", {})], {"w": f32(2, 4, 3)}, (2, 2, 4)),
    "average that counts its padding": (
        [("AveragePool", "x", "y", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 1],
                                    "count_include_pad": 1})], {}, IMAGE,
    ),
    "upsample": ([("Upsample", "xs", "y", {})], {"s": np.float32([1, 1, 3, 2])}, IMAGE, 9),
    "old resize": ([("Resize", "xs", "y", {})], {"s": np.float32([1, 1, 2, 2])}, IMAGE, 10),
    **{
        f"choice by {op}": (
            [("Sin", "x", "s", {}), (op, "sz", "c", {}), ("Where", "cxs", "y", {})], {"z": np.float32([0.3, -0.2, 0])},
            (2, 3), 16,
        )
        for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    },
    "choice by equality": (
        [("Relu", "x", "s", {}), ("Equal", "sx", "c", {}), ("Sin", "x", "t", {}), ("Where", "ctx", "y", {})],
        {}, (2, 3),
    ),
    "logic": (
        [("Less", "xz", "a", {}), ("Less", "xw", "b", {}), ("Not", "b", "c", {}), ("And", "ac", "d", {}),
         ("Or", "ab", "e", {}), ("Cast", "e", "f", {"to": 1}), ("Where", "dxf", "g", {}), ("Add", "gi", "y", {})],
        {"z": np.float32([0.6, -0.2, 0]), "w": np.float32([-0.5, 0.2, 0]), "i": np.float32(3)}, (2, 3),
    ),
    "place of the largest": ([("ArgMax", "x", "i", {"axis": 1}), ("Cast", "i", "y", {"to": 1})], {}, (2, 5)),
    "place of the largest, the axis dropped": (
        [("ArgMax", "x", "i", {"axis": -2, "keepdims": 0}), ("Cast", "i", "j", {"to": 7}),
         ("Cast", "j", "y", {"to": 1})],
        {}, (2, 3, 4),
    ),
    "place of the last of equals": (
        [("Sign", "x", "s", {}), ("ArgMax", "s", "i", {"axis": -1, "select_last_index": 1}),
         ("Cast", "i", "y", {"to": 1})], {}, (3, 6),
    ),
    "place of the first of equals": (
        [("Sign", "x", "s", {}), ("ArgMax", "s", "i", {"axis": -1}), ("Cast", "i", "y", {"to": 1})], {}, (3, 6),
    ),
    "place among one": ([("ArgMax", "x", "i", {}), ("Cast", "i", "t", {"to": 1}), ("Add", "tx", "y", {})], {}, (1, 3)),
    "place as a vector": (
        [("ArgMax", "x", "i", {"axis": 1}), ("OneHot", "idv", "h", {}), ("Mul", "hx", "y", {})],
        {"d": i64(4), "v": np.float32([0, 1])}, (4, 4),
    ),
    "place along a first axis": (
        [("ArgMax", "x", "i", {"axis": 1, "keepdims": 0}), ("Unsqueeze", "ia", "j", {}),
         ("OneHot", "jdv", "y", {"axis": 0})],
        {"d": i64(3), "v": np.float32([-0.5, 2.5]), "a": i64(1)}, (2, 5),
    ),
    "constant places": (
        [("OneHot", "idv", "h", {"axis": 1}), ("Add", "hx", "y", {})],
        {"i": i64(2, -1, 5), "d": i64(3), "v": np.float32([0.25, 1])}, (3, 3),
    ),
    "a cast of constants": ([("Cast", "i", "t", {"to": 1}), ("Add", "tx", "y", {})], {"i": i64(1, -2, 3)}, (2, 3)),
    "gather": ([("Gather", "xi", "y", {"axis": 1})], {"i": i64(2, -3, 2)}, (2, 3)),
    "gather of one": ([("Gather", "xi", "y", {"axis": -1})], {"i": np.array(1)}, (2, 3)),
    "expand": ([("Expand", "xs", "t", {}), ("Relu", "t", "y", {})], {"s": i64(2, 2, 1)}, (2, 3)),
    "where by constants": (
        [("Equal", "ij", "c", {}), ("Sin", "x", "t", {}), ("Where", "cxt", "y", {})],
        {"i": i64(1, 2, 3), "j": i64(1, 0, 3)},
        (2, 3),
    ),
    "sizes of the graph": (
        [
            ("Shape", "x", "s", {}),
            ("Gather", "si", "b", {}),
            ("Unsqueeze", "ba", "u", {}),
            ("Mul", "um", "n", {}),
            ("Concat", "nk", "t", {"axis": 0}),
            ("ConstantOfShape", "t", "o", {}),
            ("Reshape", "xt", "r", {}),
            ("Add", "ro", "y", {}),
        ],
        {"i": np.array(1), "a": i64(0), "m": i64(2), "k": i64(-1)[:0]},
        (2, 3),
    ),
}
CASES["sizes of the graph"][1]["k"] = i64(1)


def forward(network, x):
    values = [x]
    for node in network.nodes[1:]:
        if isinstance(node, Relu):
            values.append(np.maximum(values[node.source], 0))
        elif isinstance(node, Curve):
            steps = {"floor": np.floor, "sign": np.sign}
            values.append((steps.get(node.name) or find(node.name).value)(values[node.source]))
        elif isinstance(node, Product):
            a, b = (values[source][:, s.index] for source, s in zip(node.sources, (node.left, node.right), strict=True))
            values.append(a * b)
        else:
            assert isinstance(node, Affine)
            values.append(sum(m.apply(values[s], np.matmul) for m, s in node.terms) + node.bias)
    return values[network.output]


@pytest.mark.parametrize("title", CASES)
def test_reads_what_onnx_means(tools, title):
    nodes, weights, shape, *opset = CASES[title]
    onnxruntime = pytest.importorskip("onnxruntime")
    data = tools.model_bytes(nodes, weights, shape, opset=[13, *opset][-1])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    network = read_network(data)
    for _ in range(3):
        x = f32(*shape)
        (want,) = session.run(None, {"x": x})
        got = forward(network, x.reshape(1, -1).astype(np.float64))[0]
        np.testing.assert_allclose(got, want.reshape(-1), rtol=2e-5, atol=2e-5)  # float32
    for node in network.nodes[1:]:
        for linear, source in node.terms if isinstance(node, Affine) else ():
            size = network.nodes[source].size
            a, b = RNG.normal(size=(2, size)), RNG.normal(size=(2, node.size))
            assert np.allclose((linear.apply(a, np.matmul) * b).sum(1), (linear.transpose(b, np.matmul) * a).sum(1))
            matrix = linear.apply(np.eye(size), np.matmul).T
            assert np.allclose(linear.absolute().apply(np.eye(size), np.matmul).T, np.abs(matrix))
            assert (linear.leaves() >= np.count_nonzero(matrix, axis=1)).all()
            assert linear.depth >= np.count_nonzero(matrix, axis=0).max()


ALMOST = {
    "another value": [("Sigmoid", "x", "s"), ("Sin", "x", "z"), ("Mul", "sz", "y")],
    "two arguments": [("Mul", "xh", "t"), ("Erf", "t", "e"), ("Add", "eo", "w"), ("Sin", "x", "z"), ("Mul", "zw", "y")],
    "another sum": [("Mul", "xh", "t"), ("Erf", "t", "e"), ("Add", "eh", "w"), ("Mul", "xw", "y")],
    "a multiple inside": [("Mul", "xh", "t"), ("Erf", "t", "e"), ("Mul", "eh", "f"), ("Add", "fo", "w"),
                          ("Mul", "xw", "y")],
    "several multiples": [("Mul", "xv", "t"), ("Erf", "t", "e"), ("Add", "eo", "w"), ("Mul", "xw", "y")],
    "no multiple": [("Erf", "x", "e"), ("Add", "eo", "w"), ("Mul", "xw", "y")],
}  # fmt: skip


@pytest.mark.parametrize("title", ALMOST)
def test_what_is_nearly_a_gate_stays_a_product(tools, title):
    weights = {"h": np.float32(0.5), "o": np.float32(1), "v": np.float32([0.5, 0.6, 0.7])}
    network = read_network(tools.model_bytes([(*node, {}) for node in ALMOST[title]], weights, (2, 3)))
    assert any(isinstance(node, Product) for node in network.nodes)


@pytest.mark.parametrize("title", [t for t in CASES if t.startswith(("gelu", "silu"))])
def test_gates_are_curves_of_their_own(tools, title):
    nodes, weights, shape, *opset = CASES[title]
    network = read_network(tools.model_bytes(nodes, weights, shape, opset=[13, *opset][-1]))
    assert not any(isinstance(node, Product) for node in network.nodes)
    assert sum(isinstance(node, Curve) and node.name == title[:4] for node in network.nodes) == 1


BAD = {
    "layer norm of no axis": ([("LayerNormalization", "xs", "y", {"axis": 2})], {"s": f32(2)}, {"opset": 17}),
    "layer norm in another format": (
        [("LayerNormalization", "xs", "y", {"stash_type": 16})], {"s": f32(2)}, {"opset": 17}),
    "layer norm without epsilon": (
        [("LayerNormalization", "xs", "y", {"epsilon": 0.0})], {"s": f32(2)}, {"opset": 17}),
    "a scale of another size": ([("LayerNormalization", "xs", "y", {})], {"s": f32(3)}, {"opset": 17}),
    "a computed scale": ([("LayerNormalization", "xx", "y", {})], {}, {"opset": 17, "shape": (2,)}),
    "statistics of a layer norm": ([("LayerNormalization", "xs", ("y", "m"), {})], {"s": f32(2)}, {"opset": 17}),
    "rms norm with a bias": ([("RMSNormalization", "xss", "y", {})], {"s": f32(2)}, {"opset": 23}),
    "a falling elu": ([("Elu", "x", "y", {"alpha": -1.0})], {}, {}),
    "an elu too steep": ([("Elu", "x", "y", {"alpha": 9.0})], {}, {}),
    "a selu of nothing": ([("Selu", "x", "y", {"gamma": 0.0})], {}, {}),
    "a falling hard sigmoid": ([("HardSigmoid", "x", "y", {"alpha": -1.0})], {}, {}),
    "parts that do not add up": ([("Split", "xs", ("a", "y"), {"axis": 1})], {"s": i64(2, 2)}, {"shape": (2, 3)}),
    "parts of other numbers": ([("Split", "x", ("a", "y"), {"axis": 1})], {}, {"shape": (2, 3)}),
    "an empty part": ([("Split", "xs", ("a", "y"), {"axis": 1})], {"s": i64(0, 3)}, {"shape": (2, 3)}),
    "a part's name twice": ([("Split", "x", ("y", "y"), {})], {}, {"shape": (2, 3)}),
    "parts by an old attribute": ([("Split", "x", ("a", "y"), {"split": [1, 1]})], {}, {"shape": (2, 3)}),
    "a part without a name": ([("Split", "x", ("y", "", "z"), {"axis": 1})], {}, {"shape": (2, 3)}),
    "a last part without a name": ([("Split", "x", ("y", "z", ""), {"axis": 1})], {}, {"shape": (2, 3)}),
    "two outputs of another op": ([("Relu", "x", ("a", "y"), {})], {}, {}),
    "pad by reflection": ([("Pad", "xp", "y", {"mode": "reflect"})], {"p": i64(0, 1, 0, 1)}, {"shape": (2, 3)}),
    "pad that crops": ([("Pad", "xp", "y", {})], {"p": i64(0, -1, 0, 0)}, {"shape": (2, 3)}),
    "pads of other axes": ([("Pad", "xp", "y", {})], {"p": i64(1, 1)}, {"shape": (2, 3)}),
    "scatter that adds": (
        [("ScatterND", "xiw", "y", {"reduction": "add"})], {"i": i64(0).reshape(1, 1), "w": f32(1, 2)}, {"opset": 16}),
    "scatter to one place twice": (
        [("ScatterND", "xiw", "y", {})], {"i": i64(0, -1).reshape(2, 1), "w": f32(2, 2)}, {}),
    "scatter out of range": ([("ScatterND", "xiw", "y", {})], {"i": i64(1).reshape(1, 1), "w": f32(1, 2)}, {}),
    "cubic resize": (
        [("Resize", ("x", "", "s"), "y", {"mode": "cubic"})], {"s": np.float32([1, 1, 2, 2])}, {"shape": IMAGE}),
    "cropping resize": (
        [("Resize", ("x", "", "s"), "y", {"coordinate_transformation_mode": "tf_crop_and_resize"})],
        {"s": np.float32([1, 1, 2, 2])}, {"shape": IMAGE}),
    "linear resize without aliases": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear", "antialias": 1})], {"s": np.float32([1, 1, 2, 2])},
        {"shape": IMAGE, "opset": 18}),
    "linear resize without what is outside": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear", "exclude_outside": 1})], {"s": np.float32([1, 1, 2, 2])},
        {"shape": IMAGE}),
    "linear resize of many axes": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear"})], {"s": np.float32([2] * 4)}, {"shape": IMAGE}),
    "linear resize of a long axis": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear"})], {"s": np.float32([1, 1, 1 << 12, 1])}, {"shape": IMAGE}),
    "resize by a scale just below a size": (
        [("Resize", ("x", "", "s"), "y", {"mode": "linear"})], {"s": np.float32([1, 1, 0.7, 1])},
        {"shape": (1, 1, 10, 1)}),
    "resize on a tie": (
        [("Resize", ("x", "", "", "s"), "y", {})], {"s": i64(1, 2, 2, 5)}, {"shape": (1, 2, 12, 5)}),
    "resize by a scale between sizes": (
        [("Resize", ("x", "", "s"), "y", {})], {"s": np.float32([1, 1, 1.1, 1])}, {"shape": IMAGE}),
    "upsample after opset 9": ([("Upsample", "xs", "y", {})], {"s": np.float32([1, 1, 3, 2])}, {"shape": IMAGE}),
    "resize of an axis twice": (
        [("Resize", ("x", "", "", "s"), "y", {"axes": [1, 1]})], {"s": i64(2, 2)}, {"opset": 18}),
    "resize of axes before opset 18": ([("Resize", ("x", "", "", "s"), "y", {"axes": [1]})], {"s": i64(2)}, {}),
    "resize of an axis that is not there": (
        [("Resize", ("x", "", "", "s"), "y", {"axes": [2]})], {"s": i64(2)}, {"opset": 18}),
    "resize that keeps the aspect": (
        [("Resize", ("x", "", "", "s"), "y", {"axes": [1], "keep_aspect_ratio_policy": "not_larger"})],
        {"s": i64(2)}, {"opset": 18}),
    "an average of its padding": (
        [("AveragePool", "x", "y", {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1]})], {}, {"shape": IMAGE}),
    "gelu by tanh": ([("Gelu", "x", "y", {"approximate": "tanh"})], {}, {"opset": 20}),
    "a power of zero": ([("Pow", "xc", "y", {})], {"c": np.float32(0)}, {}),
    "a large power": ([("Pow", "xc", "y", {})], {"c": np.float32(65)}, {}),
    "a small power": ([("Pow", "xc", "y", {})], {"c": np.float32(0.05)}, {}),
    "a large broken power": ([("Pow", "xc", "y", {})], {"c": np.float32(8.5)}, {}),
    "a power that is no number": ([("Pow", "xc", "y", {})], {"c": np.float32(np.nan)}, {}),
    "several powers": ([("Pow", "xc", "y", {})], {"c": np.float32([2, 3])}, {}),
    "a power of more axes": ([("Pow", "xc", "y", {})], {"c": np.float32([[[[2]]]])}, {}),
    "a computed power": ([("Pow", "xx", "y", {})], {}, {}),
    "softmax over two axes": ([("Softmax", "x", "y", {"axis": 0})], {}, {"opset": 11, "shape": (2, 3)}),
    "softmax by default before opset 13": ([("Softmax", "x", "y", {})], {}, {"opset": 11, "shape": (2, 3, 4)}),
    "softmax of one": ([("Softmax", "x", "y", {})], {}, {"shape": (2, 1)}),
    "softmax of no axis": ([("Softmax", "x", "y", {"axis": 2})], {}, {}),
    "a computed condition": ([("Where", "xxx", "y", {})], {}, {}),
    "computed indices": ([("Gather", "xx", "y", {})], {}, {}),
    "an index out of range": ([("Gather", "xi", "y", {"axis": 1})], {"i": i64(2)}, {}),
    "an axis out of range": ([("Gather", "xi", "y", {"axis": 2})], {"i": i64(0)}, {}),
    "a sum of truths": ([("Less", "xz", "c", {}), ("Add", "cx", "y", {})], {"z": f32(2)}, {}),
    "a truth as the output": ([("Less", "xz", "y", {})], {"z": f32(2)}, {}),
    "a choice of truths": ([("Less", "xz", "c", {}), ("Where", "ccc", "y", {})], {"z": f32(2)}, {}),
    "numbers for truths": ([("And", "xx", "c", {}), ("Where", "cxx", "y", {})], {}, {}),
    "the negation of a number": ([("Not", "x", "c", {}), ("Where", "cxx", "y", {})], {}, {}),
    "a cast to whole numbers": ([("Cast", "x", "i", {"to": 7}), ("Cast", "i", "y", {"to": 1})], {}, {}),
    "a place as the output": ([("ArgMax", "x", "y", {})], {}, {}),
    "a sum of places": ([("ArgMax", "x", "i", {}), ("Add", "ix", "y", {})], {}, {}),
    "a relu of places": ([("ArgMax", "x", "i", {}), ("Relu", "i", "y", {})], {}, {}),
    "a place as an index": ([("ArgMax", "x", "i", {"axis": 1, "keepdims": 0}), ("Gather", "xi", "y", {})], {}, {}),
    "a place as a shape": ([("ArgMax", "x", "i", {"keepdims": 0}), ("Reshape", "xi", "y", {})], {}, {}),
    "a choice of places": (
        [("ArgMax", "x", "i", {}), ("Less", "xz", "c", {}), ("Where", "cix", "y", {})], {"z": f32(2)}, {}),
    "the largest along no axis": ([("ArgMax", "x", "i", {"axis": 2}), ("Cast", "i", "y", {"to": 1})], {}, {}),
    "the last of equals before opset 12": (
        [("ArgMax", "x", "i", {"select_last_index": 1}), ("Cast", "i", "y", {"to": 1})], {}, {"opset": 11}),
    "the largest of very many": (
        [("ArgMax", "x", "i", {"axis": 1}), ("Cast", "i", "y", {"to": 1})], {}, {"shape": (1, 800)}),
    "classes of numbers": ([("OneHot", "xdv", "y", {})], {"d": i64(3), "v": np.float32([0, 1])}, {}),
    "classes of truths": (
        [("Less", "xz", "c", {}), ("OneHot", "cdv", "y", {})], {"z": f32(2), "d": i64(3), "v": np.float32([0, 1])}, {}),
    "classes from the end before opset 11": (
        [("OneHot", "idv", "h", {}), ("Add", "hx", "y", {})],
        {"i": i64(1, -1), "d": i64(2), "v": np.float32([0, 1])}, {"opset": 10}),
    "no classes": ([("ArgMax", "x", "i", {}), ("OneHot", "idv", "y", {})], {"d": i64(0), "v": np.float32([0, 1])}, {}),
    "three values of classes": (
        [("ArgMax", "x", "i", {}), ("OneHot", "idv", "y", {})], {"d": i64(2), "v": np.float32([0, 1, 2])}, {}),
    "classes along no axis": (
        [("ArgMax", "x", "i", {}), ("OneHot", "idv", "y", {"axis": 4})], {"d": i64(2), "v": np.float32([0, 1])}, {}),
    "places cast to float64": (
        [("ArgMax", "x", "i", {}), ("Cast", "i", "t", {"to": 11}), ("Add", "tx", "y", {})], {}, {}),
    "a cast to float64": ([("Cast", "x", "t", {"to": 11}), ("Add", "tx", "y", {})], {}, {}),
    "a cast of a large number": ([("Cast", "i", "t", {"to": 1}), ("Add", "tx", "y", {})], {"i": i64(1 << 25)}, {}),
    "matmul of other sizes": ([("MatMul", "xx", "y", {})], {}, {"shape": (2, 3)}),
    "axes of a sum as an attribute": ([("ReduceSum", "x", "y", {"axes": [0]})], {}, {}),
    "axes of a sum out of range": ([("ReduceSum", "xa", "y", {})], {"a": i64(2)}, {}),
    "a sum over no axes": ([("ReduceSum", "x", "y", {"noop_with_empty_axes": 1})], {}, {}),
    "clip by attributes": ([("Clip", "x", "y", {"min": 0.0})], {}, {}),
    "clip by many": ([("Clip", "xc", "y", {})], {"c": f32(2)}, {}),
    "a steep leaky relu": ([("LeakyRelu", "x", "y", {"alpha": 1.5})], {}, {}),
    "a falling leaky relu": ([("LeakyRelu", "x", "y", {"alpha": -0.1})], {}, {}),
    "ceil_mode": ([("MaxPool", "x", "y", {"kernel_shape": [2, 2], "ceil_mode": 1})], {}, {"shape": IMAGE}),
    "dilated max pool": ([("MaxPool", "x", "y", {"kernel_shape": [2, 2], "dilations": [2, 2]})], {}, {"shape": IMAGE}),
    "pads as large as the kernel": (
        [("MaxPool", "x", "y", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]})], {}, {"shape": IMAGE}),
    "indices of a max pool": ([("MaxPool", "x", ("y", "z"), {"kernel_shape": [2, 2]})], {}, {"shape": IMAGE}),
    "output_shape": ([(*UP[:1], "xw", "y", {"output_shape": [7, 6]})], {"w": f32(2, 3, 2, 2)}, {"shape": IMAGE}),
    "output_padding as large as the stride": (
        [("ConvTranspose", "xw", "y", {"output_padding": [1, 1]})], {"w": f32(2, 3, 2, 2)}, {"shape": IMAGE}),
    "channels that do not fit": ([("ConvTranspose", "xw", "y", {})], {"w": f32(3, 2, 2, 2)}, {"shape": IMAGE}),
    "an integer that grows": (
        [("Mul", "mm", "n", {}), ("Mul", "nn", "o", {}), ("Reshape", "xo", "y", {})], {"m": i64(1 << 20)}, {}),
    "constants joined": ([("Concat", "cc", "t", {"axis": 0}), ("Add", "xt", "y", {})], {"c": f32(1)}, {}),
    "nan among constants": ([("Add", "cc", "t", {}), ("Add", "xt", "y", {})], {"c": np.float32([np.nan])}, {}),
}  # fmt: skip


@pytest.mark.parametrize("title", BAD)
def test_refused(tools, title):
    nodes, weights, more = BAD[title]
    with pytest.raises(CheckError):
        read_network(tools.model_bytes(nodes, weights, **{"shape": (1, 2), **more}))


def test_a_divisor_that_may_vanish_is_refused(tools):
    import torchlean_check as tc

    data = tools.model_bytes([("Div", "cx", "y", {})], {"c": f32(2)}, (1, 2))
    for low, high in (("-1.0", "1.0"), ("0.0", "1.0"), ("0." + "0" * 37 + "1", "1.0")):
        network, regions = tc.load(data, tools.property_text(2, 2, ["(assert (>= Y_0 100000.0))"], low, high))
        with pytest.raises(CheckError, match=r"not shown to be finite|overflow of float32 is not excluded"):
            tc.Kernel(network, regions[0])
    network, regions = tc.load(data, tools.property_text(2, 2, ["(assert (>= Y_0 100000.0))"], "0.01", "1.0"))
    assert tc.Kernel(network, regions[0]).start().open.all()
