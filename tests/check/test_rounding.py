"""Rounding certificates: what is derived holds on executions; every false or damaged certificate is refused."""

from __future__ import annotations

import json
import struct

import flint
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchlean_check import wire
from torchlean_check.cli import main
from torchlean_check.errors import CheckError
from torchlean_check.magic import ROUNDING as MAGIC
from torchlean_check.rounding import derive
from torchlean_check.rounding_verdict import check_rounding, claim_of, decode, encode
from torchlean_check.vnnlib_reader import read_property

RNG = np.random.default_rng(3)


def model_of(nodes, weights, shapes, output="y", opset=18, kinds=None):
    made = [helper.make_node(op, list(i), [o], name=f"{op}_{k}", **a) for k, (op, i, o, a) in enumerate(nodes)]
    kinds = kinds or {}
    ins = [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in shapes.items()]
    outs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(np.asarray(a), k) for k, a in weights.items()]
    graph = helper.make_graph(made, "g", ins, outs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def region_of(bounds):
    lines = [f"(declare-const X_{i} Real)" for i in range(len(bounds))] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{i} {a}))\n(assert (<= X_{i} {b}))" for i, (a, b) in enumerate(bounds)]
    return "\n".join([*lines, "(assert (<= Y_0 0.0))"]).encode()


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


W, B, V = f32(4, 3), f32(4), f32(2, 4)
NET = [("Gemm", "xwb", "h", {"transB": 1}), ("Relu", "h", "r", {}), ("MatMul", "rv", "y", {})]


@pytest.fixture(scope="module")
def small():
    model = model_of(NET, {"w": W, "b": B, "v": V.T.copy()}, {"x": [1, 3]})
    region = region_of([("-0.5", "0.25")] * 3)
    twins = derive(wire.parse(model), read_property(region).regions[0])
    claims = [claim_of(n, t) for n, t in twins.items()]
    return model, region, claims, encode(model, region, claims, "test")


def test_what_was_derived_is_valid(small):
    model, region, claims, data = small
    verdict = check_rounding(model, region, data)
    assert (verdict.status, verdict.claims) == ("valid", 4) and verdict.hash and verdict.table == "tolerances-1"
    name, apart, lo, hi, *real = {c[0]: c for c in claims}["y"]
    assert name == "y" and 0 < apart < 1e-5 and lo < real[0] < real[1] < hi


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
def test_one_ulp_too_tight_is_invalid(small, place):
    model, region, claims, _ = small
    for k in range(len(claims)):
        claim = list(claims[k])
        inward = {1: -np.inf, 2: np.inf, 3: -np.inf, 4: np.inf, 5: -np.inf}[place]
        claim[place] = float(np.nextafter(claim[place], inward))
        false = encode(model, region, [*claims[:k], tuple(claim), *claims[k + 1 :]], "t")
        verdict = check_rounding(model, region, false)
        assert verdict.status == "invalid" and verdict.where == (f"'{claim[0]}': the bounds are not derived",)


def changed(data, **keys):
    header = json.loads(data[len(MAGIC) :])
    header.update(keys)
    return MAGIC + json.dumps(header).encode()


def bits(*numbers):
    return [struct.pack(">d", v).hex() for v in numbers]


