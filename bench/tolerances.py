"""How far the elementary functions of torch and onnxruntime are from the functions themselves, beside the promise.

    python bench/tolerances.py [--on torch-cpu,torch-cuda,onnxruntime] [--points N] [--write]

The truth is the same function in float64, right to 2^-44 relatively (tests/ops/test_tolerances.py holds it against
Arb), which is charged to the library. Per function, over seeded float32 points of its domain:

    ulps       largest error beyond the promised a, in units in the last place of the exact value
    use        largest part of the promised a + r |f|: above 1 the table is broken
    at         the operand of the largest use
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchlean.ops.tolerances import TABLE_ID, TOLERANCES

MARGIN, FLOOR = 2.0**-44, 2.0**-400
TINY = 2.0**-126
LIBRARIES = ("torch-cpu", "torch-cuda", "onnxruntime")
Array = np.ndarray


def by_scalar(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of the math module on an array."""
    return lambda x: np.fromiter(map(function, x.tolist()), np.float64, x.size)


@dataclass(frozen=True)
class Function:
    """truth   in float64        torch   (torch, *tensors) -> tensor
    onnx    operator, where ONNX has one, and its attributes
    """

    truth: Callable[..., Array]
    torch: Callable[..., Any]
    onnx: str | None = None
    operands: int = 1
    attributes: dict[str, str] = field(default_factory=dict)


def plain(name: str, truth: Callable[..., Array], onnx: str | None = None, operands: int = 1) -> Function:
    """torch has it under its own name."""
    return Function(truth, lambda torch, *x: getattr(torch, name)(*x), onnx, operands)


