"""Small networks and properties as files, and a plain splitter that writes certificates for them."""

from __future__ import annotations

import gzip
import itertools
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc

ACASXU = Path(__file__).parents[3] / "shared" / "vnncomp" / "acasxu"


def model_bytes(nodes, weights, shape=(1, 2), opset=13, outputs=("y",), inputs=("x",), listed=False, ir_version=8):
    """An ONNX file from (op, inputs, output, attributes) tuples. `listed`: initializers also stand among the inputs,
    as in old files."""
    tensors = [numpy_helper.from_array(np.asarray(a), k) for k, a in weights.items()]
    made = [
        helper.make_node(op, list(i), [o] if isinstance(o, str) else list(o), name=f"{op}_{n}", **a)
        for n, (op, i, o, a) in enumerate(nodes)
    ]
    ins = [helper.make_tensor_value_info(i, TensorProto.FLOAT, list(shape)) for i in inputs]
    if listed:
        ins += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
    outs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph(made, "g", ins, outs, initializer=tensors)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    ).SerializeToString()


def mlp_bytes(sizes, seed=0, scale=1.0):
    """A relu network of Gemm layers with random float32 weights."""
    rng = np.random.default_rng(seed)
    nodes, weights, name = [], {}, "x"
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{i}"] = (scale * rng.normal(size=(b, a)) / np.sqrt(a)).astype(np.float32)
        weights[f"b{i}"] = (0.3 * rng.normal(size=b)).astype(np.float32)
        last = i == len(sizes) - 2
        nodes.append(("Gemm", [name, f"w{i}", f"b{i}"], "y" if last else f"z{i}", {"transB": 1}))
        if not last:
            nodes.append(("Relu", [f"z{i}"], f"a{i}", {}))
            name = f"a{i}"
    return model_bytes(nodes, weights, (1, sizes[0]))


def property_text(inputs, outputs, lines, low="-1.0", high="1.0"):
    text = [f"(declare-const X_{i} Real)" for i in range(inputs)] + [
        f"(declare-const Y_{i} Real)" for i in range(outputs)
    ]
    text += [f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))" for i in range(inputs)]
    return "\n".join([*text, *lines]).encode()


def any_sign(low, high, outputs):
    """A box, exactly, and one inequality for each side of each output: what its margins bound."""
    names = [f"(declare-const {v}_{i} Real)" for v, n in (("X", len(low)), ("Y", outputs)) for i in range(n)]
    ends = [[f"{float(v):.200f}".rstrip("0") + "0" for v in end] for end in (low, high)]
    box = [f"(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))" for i, (a, b) in enumerate(zip(*ends, strict=True))]
    each = " ".join(f"(<= Y_{i} 0.0) (>= Y_{i} 0.0)" for i in range(outputs))
    return "\n".join([*names, *box, f"(assert (or {each}))"]).encode()


def prove(kernel, *, examine=True, limit=4000):
    """Split the widest influence at midpoints until every leaf closes; a TreeBuilder, and whether it closed."""
    builder, state, ids = tc.TreeBuilder(), kernel.start(), np.zeros(1, np.int64)
    while len(ids) and len(builder) < limit:
        bounds = kernel.bound(state, derive=True)
        builder.flag(ids, tc.DERIVE)
        after = kernel.clip(state, bounds) if examine else state
        closed = bounds.refuted.all(axis=1)
        gone = ~closed & ~after.open.any(axis=1)
        builder.flag(ids[gone], tc.EXAMINE)
        keep = np.nonzero(~closed & ~gone)[0]
        if not len(keep):
            return builder, True
        slopes = np.abs(bounds.form[keep]).max(axis=1)
        width = (after.hi - after.lo)[keep]
        axis = (np.maximum(slopes, 0.05 * slopes.max(axis=1, keepdims=True)) * width).argmax(axis=1)
        low, high = kernel.split(after.take(keep), axis)
        a, b = builder.split(ids[keep], axis, flags=tc.EXAMINE if examine else 0)
        state, ids = tc.State.join([low, high]), np.concatenate([a, b])
    return builder, not len(ids)


