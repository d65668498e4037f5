"""The official parser (package `vnnlib`) as oracle: what it reads means the same here; what it refuses is refused."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction as F

import pytest

from torchlean.errors import DataError
from torchlean.io.query import read_query

vnnlib = pytest.importorskip("vnnlib", reason="the official parser is not installed")

NETWORKS = (
    "(declare-network f (declare-input X real [1,2]) (declare-output Y real [2]))\n",
    "(declare-network f (declare-input X float32 [1,2]) (declare-input A float32 [2,2]) "
    '(declare-hidden H float32 [2] "h") (declare-output Y float32 [1,2]))\n'
    "(declare-network g (equal-to f) (declare-input U float32 [1,2]) (declare-input V float32 [2,2])"
    " (declare-output Z float32 [1,2]))\n",
)
GRID = [F(n, 2) for n in range(-2, 3)]


def meaning(node, values: dict[str, list[F]]):
    """The official syntax tree, evaluated: a bool or an exact number."""
    kind = type(node).__name__
    if kind in ("And", "Or"):
        return (all if kind == "And" else any)([meaning(part, values) for part in node.args])
    if kind == "Var":
        at = 0
        for index, size in zip(node.indices, node.shape, strict=True):
            at = at * size + index
        return values[node.name][at]
    if kind in ("Float", "Int"):
        return F(node.lexeme)
    if kind == "Negate":
        return -meaning(node.expr, values)
    if kind == "Plus":
        return sum((meaning(part, values) for part in node.args), F(0))
    if kind == "Minus":
        return meaning(node.head, values) - sum((meaning(part, values) for part in node.rest), F(0))
    if kind == "Multiply":
        product = F(1)
        for part in node.args:
            product *= meaning(part, values)
        return product
    a, b = meaning(node.lhs, values), meaning(node.rhs, values)
    return {"LessEqual": a <= b, "LessThan": a < b, "GreaterEqual": a >= b, "GreaterThan": a > b, "Equal": a == b,
            "NotEqual": a != b}[kind]  # fmt: skip


class Writer:
    """Random well-formed queries."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.networks = NETWORKS[seed % 2]
        query = vnnlib.parse_query_string(f"(vnnlib-version <2.0>){self.networks}(assert (<= 0.0 0.0))")
        self.sizes = {v.name: (v.kind, list(v.shape))
                      for n in query.networks for v in (*n.inputs, *n.hidden, *n.outputs)}  # fmt: skip
        self.elements = {name: [f"{name}[{','.join(map(str, index))}]"
                                for index in itertools.product(*map(range, shape))]
                         for name, (_, shape) in self.sizes.items()}  # fmt: skip

    def is_input(self, name: str) -> bool:
        return "Input" in str(self.sizes[name][0])

    def number(self) -> str:
        return self.rng.choice(["0.0", "0.5", "-0.5", "1.0", "-1.0", "0.25", "2.0"])

    def element(self) -> str:
        return self.rng.choice([e for name in self.sizes for e in self.elements[name]])  # fmt: skip

    def term(self, depth: int) -> str:
        choice = self.rng.randrange(6 if depth else 2)
        parts = " ".join(self.term(depth - 1) for _ in range(self.rng.randint(1, 3))) if choice > 1 else ""
        return (self.element, self.number, lambda: f"(+ {parts})", lambda: f"(- {parts})", lambda: f"(+ {parts})",
                lambda: f"(* {self.number()} {self.term(depth - 1)})")[choice]()  # fmt: skip

    def formula(self, depth: int) -> str:
        if depth and self.rng.random() < 0.6:
            parts = " ".join(self.formula(depth - 1) for _ in range(self.rng.randint(1, 3)))
            return f"({self.rng.choice(['and', 'or'])} {parts})"
        relation = self.rng.choice(["<=", ">=", "<", ">", "==", "!="])
        if self.rng.random() < 0.4:
            return f"({relation} {self.element()} {self.number()})"
        return f"({relation} {self.term(2)} {self.term(1)})"

    def text(self) -> str:
        lines = ["(vnnlib-version <2.0>)", self.networks]
        for name in self.sizes:
            if self.is_input(name):
                lines += [f"(assert (>= {e} -1.0))(assert (<= {e} {self.rng.choice(['1.0', '0.5'])}))"
                          for e in self.elements[name]]  # fmt: skip
        return "\n".join([*lines, *(f"(assert {self.formula(2)})" for _ in range(self.rng.randint(1, 3)))])


@pytest.mark.parametrize("seed", range(60))
def test_random_queries_mean_the_same(seed: int) -> None:
    writer = Writer(seed)
    text = writer.text()
    official = vnnlib.parse_query_string(text)
    rng = random.Random(seed + 1)
    points = [{name: [rng.choice(GRID) for _ in names] for name, names in writer.elements.items()} for _ in range(80)]
    truths = [all(meaning(a.expr, values) for a in official.assertions) for values in points]
    try:
        query = read_query(text.encode())
    except DataError as contradiction:
        assert "no input at all" in str(contradiction) or "above its upper" in str(contradiction)
        assert not any(truths)
        return
    for values, truth in zip(points, truths, strict=True):
        x = [v for name, part in values.items() if writer.is_input(name) for v in part]
        y = [v for name, part in values.items() if not writer.is_input(name) for v in part]
        assert query.violation.evaluate_exact(x, y) is truth, (text, values)


def test_most_random_queries_are_satisfiable_somewhere() -> None:
    """The comparison above is not between two files that are always false."""
    hit = 0
    for seed in range(20):
        writer = Writer(seed)
        official = vnnlib.parse_query_string(writer.text())
        rng = random.Random(seed + 1)
        for _ in range(80):
            values = {name: [rng.choice(GRID) for _ in names] for name, names in writer.elements.items()}
            if all(meaning(a.expr, values) for a in official.assertions):
                hit += 1
                break
    assert hit >= 7