def sigmoid(x: Array) -> Array:
    """e^x / (1 + e^x) on the left, 1 / (1 + e^-x) on the right."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def gelu(x: Array) -> Array:
    """x Phi(x) by erfc, which does not cancel on the left."""
    return 0.5 * x * by_scalar(math.erfc)(-x / math.sqrt(2.0))


def gelu_tanh(x: Array) -> Array:
    """x s(2 u), s the sigmoid, u by the constants as float32 has them; inf - inf is avoided where u is large."""
    root, cubic = (float(np.float32(c)) for c in (math.sqrt(2 / math.pi), 0.044715))
    near = np.clip(x, -100.0, 100.0)
    return x * sigmoid(2 * root * (near + cubic * near**3))


FUNCTIONS = {
    "exp": plain("exp", np.exp, "Exp"),
    "exp2": plain("exp2", np.exp2),
    "expm1": plain("expm1", np.expm1),
    "log": plain("log", np.log, "Log"),
    "log1p": plain("log1p", np.log1p),
    "log2": plain("log2", np.log2),
    "log10": plain("log10", np.log10),
    "sin": plain("sin", np.sin, "Sin"),
    "cos": plain("cos", np.cos, "Cos"),
    "tan": plain("tan", np.tan, "Tan"),
    "asin": plain("asin", np.arcsin, "Asin"),
    "acos": plain("acos", np.arccos, "Acos"),
    "atan": plain("atan", np.arctan, "Atan"),
    "sinh": plain("sinh", np.sinh, "Sinh"),
    "cosh": plain("cosh", np.cosh, "Cosh"),
    "tanh": plain("tanh", np.tanh, "Tanh"),
    "asinh": plain("asinh", np.arcsinh, "Asinh"),
    "acosh": plain("acosh", np.arccosh, "Acosh"),
    "atanh": plain("atanh", np.arctanh, "Atanh"),
    "sigmoid": plain("sigmoid", sigmoid, "Sigmoid"),
    "erf": plain("erf", by_scalar(math.erf), "Erf"),
    "gelu": Function(gelu, lambda torch, x: torch.nn.functional.gelu(x), "Gelu"),
    "gelu_tanh": Function(
        gelu_tanh,
        lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
        "Gelu",
        attributes={"approximate": "tanh"},
    ),
    "silu": Function(lambda x: x * sigmoid(x), lambda torch, x: torch.nn.functional.silu(x)),
    "softplus": Function(
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda torch, x: torch.nn.functional.softplus(x),
        "Softplus",
    ),
    "sqrt": plain("sqrt", np.sqrt, "Sqrt"),
    "rsqrt": plain("rsqrt", lambda x: 1 / np.sqrt(x)),
    "div": plain("div", np.divide, "Div", 2),
    "hypot": plain("hypot", np.hypot, None, 2),
    "atan2": plain("atan2", np.arctan2, None, 2),
    "pow": plain("pow", np.power, "Pow", 2),
}


def points(name: str, count: int, seed: int = 2026) -> tuple[Array, ...]:
    """Seeded float32 operands in the function's domain: of every magnitude, dense where functions bend, next to 1 and
    to multiples of pi / 2, and the ends. The exact value is finite in float32.
    """
    rng = np.random.default_rng(seed)
    entry, function = TOLERANCES[name], FUNCTIONS[name]
    special = np.array([TINY, 2.0**-149, 1.0, 9.0, 18.0, 20.0, 87.4, 88.7, 103.0, 2.0**-12, 2.0**24, 3.4e38])

    def draw() -> Array:
        bits = rng.integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)
        dense = [rng.uniform(-s, s, count // 3) for s in (1.0, 20.0, 110.0, 1e5)]
        near = [1 + rng.uniform(-1e-3, 1e-3, count // 6), -1 + rng.uniform(0, 1e-3, count // 6)]
        multiples = np.arange(-count // 6, count // 6) * (np.pi / 2)
        chosen = np.concatenate([*dense, *near, multiples, special, -special, [0.0]]).astype(np.float32)
        return rng.permutation(np.concatenate([bits[np.isfinite(bits)], chosen]))

    operands = tuple(draw() for _ in range(function.operands))
    operands = tuple(x[: min(map(len, operands))] for x in operands)
    if name == "pow":  # most random pairs overflow or vanish: take exponents that give every magnitude, too
        with np.errstate(all="ignore"):
            wanted = rng.uniform(-140, 127, operands[0].size) / np.log2(np.abs(operands[0].astype(np.float64)))
            mixed = np.where(rng.random(wanted.size) < 0.2, operands[1], wanted).astype(np.float32)
        operands = (operands[0], mixed)
    exact = truth(name, operands)
    kept = np.isfinite(exact) & (np.abs(exact) < 2.0**128 - 2.0**103)
    for x in operands:
        kept &= np.isfinite(x)
    ranged = np.abs(operands[1]) if name == "div" else operands[0]
    kept &= (ranged >= np.float32(entry.lo)) & (ranged <= np.float32(entry.hi))
    return tuple(x[kept] for x in operands)


def truth(name: str, operands: tuple[Array, ...]) -> Array:
    """The function in float64."""
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[name].truth(*(x.astype(np.float64) for x in operands)))


def answer(library: str, name: str, operands: tuple[Array, ...]) -> Array | None:
    """What a library computes, or None where it does not have the function. ImportError without the library."""
    if library == "onnxruntime":
        return by_onnxruntime(name, operands)
    import torch

    device = "cuda" if library == "torch-cuda" else "cpu"
    found = FUNCTIONS[name].torch(torch, *(torch.from_numpy(x).to(device) for x in operands))
    return np.asarray(found.cpu().numpy())


def by_onnxruntime(name: str, operands: tuple[Array, ...]) -> Array | None:
    """One operator, without graph rewriting."""
    import onnxruntime
    from onnx import TensorProto, helper

    operator = FUNCTIONS[name].onnx
    if operator is None:
        return None

    def tensor(at: str) -> Any:
        return helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n"])

    names = [f"x{i}" for i in range(len(operands))]
    node = helper.make_node(operator, names, ["y"], **FUNCTIONS[name].attributes)
    graph = helper.make_graph([node], "one", [tensor(n) for n in names], [tensor("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(zip(names, operands, strict=True)))[0])


def power(x: float) -> str:
    """x as a power of two, to three digits."""
    return f"2^{math.log2(x):.3g}"


def measure(name: str, operands: tuple[Array, ...], found: Array) -> dict[str, Any]:
    """The row of one function and library."""
    exact, entry = truth(name, operands), TOLERANCES[name]
    size = np.abs(exact)
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(np.float64) - exact) + MARGIN * size + FLOOR
    error = np.where(np.isfinite(found), error, np.inf)
    last = 2.0 ** (np.floor(np.log2(np.maximum(size, TINY))) - 23)
    allowed = entry.a + entry.r * size
    if name == "div":  # what a flushed dividend loses, as ops.elementwise.div_rounding charges it
        allowed = allowed + TINY / np.abs(operands[1].astype(np.float64))
    use = error / allowed
    worst = int(np.argmax(use))
    return {
        "function": name,
        "points": exact.size,
        "ulps": float(np.max(np.maximum(error - entry.a, 0.0) / last)),
        "a": power(entry.a),
        "r": power(entry.r),
        "use": float(use[worst]),
        "at": ", ".join(float(x[worst]).hex() for x in operands),
    }


def rows_of(library: str, count: int) -> list[dict[str, Any]]:
    """One row per function that the library has; the whole array and a short one, which takes another path."""
    rows = []
    for name in FUNCTIONS:
        operands = points(name, count)
        found = answer(library, name, operands)
        if found is None:
            continue
        short = tuple(x[:7] for x in operands)
        rows.append(measure(name, operands, found))
        tail = answer(library, name, short)
        assert tail is not None
        rows[-1]["use"] = max(rows[-1]["use"], measure(name, short, tail)["use"])
    return rows


def present(library: str) -> bool:
    """Whether the library and its device are here."""
    try:
        if library == "onnxruntime":
            import onnxruntime  # noqa: F401

            return True
        import torch
    except ImportError:
        return False
    return library == "torch-cpu" or torch.cuda.is_available()


def main() -> None:
    """Run and print."""
    from table import report

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(LIBRARIES), help="libraries; those that are absent are left out")
    parser.add_argument("--points", type=int, default=200_000, help="about a third of the operands per function")
    parser.add_argument("--write", action="store_true", help="keep the tables under bench/results")
    options = parser.parse_args()
    for library in options.on.split(","):
        if library not in LIBRARIES:
            parser.error(f"no such library: {library}; expected {', '.join(LIBRARIES)}")
        if not present(library):
            print(f"{library} is absent")
            continue
        rows = rows_of(library, options.points)
        worst = max(rows, key=lambda r: r["use"])
        summary = {"table": TABLE_ID, "largest use": f"{worst['use']:.3g} ({worst['function']})"}
        report(f"tolerances_{library}", rows, summary, options.write)


if __name__ == "__main__":
    main()
