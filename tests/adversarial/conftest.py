"""Networks as layers, the executions that `float32` covers, and what a verdict about them may say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import torchlean_check as tc
from torchlean import floats
from torchlean.floats import Execution, Order
from torchlean.verify.files import verify_files
from torchlean.verify.verdict import Status, Verdict
from torchlean.verify.witness import Replay

onnx = pytest.importorskip("onnx")

Layers = list[tuple[np.ndarray, np.ndarray]]  # float32 weight [out, in] and bias [out]; relu between two layers
SMALLEST = np.float32(2.0**-126)


@dataclass(frozen=True)
class Environment:
    """One way to run every sum of a network: order of its leaves (the bias comes last), and what else is left open."""

    order: Callable[[int], Order] = floats.left_fold
    fused: bool = False
    wide: bool = False
    flush: bool = False

    def run(self, x: np.ndarray, w: np.ndarray, b: np.float32) -> np.float32:
        order = self.order(len(w) + 1)
        how = Execution(order, (self.fused,) * len(w), (self.wide,) * len(order.steps), self.flush)
        return np.float32(floats.execute(how, x, w, np.asarray(b, np.float32)))


ENVIRONMENTS = {
    "left to right": Environment(),
    "right to left": Environment(lambda n: floats.permuted(floats.left_fold(n), range(n)[::-1])),
    "pairwise": Environment(floats.pairwise),
    "two lanes": Environment(lambda n: floats.strided(n, 2)),
    "blocks of four": Environment(lambda n: floats.blocked(n, 4)),
    "fused": Environment(fused=True),
    "float64 partial sums": Environment(wide=True),
    "flushed": Environment(flush=True),
}


def layer(rows: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    w = np.array(rows, np.float32)
    b = np.zeros(len(w), np.float32) if bias is None else np.array(bias, np.float32)
    assert w.tolist() == [list(map(float, row)) for row in rows], "a weight is not a float32 number"
    return w, b


def run(layers: Layers, x: np.ndarray, how: Environment | Callable[[], Environment]) -> np.ndarray:
    """Outputs of one execution; `how` may choose anew for each neuron."""
    value = np.asarray(x, np.float32)
    for k, (w, b) in enumerate(layers):
        if k:
            value = np.maximum(value, np.float32(0))
            if isinstance(how, Environment) and how.flush:
                value = np.where(value < SMALLEST, np.float32(0), value)
        rows = zip(w, b, strict=True)
        value = np.array([(how if isinstance(how, Environment) else how()).run(value, r, c) for r, c in rows])
    return value


def exact(layers: Layers, x: np.ndarray) -> list[Fraction]:
    """The outputs over the reals."""
    value = [Fraction(float(v)) for v in x]
    for k, (w, b) in enumerate(layers):
        value = [max(v, Fraction(0)) for v in value] if k else value
        value = [
            sum((Fraction(c) * v for c, v in zip(row, value, strict=True)), Fraction(c0))
            for row, c0 in zip(w.tolist(), b.tolist(), strict=True)
        ]
    return value


def network(layers: Layers) -> bytes:
    nodes, tensors, last = [], {}, "x"
    for k, (w, b) in enumerate(layers):
        tensors[f"w{k}"], tensors[f"b{k}"] = w, b
        out = "y" if k == len(layers) - 1 else f"z{k}"
        nodes.append(("Gemm", [last, f"w{k}", f"b{k}"], out, {"transB": 1}))
        if out != "y":
            nodes.append(("Relu", [out], f"a{k}", {}))
        last = f"a{k}"
    return model(nodes, tensors, (1, layers[0][0].shape[1]))


def model(nodes: Sequence[tuple], weights: dict[str, np.ndarray], shape: Sequence[int], opset: int = 15) -> bytes:
    """An ONNX file of (op, inputs, output, attributes), from x to y."""
    h, f = onnx.helper, onnx.TensorProto.FLOAT
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
    made = [h.make_node(op, list(ins), [out], name=f"{op}_{n}", **more) for n, (op, ins, out, more) in enumerate(nodes)]
    ends = [[h.make_tensor_value_info(name, f, s)] for name, s in (("x", shape), ("y", None))]
    graph = h.make_graph(made, "g", *ends, initializer=tensors)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8).SerializeToString()


def decimal(value: float) -> str:
    """A float as the decimal that equals it."""
    return format(Decimal(float(value)), "f")


def claim(lo: Sequence[float], hi: Sequence[float], outputs: int, *violation: str) -> bytes:
    """The property whose violation is all of `violation`, over the box of exact decimals."""
    lines = [f"(declare-const {v}_{i} Real)" for v, n in (("X", len(lo)), ("Y", outputs)) for i in range(n)]
    lines += [f"(assert (>= X_{i} {decimal(v)}))" for i, v in enumerate(lo)]
    lines += [f"(assert (<= X_{i} {decimal(v)}))" for i, v in enumerate(hi)]
    return "\n".join([*lines, *(f"(assert {g})" for g in violation)]).encode()


def not_claimed(files: tuple[bytes, bytes], timeout: float = 10.0) -> Verdict:
    """The verdict on files that some float32 execution violates, held to everything that it may say."""
    verdict = verify_files(*files, timeout=timeout, workers=1)
    assert verdict.status is not Status.UNSAT or verdict.semantics == "real", str(verdict)
    if verdict.status is Status.SAT:
        again = Replay(*files).check(verdict.witness.x)
        assert again is not None and again.membership != "outside" and (again.reference or again.real)
        assert again.y.tolist() == verdict.witness.y.tolist()
    if verdict.certificate is not None:
        checked = tc.check(*files, verdict.certificate)
        assert (checked.status, checked.semantics) == ("valid", "real")
        for arithmetic in ("rounded", "exact"):
            forged = tc.encode(replace(tc.decode(verdict.certificate), semantics="float32"))
            assert tc.check(*files, forged, arithmetic=arithmetic).status == "invalid"
    return verdict


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    return SimpleNamespace(
        Environment=Environment,
        environments=ENVIRONMENTS,
        layer=layer,
        run=run,
        exact=exact,
        network=network,
        model=model,
        claim=claim,
        decimal=decimal,
        not_claimed=not_claimed,
    )