@pytest.mark.parametrize("title, damage", [
    ("the header is truncated", lambda d: d[:-1]),
    ("empty file", lambda d: b""),
    ("another magic", lambda d: b"TLCERT1\n" + d[9:]),
    ("unknown field", lambda d: changed(d, more=1)),
    ("missing field", lambda d: MAGIC + json.dumps({"format": 1}).encode()),
    ("a field of another type", lambda d: changed(d, writer=3)),
    ("unknown format", lambda d: changed(d, format=2)),
    ("unknown semantics", lambda d: changed(d, semantics="real")),
    ("unknown tolerance table", lambda d: changed(d, table="tolerances-9")),
    ("wrong hash of the model", lambda d: changed(d, model="0" * 64)),
    ("wrong hash of the region", lambda d: changed(d, region="0" * 64)),
    ("no claims", lambda d: changed(d, claims=[])),
    ("a NaN", lambda d: changed(d, claims=[["y", *bits(np.nan, -9, 9, -9, 9)]])),
    ("an infinite bound", lambda d: changed(d, claims=[["y", *bits(np.inf, -9, 9, -9, 9)]])),
    ("a number as a number", lambda d: changed(d, claims=[["y", 1, 2, 3, 4, 5]])),
    ("a decimal", lambda d: changed(d, claims=[["y", 0.5]])),
    ("too few numbers", lambda d: changed(d, claims=[["y", *bits(1, -9, 9, -9)]])),
    ("short bits", lambda d: changed(d, claims=[["y", "00", *bits(-9, 9, -9, 9)]])),
    ("a value that the graph lacks", lambda d: changed(d, claims=[["z", *bits(1, -9, 9, -9, 9)]])),
    ("a weight", lambda d: changed(d, claims=[["w", *bits(1, -9, 9, -9, 9)]])),
    ("a value claimed twice", lambda d: changed(d, claims=2 * [["y", *bits(1, -9, 9, -9, 9)]])),
    ("a key given twice", lambda d: d[:-1] + b',"format":1}'),
    ("trailing bytes", lambda d: d + b"x"),
])  # fmt: skip
def test_damaged_certificates_are_refused(small, title, damage):
    model, region, _, data = small
    with pytest.raises(CheckError):
        check_rounding(model, region, damage(data))


def test_other_files_are_refused(small):
    model, region, _, data = small
    other = model_of(NET, {"w": W, "b": B + 1, "v": V.T.copy()}, {"x": [1, 3]})
    with pytest.raises(CheckError, match="another ONNX model"):
        check_rounding(other, region, data)
    with pytest.raises(CheckError, match="another region"):
        check_rounding(model, region_of([("-0.5", "0.26")] * 3), data)


@pytest.mark.parametrize("title, nodes, weights", [
    ("unknown op", [("Erf", "x", "y", {})], {}),
    ("unknown attribute", [("Gemm", "xw", "y", {"transB": 1, "alpha": 2.0})], {"w": W}),
    ("a discrete op without a rule", [("ArgMax", "x", "y", {})], {}),
    ("a division through zero", [("Div", "wx", "y", {})], {"w": f32(1, 3)}),
    ("a root of what may be negative", [("Sqrt", "x", "y", {})], {}),
    ("a logarithm at zero", [("Relu", "x", "a", {}), ("Log", "a", "y", {})], {}),
    ("an overflow", [("Mul", "xw", "a", {}), ("Exp", "a", "y", {})], {"w": np.full((1, 3), 1e3, np.float32)}),
    ("a partial sum that overflows", [("MatMul", "xw", "y", {})], {"w": np.float32([[3e38], [3e38], [-3e38]])}),
    ("a weight that is not finite", [("Add", "xw", "y", {})], {"w": np.array([[np.inf, 0, 0]], np.float32)}),
    ("shapes that do not fit", [("MatMul", "xw", "y", {})], {"w": f32(4, 3)}),
    ("types that do not fit", [("Add", "xw", "y", {})], {"w": np.ones((1, 3))}),
    ("a name used before it is defined", [("Relu", "a", "y", {}), ("Relu", "x", "a", {})], {}),
    ("a name defined twice", [("Relu", "x", "y", {}), ("Relu", "x", "y", {})], {}),
])  # fmt: skip
def test_models_beyond_the_rules_are_refused(title, nodes, weights):
    scale = region_of([("-1.0", "1.0")] * 3)
    with pytest.raises(CheckError) as error:
        derive(wire.parse(model_of(nodes, weights, {"x": [1, 3]})), read_property(scale).regions[0])
    assert "ONNX model" in error.value.where


