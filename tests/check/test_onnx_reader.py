"""ONNX: what is read computes what the ONNX reference evaluator computes; traps are refused."""

import gzip

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from torchlean_check import gzipped
from torchlean_check.errors import CheckError
from torchlean_check.gzipped import unpack
from torchlean_check.network import Affine, Relu
from torchlean_check.onnx_reader import read_network

RNG = np.random.default_rng(0)


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


IMAGE = (1, 2, 6, 5)
CASES = {
    "gemm without transB": ([("Gemm", "xw", "y", {})], {"w": f32(2, 3)}, (1, 2)),
    "gemm with row bias": ([("Gemm", "xwb", "y", {"transB": 1})], {"w": f32(3, 2), "b": f32(1, 3)}, (1, 2)),
    "gemm with alpha and beta": (
        [
            ("Gemm", "xwb", "t", {"transB": 1, "alpha": -0.3, "beta": 2.5}),
            ("Gemm", "tv", "y", {"alpha": 3.0, "beta": 0.0}),
        ],
        {"w": f32(3, 2), "b": f32(1, 3), "v": f32(3, 2)},
        (1, 2),
    ),
    "gemm of a column": (
        [("Reshape", "xs", "t", {}), ("Gemm", "tw", "y", {"transA": 1})],
        {"w": f32(4, 3), "s": i64(4, 1)},
        (1, 4),
    ),
    "a constant that repeats the value": (
        [("Mul", "xc", "t", {}), ("Sub", "bt", "u", {}), ("Div", "ud", "v", {}), ("Flatten", "v", "y", {})],
        {"c": f32(1, 2), "b": f32(3, 1, 1), "d": f32(1, 1, 2)},
        (1, 2, 1),
    ),
    "two values of which each repeats the other": (
        [("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("Sub", "xt", "y", {})],
        {},
        (1, 3, 1),
    ),
    "a product and a constant that repeats it": (
        [("MatMul", "xw", "t", {}), ("Add", "tb", "y", {})],
        {"w": f32(2, 3), "b": f32(2, 1)},
        (1, 2),
    ),
    "matmul and add": ([("MatMul", "xw", "t", {}), ("Add", "bt", "y", {})], {"w": f32(2, 3), "b": f32(3)}, (1, 2)),
    "matmul of rows": ([("MatMul", "xw", "y", {})], {"w": f32(2, 3)}, (1, 4, 2)),
    "matmul from the left": (
        [("Reshape", "xs", "t", {}), ("MatMul", "wt", "y", {})],
        {"w": f32(3, 4), "s": i64(4, 2)},
        (1, 8),
    ),
    "sub constant and from constant": ([("Sub", "xb", "t", {}), ("Sub", "bt", "y", {})], {"b": f32(3)}, (1, 3)),
    "residual": ([("Relu", "x", "t", {}), ("Add", "xt", "u", {}), ("Sub", "ut", "y", {})], {}, (1, 3)),
    "product read twice, sum in between": (
        [("MatMul", "xw", "m", {}), ("Identity", "m", "n", {}), ("Add", "nb", "t", {}), ("Add", "tm", "y", {})],
        {"w": f32(3, 3), "b": f32(3)},
        (1, 3),
    ),
    "mul div neg": (
        [("Mul", "xb", "t", {}), ("Div", "tc", "u", {}), ("Neg", "u", "y", {})],
        {"b": f32(3), "c": f32(3)},
        (1, 3),
    ),
    "conv 1d strided dilated": (
        [("Conv", "xw", "y", {"strides": [2], "dilations": [2], "pads": [1, 2]})],
        {"w": f32(4, 2, 3)},
        (1, 2, 11),
    ),
    "conv 2d grouped with bias": (
        [("Conv", "xwb", "y", {"group": 2, "pads": [1, 0, 1, 2], "strides": [1, 2]})],
        {"w": f32(4, 1, 3, 2), "b": f32(4)},
        IMAGE,
    ),
    "conv 3d": ([("Conv", "xw", "y", {"pads": [0, 1, 0, 0, 0, 1]})], {"w": f32(2, 1, 2, 2, 2)}, (1, 1, 3, 4, 3)),
    "average pools": (
        [("AveragePool", "x", "t", {"kernel_shape": [3, 2], "strides": [1, 2]}), ("GlobalAveragePool", "t", "y", {})],
        {},
        IMAGE,
    ),
    "batch norm": (
        [("BatchNormalization", "xgbmv", "y", {"epsilon": 0.01})],
        {"g": f32(2), "b": f32(2), "m": f32(2), "v": np.abs(f32(2))},
        IMAGE,
    ),
    "layout": (
        [
            ("Transpose", "x", "t", {"perm": [0, 3, 1, 2]}),
            ("Squeeze", "ta", "u", {}),
            ("Unsqueeze", "ua", "v", {}),
            ("Flatten", "v", "y", {}),
        ],
        {"a": i64(0)},
        IMAGE,
    ),
    "slice and concat": (
        [("Slice", "xsea", "t", {}), ("Concat", "txc", "y", {"axis": 1})],
        {"s": i64(1), "e": i64(2**40), "a": i64(-3), "c": f32(1, 1, 6, 5)},
        IMAGE,
    ),
    "reshape with 0 and -1": ([("Reshape", "xs", "y", {})], {"s": i64(0, -1, 5)}, IMAGE),
    "dropout and constant": (
        [("Dropout", "x", "t", {}), ("Identity", "t", "u", {}), ("Add", "ub", "y", {})],
        {"b": f32(1)},
        (1, 3),
    ),
}


def forward(network, x):
    values = [x]
    for node in network.nodes[1:]:
        if isinstance(node, Relu):
            values.append(np.maximum(values[node.source], 0))
        else:
            assert isinstance(node, Affine)
            values.append(sum(m.apply(values[s], lambda a, b: a @ b) for m, s in node.terms) + node.bias)
    return values[network.output]


@pytest.mark.parametrize("title", CASES)
def test_reads_what_onnx_means(tools, title):
    nodes, weights, shape = CASES[title]
    data = tools.model_bytes(nodes, weights, shape, opset=15)  # the evaluator mishandles epsilon before 14
    network = read_network(data)
    x = f32(3, *shape[1:]) if len(shape) > 1 else f32(3)
    for row in x:
        (want,) = ReferenceEvaluator(tools.onnx.load_model_from_string(data)).run(None, {"x": row[None]})
        got = forward(network, row.reshape(1, -1).astype(np.float64))[0]
        np.testing.assert_allclose(got, want.reshape(-1), rtol=2e-5, atol=2e-5)  # the evaluator computes in float32
    for node in network.nodes[1:]:
        for linear, source in node.terms if isinstance(node, Affine) else ():
            a, b = RNG.normal(size=(2, network.nodes[source].size)), RNG.normal(size=(2, node.size))
            assert np.allclose((linear.apply(a, np.matmul) * b).sum(1), (linear.transpose(b, np.matmul) * a).sum(1))


def test_initializers_may_stand_among_the_inputs_of_old_files(tools):
    nodes, weights, shape = CASES["matmul and add"]
    network = read_network(tools.model_bytes(nodes, weights, shape, listed=True, opset=8, ir_version=3))
    assert len(network.nodes) == 2 and network.nodes[1].adds  # matmul and add are one node with two roundings


def test_symbolic_batch_is_one(tools):
    assert read_network(tools.model_bytes([("Relu", "x", "y", {})], {}, ("n", 3))).inputs == 3


def test_leaves_count_nonzero_weights_and_bias(tools):
    w = np.array([[1, 0, 2], [0, 0, 0]], np.float32)
    network = read_network(tools.model_bytes([("Gemm", "xwb", "y", {"transB": 1})], {"w": w, "b": f32(2)}, (1, 3)))
    assert network.nodes[1].leaves.tolist() == [3.0, 1.0]


GEMM = [("Gemm", "xw", "y", {})]
W = {"w": f32(2, 3)}
BAD = {
    "unknown op": ([("Atan", "x", "y", {})], {}, {}),
    "other domain": ([("Relu", "x", "y", {"domain": "com.example"})], {}, {}),
    "unknown attribute": ([("Relu", "x", "y", {"alpha": 1.0})], {}, {}),
    "attribute of another type": ([("Flatten", "x", "y", {"axis": 1.0})], {}, {}),
    "alpha zero": ([("Gemm", "xw", "y", {"alpha": 0.0})], W, {}),
    "alpha nan": ([("Gemm", "xw", "y", {"alpha": float("nan")})], W, {}),
    "alpha infinite": ([("Gemm", "xw", "y", {"alpha": float("inf")})], W, {}),
    "alpha near the subnormals": ([("Gemm", "xw", "y", {"alpha": 2.0**-61})], W, {}),
    "alpha an integer": ([("Gemm", "xw", "y", {"alpha": 2})], W, {}),
    "alpha that overflows a weight": (
        [("Gemm", "xw", "y", {"alpha": 2.0**60})],
        {"w": np.full((2, 3), 2.0**68, np.float32)},
        {},
    ),
    "beta zero": ([("Gemm", "xwb", "y", {"beta": 0.0})], {**W, "b": f32(3)}, {}),
    "beta nan": ([("Gemm", "xwb", "y", {"beta": float("nan")})], {**W, "b": f32(3)}, {}),
    "transA of a row": ([("Gemm", "xw", "y", {"transA": 1})], W, {}),
    "transA neither 0 nor 1": ([("Gemm", "xw", "y", {"transA": 2})], W, {}),
    "gemm bias with rows": ([("Gemm", "xwb", "y", {})], {**W, "b": f32(2, 3)}, {}),
    "auto_pad": ([("Conv", "xw", "y", {"auto_pad": "SAME_UPPER"})], {"w": f32(1, 2, 1)}, {"shape": (1, 2, 3)}),
    "ceil_mode": ([("AveragePool", "x", "y", {"kernel_shape": [2], "ceil_mode": 1})], {}, {"shape": (1, 2, 3)}),
    "padding that is not counted": (
        [("AveragePool", "x", "y", {"kernel_shape": [2], "pads": [1, 0]})],
        {},
        {"shape": (1, 2, 3)},
    ),
    "padded average": ([("AveragePool", "x", "y", {"kernel_shape": [2], "pads": [1, 1]})], {}, {"shape": (1, 2, 3)}),
    "training batch norm": (
        [("BatchNormalization", "xbbbb", "y", {"training_mode": 1})],
        {"b": np.ones(2, np.float32)},
        {"opset": 15},
    ),
    "training dropout": ([("Dropout", "xrt", "y", {})], {"r": np.float32(0.5), "t": np.array(True)}, {}),
    "negative variance": (
        [("BatchNormalization", "xbbbv", "y", {})],
        {"b": np.ones(2, np.float32), "v": -np.ones(2, np.float32)},
        {},
    ),
    "batch norm of rows": (
        [("BatchNormalization", "xbbbb", "y", {})],
        {"b": np.ones((1, 2), np.float32)},
        {},
    ),
    "nan weight": (GEMM, {"w": np.array([[np.nan], [1]], np.float32)}, {}),
    "infinite weight": (GEMM, {"w": np.array([[np.inf], [1]], np.float32)}, {}),
    "float64 weight": (GEMM, {"w": np.ones((2, 3))}, {}),
    "shapes that do not fit": (GEMM, {"w": f32(3, 3)}, {}),
    "name defined twice": ([("Relu", "x", "t", {}), ("Relu", "x", "t", {}), ("Relu", "t", "y", {})], {}, {}),
    "node that shadows the input": ([("Relu", "x", "x", {}), ("Relu", "x", "y", {})], {}, {}),
    "use before definition": ([("Relu", "t", "y", {}), ("Relu", "x", "t", {})], {}, {}),
    "output not computed": ([("Relu", "x", "t", {})], {}, {}),
    "two outputs": ([("Relu", "x", "y", {}), ("Relu", "x", "z", {})], {}, {"outputs": ("y", "z")}),
    "two inputs": ([("Add", "xz", "y", {})], {}, {"inputs": ("x", "z")}),
    "dynamic axis": ([("Relu", "x", "y", {})], {}, {"shape": (1, "n")}),
    "opset too old": ([("Relu", "x", "y", {})], {}, {"opset": 6}),
    "opset too new": ([("Relu", "x", "y", {})], {}, {"opset": 24, "ir_version": 10}),
    "shapes that do not broadcast": ([("Add", "xw", "y", {})], {"w": f32(4, 3)}, {}),
    "a constant of another rank": ([("Mul", "xw", "y", {})], {"w": f32(4, 3, 1, 3)}, {}),
    "repeated to too many entries": ([("Add", "xw", "y", {})], {"w": f32(1 << 14, 1, 1)}, {"shape": (1, 1 << 13, 1)}),
    "division by zero": ([("Div", "xw", "y", {})], {"w": np.array([1, 0], np.float32)}, {}),
    "reshape to another size": ([("Reshape", "xs", "y", {})], {"s": i64(1, 3)}, {}),
}


@pytest.mark.parametrize("title", BAD)
def test_refused(tools, title):
    nodes, weights, options = BAD[title]
    with pytest.raises(CheckError) as error:
        read_network(tools.model_bytes(nodes, weights, **options))
    assert error.value.where.startswith("ONNX model") and error.value.expected and error.value.fix


def test_external_data_is_refused(tools):
    model = tools.onnx.load_model_from_string(tools.model_bytes(GEMM, W))
    model.graph.initializer[0].data_location = tools.onnx.TensorProto.EXTERNAL
    with pytest.raises(CheckError, match="another file"):
        read_network(model.SerializeToString())


def test_repeated_singular_field_is_refused(tools):
    data = tools.model_bytes(GEMM, W)
    with pytest.raises(CheckError, match="twice"):
        read_network(data + b"\x08\x07")  # ir_version again


def test_initializer_given_twice_is_refused(tools):
    model = tools.onnx.load_model_from_string(tools.model_bytes(GEMM, W))
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(CheckError, match="twice"):
        read_network(model.SerializeToString())


def test_every_truncation_is_refused(tools):
    data = tools.model_bytes(GEMM, W)
    for size in range(len(data)):
        with pytest.raises(CheckError):
            read_network(data[:size])


@pytest.mark.parametrize("size", [1, 1000, gzipped.GIVEN - 1, gzipped.GIVEN, 2 * gzipped.GIVEN + 7])
@pytest.mark.parametrize("random", [False, True])
def test_gzip_is_bounded_and_whole(size, random):
    content = np.random.default_rng(size).bytes(size) if random else bytes(size)
    file = gzip.compress(content)
    assert unpack(file) == content and unpack(unpack(file)) == content
    longer, shorter = (file[:-4] + (size + d).to_bytes(4, "little") for d in (1, -1))
    damaged = (file[:-1], file[:-9], file[:9], longer, shorter)
    for bad in (*damaged, file + b"x", file + bytes(9) + b"xx", *(file + bad for bad in damaged)):
        with pytest.raises(CheckError, match="damaged gzip"):
            unpack(bad)
    with pytest.raises(CheckError, match="too large"):
        unpack(file, limit=size - 1)
    assert unpack(file, limit=size) == content


@pytest.mark.parametrize("sizes", [(1, 1000), (1000, 1), (5, 0), (0, 5), (2, 3 * gzipped.GIVEN)])
@pytest.mark.parametrize("zeros", [0, 1, gzipped.TAKEN, 2 * gzipped.TAKEN + 3])
@pytest.mark.parametrize("random", [False, True])
def test_gzip_of_several_members(sizes, zeros, random):
    """As RFC 1952 has it, and as `gzip` writes and reads them; zeros after a member are padding."""
    contents = [np.random.default_rng(n).bytes(n) if random else bytes(n) for n in sizes]
    file, whole = b"".join(gzip.compress(c) + bytes(zeros) for c in contents), b"".join(contents)
    assert unpack(file) == whole == gzip.decompress(file) and unpack(memoryview(file)) == whole
    assert unpack(file, limit=len(whole)) == whole
    with pytest.raises(CheckError, match="too large"):
        unpack(file, limit=len(whole) - 1)


def test_gzip_of_many_members():
    assert unpack(b"".join(gzip.compress(bytes([i % 256])) for i in range(3000))) == bytes(i % 256 for i in range(3000))


def test_gzip_where_pages_do_not_come_at_once_or_not_at_all(monkeypatch):
    content = np.random.default_rng(0).bytes(1000)
    file = gzip.compress(content)

    def nothing(*_):
        raise OSError("cannot allocate")

    monkeypatch.setattr(gzipped.mmap, "mmap", nothing)
    monkeypatch.setattr(gzipped.mmap, "MAP_POPULATE", 0, raising=False)
    with pytest.raises(MemoryError, match="cannot allocate"):
        unpack(file)
    monkeypatch.delattr(gzipped.mmap, "MAP_POPULATE")
    assert unpack(file) == content


def test_an_empty_file_is_refused():
    for empty in (b"", gzip.compress(b"")):
        with pytest.raises(CheckError, match="empty"):
            unpack(empty)