def certify(model, claim, semantics="float32", arithmetic="rounded", **options):
    """A certificate for two files by `prove`; None when it did not close."""
    network, regions = tc.load(model, claim)
    trees = []
    for region in regions:
        builder, closed = prove(tc.Kernel(network, region, semantics, arithmetic), **options)
        if not closed:
            return None
        trees.append(builder.build()[0])
    return tc.Certificate.of(model, claim, semantics=semantics, trees=trees, writer="test")


def factors(node, values):
    """What each entry of a product multiplies."""
    sides = zip(node.sources, (node.left.index, node.right.index), strict=True)
    return zip(*([values[source][i] for i in index] for source, index in sides), strict=True)


def exact_run(network, point):
    """Every value of the network at exact rationals: lists of Fraction."""
    values = [[Fraction(p) for p in point]]
    for node in network.nodes[1:]:
        if type(node).__name__ == "Relu":
            values.append([max(v, Fraction(0)) for v in values[node.source]])
            continue
        if type(node).__name__ == "Product":
            values.append([a * b for a, b in factors(node, values)])
            continue
        out = [Fraction(b) for b in node.bias.tolist()]
        for linear, source in node.terms:
            matrix = linear.apply(np.eye(network.nodes[source].size), lambda a, b: a @ b)  # [in, out]
            for i, column in enumerate(matrix.T.tolist()):
                out[i] += sum((Fraction(w) * v for w, v in zip(column, values[source], strict=True) if w), Fraction(0))
        values.append(out)
    return values


def float32_run(network, point, rng):
    """Every value in float32, each sum in a random order: one execution that `float32` covers."""
    values = [np.asarray(point, np.float32)]
    for node in network.nodes[1:]:
        if type(node).__name__ == "Relu":
            values.append(np.maximum(values[node.source], np.float32(0)))
            continue
        if type(node).__name__ == "Product":
            values.append(np.array([a * b for a, b in factors(node, values)], np.float32))
            continue
        parts = []
        for linear, source in node.terms:
            matrix = linear.apply(np.eye(network.nodes[source].size), lambda a, b: a @ b).T.astype(np.float32)
            parts.append(matrix * values[source])
        terms = np.concatenate(parts, axis=1)
        last = node.bias.astype(np.float32)
        if not node.adds:
            terms = np.concatenate([terms, last[:, None]], axis=1)
        total = np.zeros(node.size, np.float32)
        for j in rng.permutation(terms.shape[1]):
            total = total + terms[:, j]
        values.append(total + last if node.adds else total)
    return values


def acasxu(network, prop):
    """The two files of an ACAS Xu instance, uncompressed; skips where the folder is absent."""
    files = ACASXU / "onnx" / f"ACASXU_run2a_{network}_batch_2000.onnx.gz", ACASXU / "vnnlib" / f"prop_{prop}.vnnlib.gz"
    if not files[0].exists():
        pytest.skip(f"{ACASXU} is absent")
    return tuple(gzip.decompress(f.read_bytes()) for f in files)


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(
        model_bytes=model_bytes,
        mlp_bytes=mlp_bytes,
        property_text=property_text,
        any_sign=any_sign,
        prove=prove,
        certify=certify,
        exact_run=exact_run,
        float32_run=float32_run,
        acasxu=acasxu,
        onnx=onnx,
    )


@pytest.fixture(scope="session")
def small(tools):
    """A true claim about a small network, tight enough for a tree of over a hundred nodes: files, certificate, its
    bytes."""
    model, claim = (
        tools.mlp_bytes([3, 10, 10, 2], seed=1, scale=2.0),
        tools.property_text(3, 2, ["(assert (>= Y_0 1.21875))"]),
    )
    certificate = tools.certify(model, claim)
    assert len(certificate.trees[0].op) > 100
    return SimpleNamespace(model=model, claim=claim, certificate=certificate, data=tc.encode(certificate), top=1.21875)