def test_a_region_of_another_size_is_refused(small):
    with pytest.raises(CheckError, match="region does not fit"):
        derive(wire.parse(small[0]), read_property(region_of([("0.0", "1.0")] * 4)).regions[0])


CASES = {
    "sums and products": ([("Mul", "xw", "a", {}), ("Add", "ax", "b", {}), ("Sub", "bw", "c", {}),
                           ("Neg", "c", "d", {}), ("Mul", "dd", "y", {})], {"w": f32(1, 3)}),
    "two varying factors": ([("Transpose", "x", "t", {"perm": [1, 0]}), ("MatMul", "tx", "y", {})], {}),
    "division": ([("Abs", "x", "a", {}), ("Add", "aw", "b", {}), ("Div", "xb", "y", {})],
                 {"w": np.float32([[0.5, 1, 2]])}),
    "functions": ([("Exp", "x", "a", {}), ("Tanh", "a", "b", {}), ("Sigmoid", "x", "c", {}), ("Mul", "bc", "d", {}),
                   ("Sqrt", "a", "e", {}), ("Log", "e", "f", {}), ("Add", "df", "y", {})], {}),
    "choice": ([("Less", "xw", "c", {}), ("Neg", "x", "n", {}), ("Where", "cxn", "a", {}), ("Max", "aw", "b", {}),
                ("Min", "bx", "d", {}), ("LessOrEqual", "wx", "e", {}), ("Where", "edw", "y", {})],
               {"w": f32(1, 3) / 8}),
    "sums over axes": ([("ReduceSum", "xk", "a", {"keepdims": 1}), ("Sub", "xa", "b", {}), ("ReduceSum", "b", "y", {})],
                       {"k": np.array([1])}),
    "layout": ([("Unsqueeze", "xk", "a", {}), ("Concat", "ab", "c", {"axis": 1}), ("Slice", "ckmk", "d", {}),
                ("Reshape", "ds", "e", {}), ("Identity", "e", "y", {})],
               {"k": np.array([1]), "b": f32(1, 2, 3), "m": np.array([3]), "s": np.array([-1, 2])}),
    "double and back": ([("Cast", "x", "a", {"to": 11}), ("Mul", "aw", "b", {}), ("Cast", "b", "y", {"to": 1})],
                        {"w": np.full((1, 3), 1 / 3)}),
    "network": (NET, {"w": W, "b": B, "v": V.T.copy()}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [0.0, 0.01, 0.5])
def test_derived_bounds_hold_on_executions(name, width):
    """The float32 run of the ONNX reference evaluator, and the same graph over balls of 200 bits. No tolerance."""
    nodes, weights = CASES[name]
    model = model_of(nodes, weights, {"x": [1, 3]})
    middle = RNG.normal(size=3)
    region = region_of([(f"{m - width:.6f}", f"{m + width:.6f}") for m in middle])
    part = read_property(region).regions[0]
    twins = derive(wire.parse(model), part)
    from onnx.reference import ReferenceEvaluator

    names = [n for n in twins if n != "x"]
    graph = onnx.load_from_string(model)
    runner = ReferenceEvaluator(_showing(graph, names))
    for _ in range(8):
        x = np.clip(part.lo + (part.hi - part.lo) * RNG.random(3), part.lo, part.hi).astype(np.float32).reshape(1, 3)
        found = dict(zip(names, runner.run(None, {"x": x}), strict=True))
        with flint.ctx.workprec(200):
            exact = wide(nodes, weights, x)
        for n in names:
            t, f = twins[n], found[n].astype(float)
            assert ((t.lo <= f) & (f <= t.hi)).all(), n
            columns = (f, exact[n], t.real_lo, t.real_hi, t.apart)
            for value, ball, low, high, apart in zip(*(np.ravel(c).tolist() for c in columns), strict=True):
                with flint.ctx.workprec(200):
                    ball = flint.arb(int(ball) if isinstance(ball, bool) else ball)
                    assert flint.arb(low) <= ball.upper() and ball.lower() <= flint.arb(high), n
                    assert abs(flint.arb(value) - ball).lower() <= flint.arb(apart), n


def _showing(model, names):
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    return model


def wide(nodes, weights, x):
    """Every value over balls, by numpy's loops over objects."""

    def balls(a):
        a = np.asarray(a)
        if a.dtype.kind != "f":
            return a
        return np.array([flint.arb(v) for v in a.ravel().tolist()] + [None], object)[:-1].reshape(a.shape)

    values = {k: balls(v) for k, v in {"x": x, **weights}.items()}
    ops = {
        "Mul": np.multiply, "Add": np.add, "Sub": np.subtract, "Neg": np.negative, "MatMul": np.matmul,
        "Div": np.divide, "Abs": np.abs, "Exp": np.exp, "Tanh": np.tanh, "Sqrt": np.sqrt,
        "Sigmoid": lambda a: 1 / (1 + np.exp(-a)), "Log": np.log, "Less": np.less, "LessOrEqual": np.less_equal,
        "Where": np.where, "Max": np.maximum,
        "Min": np.minimum, "Relu": lambda a: np.maximum(a, flint.arb(0)), "Identity": lambda a: a, "Cast": lambda a: a,
        "Unsqueeze": lambda a, k: np.expand_dims(a, tuple(k)), "Reshape": lambda a, s: a.reshape(s),
        "Slice": lambda a, s, e, k: a[:, s[0] : e[0]], "Concat": lambda *a: np.concatenate(a, 1),
        "Transpose": lambda a: a.T, "Gemm": lambda a, w, b: a @ w.T + b,
        "ReduceSum": lambda a, k=None: a.sum(keepdims=True) if k is None else a.sum(tuple(k), keepdims=True),
    }  # fmt: skip
    for op, inputs, output, _ in nodes:
        values[output] = ops[op](*(values[i] for i in inputs))
    return values


def test_integer_inputs_are_whole_numbers():
    model = model_of([("Cast", "k", "a", {"to": 1}), ("Add", "ax", "y", {})], {}, {"x": [2], "k": [2]},
                     kinds={"k": TensorProto.INT64})  # fmt: skip
    region = region_of([("0.0", "1.0"), ("0.0", "1.0"), ("2.0", "2.0"), ("0.5", "3.5")])
    twins = derive(wire.parse(model), read_property(region).regions[0])
    assert twins["k"].lo.tolist() == [2, 1] and twins["k"].hi.tolist() == [2, 3]
    with pytest.raises(CheckError, match="region does not fit"):
        bad = region_of([("0.0", "1.0"), ("0.0", "1.0"), ("2.0", "2.0"), ("0.25", "0.5")])
        derive(wire.parse(model), read_property(bad).regions[0])


def test_a_claim_says_what_its_bits_say(small):
    _, _, claims, data = small
    header, found = decode(data)
    assert found == tuple(claims) and header["writer"] == "test"


def test_the_command_decides_by_the_file_s_header(small, tmp_path, capsys):
    model, region, claims, data = small
    paths = [tmp_path / n for n in ("m.onnx", "r.vnnlib", "c.tlround")]
    for path, content in zip(paths, (model, region, data), strict=True):
        path.write_bytes(content)
    words = [str(p) for p in paths]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("valid ") and "tolerances-1" in out and "sha256" in out
    assert main([*words, "--json"]) == 0 and json.loads(capsys.readouterr().out)["claims"] == 4
    false = [(n, a / 2, *rest) for n, a, *rest in claims]
    paths[2].write_bytes(encode(model, region, false, "test"))
    assert main(words) == 4
    out = capsys.readouterr().out
    assert out.startswith("invalid ") and "claim" not in out.split("\n")[1]
    paths[2].write_bytes(data[:-3])
    assert main(words) == 4
    got = capsys.readouterr()
    assert got.out.startswith("invalid") and got.err.count("CheckError") == 1
