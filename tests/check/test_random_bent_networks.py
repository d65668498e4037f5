"""Random networks with curves, products and choices: no execution lies below a proved bound or in a refuted clause.

Executions are computed from the ONNX nodes with rationals: exactly (functions to 2^-200), or with every operation
erring by nearly all that SEMANTICS 2 and 3 allow, in random directions.
"""

import itertools
import math
from fractions import Fraction
from unittest import mock

import flint
import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import forms
from torchlean_check.rules.read_curves import TOLERANCES

U, TINY = Fraction(1, 2**24), Fraction(1, 2**126)
TABLE = {  # absolute, relative
    "Exp": (2.0**-124, 2.0**-20),
    "Log": (2.0**-126, 2.0**-20),
    "Sqrt": (2.0**-62, 2.0**-22),
    "Sin": (2.0**-125, 2.0**-20),
    "Cos": (2.0**-125, 2.0**-20),
    "Tanh": (2.0**-125, 2.0**-20),
    "Sigmoid": (2.0**-21, 2.0**-20),
    "Erf": (2.0**-124, 2.0**-20),
    "Softplus": (2.0**-124, 2.0**-20),
    "Gelu": (2.0**-20, 2.0**-20),
    "Rsqrt": (2.0**-126, 2.0**-20),
    "Reciprocal": (2.0**-126, 3 * 2.0**-24),
}
RANGE = {"Exp": (0, None), "Sqrt": (0, None), "Sigmoid": (0, 1), "Tanh": (-1, 1), "Sin": (-1, 1), "Cos": (-1, 1),
         "Erf": (-1, 1), "Softplus": (0, None)}  # fmt: skip
ARB = {
    "Exp": lambda x: x.exp(),
    "Log": lambda x: x.log(),
    "Sqrt": lambda x: x.sqrt(),
    "Sin": lambda x: x.sin(),
    "Cos": lambda x: x.cos(),
    "Tanh": lambda x: x.tanh(),
    "Sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "Erf": lambda x: x.erf(),
    "Softplus": lambda x: x.exp().log1p(),
    "Gelu": lambda x: x / 2 * (-x / flint.arb(2).sqrt()).erfc(),
    "Rsqrt": lambda x: 1 / x.sqrt(),
    "Reciprocal": lambda x: 1 / x,
}
SELU = 1.67326319217681884765625, 1.05070102214813232421875
UNITS = ("Elu", "Selu", "HardSigmoid", "HardSwish", "Mish")
KINDS = [*2 * ("curve", "times"), "affine", "relu", "guarded", "over", "matmul", "softmax", "extreme", "clip", "leaky",
         "abs", "sum", "step", "pow", "silu", "gelu", "gate",
         "norm", "unit", "choice"]  # fmt: skip


def function(name, x):
    with flint.ctx.workprec(260):
        y = ARB[name](flint.arb(flint.fmpq(x.numerator, x.denominator))).mid()
        mantissa, exponent = y.man_exp()
        return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


class Graph:
    """A random graph whose values stay of ordinary size; `run` executes it."""

    def __init__(self, seed, kinds=None):
        self.rng, self.opset = np.random.default_rng(seed), 23 if seed % 4 < 2 else 13
        self.script, self.at, self.truths = None, 0, set()
        self.weights, self.nodes, self.shapes, self.last = {}, [], {"x": (2, 2)}, "x"
        for kind in kinds or self.rng.choice(KINDS, int(self.rng.integers(2, 7))):
            self.grow(str(kind))
        self.add("Reshape", [self.last, self.constant(np.array([1, 4], np.int64))], (1, 4))
        self.add("MatMul", [self.last, self.constant(self.rng.normal(size=(4, 2)).astype(np.float32))], (1, 2))

    def constant(self, values):
        self.weights[f"w{len(self.weights)}"] = values
        return f"w{len(self.weights) - 1}"

    def floats(self, *shape, scale=0.7):
        return self.constant((scale * self.rng.normal(size=shape)).astype(np.float32))

    def add(self, op, inputs, shape, **attributes):
        self.last = f"t{len(self.nodes)}"
        self.nodes.append((op, inputs, self.last, attributes))
        self.shapes[self.last] = shape
        if op in ("Less", "Not", "And", "Or"):
            self.truths.add(self.last)
        return self.last

    def grow(self, kind):
        rng, x, shape = self.rng, self.last, (2, 2)
        other = str(rng.choice([name for name, s in self.shapes.items() if s == shape and name not in self.truths]))
        if kind == "affine":
            self.add("MatMul", [x, self.floats(2, 2)], shape)
            self.add("Add", [self.last, self.floats(2)], shape)
        elif kind == "relu":
            self.add("Relu", [x], shape)
        elif kind == "curve":
            self.add(str(rng.choice(["Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Softplus"])), [x], shape)
        elif kind == "guarded":  # an argument that is at least 1/2 and not large
            positive = self.add("Add", [self.add("Sigmoid", [x], shape), self.constant(np.float32([0.5]))], shape)
            self.add(str(rng.choice(["Log", "Sqrt", "Reciprocal", "Exp"])), [positive], shape)
        elif kind == "times":
            self.add("Mul", [self.add("Tanh", [x], shape), str(rng.choice([other, self.last]))], shape)
        elif kind == "over":
            below = self.add("Add", [self.add("Sigmoid", [x], shape), self.constant(np.float32([[0.25]]))], shape)
            self.add("Div", [other, below], shape)
        elif kind == "matmul":
            self.add("MatMul", [self.add("Sin", [x], shape), other], shape)
        elif kind == "softmax":
            self.add("Softmax", [x], shape, axis=int(rng.integers(-1, 2)))
        elif kind == "extreme":
            ends = [x, other, self.floats(1, 2)][: int(rng.integers(2, 4))]
            self.add(str(rng.choice(["Max", "Min"])), ends, shape)
        elif kind == "clip":
            self.add("Clip", [x, self.constant(np.float32(-0.3)), self.constant(np.float32(0.4))], shape)
        elif kind == "leaky":
            self.add("LeakyRelu", [x], shape, alpha=float(np.float32(0.1)))
        elif kind == "abs":
            self.add("Abs", [x], shape)
        elif kind == "sum":
            op = str(rng.choice(["ReduceSum", "ReduceMean"]))
            old = op == "ReduceMean" and self.opset < 18
            axes = {"axes": [1]} if old else {}
            inputs = [x] if old else [x, self.constant(np.array([1], np.int64))]
            self.add("Add", [self.add(op, inputs, (2, 1), keepdims=1, **axes), other], shape)
        elif kind == "step":
            self.add(str(rng.choice(["Floor", "Sign"])), [x], shape)
        elif kind == "pow":
            if rng.random() < 0.5:
                base, powers = self.add("Tanh", [x], shape), (2.0, 3.0, 4.0, 9.0)
            else:  # of what is at least 1/2 and not large
                sigmoid = self.add("Sigmoid", [x], shape)
                base = self.add("Add", [sigmoid, self.constant(np.float32([0.5]))], shape)
                powers = (0.3, 0.5, 2.7, -0.5, -3.0)
            self.add("Pow", [base, self.constant(np.float32(rng.choice(powers)))], shape)
        elif kind == "silu":
            self.add("Mul", [x, self.add("Sigmoid", [x], shape)][:: int(rng.choice([1, -1]))], shape)
        elif kind == "gelu":  # as its parts, in the three orders of exporters
            scale, half = str(rng.choice(["Mul", "Div"])), self.constant(np.float32(0.5))
            root = self.constant(np.float32(math.sqrt(0.5 if scale == "Mul" else 2.0)))
            erf = self.add("Erf", [self.add(scale, [x, root], shape)], shape)
            one = self.add("Add", [erf, self.constant(np.float32(1.0))], shape)
            order = int(rng.integers(3))
            if order == 0:
                self.add("Mul", [self.add("Mul", [x, one], shape), half], shape)
            elif order == 1:
                self.add("Mul", [self.add("Mul", [x, half], shape), one], shape)
            else:
                self.add("Mul", [x, self.add("Mul", [half, one], shape)], shape)
        elif kind == "norm" and self.opset > 13:
            eps = {"epsilon": float(np.float32(rng.choice([1e-3, 0.1]))), "axis": int(rng.integers(2))}
            size = (2, 2) if eps["axis"] == 0 else (2,)
            one = rng.random() < 0.4
            vectors = [self.floats(*size), *([] if one else [self.floats(*size)])]
            self.add("RMSNormalization" if one else "LayerNormalization", [x, *vectors], shape, **eps)
        elif kind == "choice":
            wide = self.floats(2, 2)
            first = self.add("Less", [x, wide], shape)
            second = self.add("Not", [self.add("Less", [other, x], shape)], shape)
            both = self.add(str(rng.choice(["And", "Or"])), [first, second], shape)
            self.add("Where", [both, other, x], shape)
        elif kind == "unit" or kind in UNITS:
            op = str(rng.choice(UNITS[: 5 if self.opset > 13 else 3])) if kind == "unit" else kind
            self.add(op, [x], shape, **({"alpha": float(rng.choice([0.5, 1.5]))} if op == "Elu" else {}))
        elif kind in ("gate", "norm"):
            wide = self.add("Mul", [x, self.constant(np.float32([[3.0]]))], shape)
            self.add("Gelu" if self.opset > 13 else "Softplus", [wide], shape)

    # -- executions ----------------------------------------------------------------------------------------------------

    def run(self, point, errs):
        values = {"x": np.array(point, object).reshape(2, 2)}
        for name, array in self.weights.items():
            values[name] = np.array([Fraction(v) for v in array.ravel().tolist()], object).reshape(array.shape)
        self.errs = errs
        for op, inputs, name, attributes in self.nodes:
            v = [values[i] for i in inputs]
            values[name] = np.array(self.entries(op, v, attributes), object).reshape(self.shapes[name])
        return values[self.last].ravel()

    def part(self):
        if self.script is not None:  # all that is allowed, in the directions of the script
            self.at += 1
            self.script += [1] * (self.at - len(self.script))
            return self.script[self.at - 1] * Fraction(999, 1000) * self.errs
        return Fraction(float(self.rng.choice([-1.0, 1.0, self.rng.uniform(-1, 1)]))) * Fraction(999, 1000) * self.errs

    def rounded(self, y, units=1):
        return y + self.part() * (units * U * abs(y) + TINY) if y else y

    def near(self, name, x):
        y = function(name, x)
        absolute, relative = (Fraction(t) for t in TABLE[name])
        y = y + self.part() * (absolute + relative * abs(y))
        low, high = RANGE.get(name, (None, None))
        y = y if low is None else max(y, Fraction(low))
        return y if high is None else min(y, Fraction(high))

    def power(self, x, p):
        """By the table, or by products, or by a logarithm and an exponential."""
        whole = p == int(p) and p > 0
        y = x ** int(p) if whole else function("Exp", p * function("Log", x))
        if not self.errs or p == Fraction(1, 2) or self.rng.random() < 0.5:
            return y + self.part() * (Fraction(2.0**-124) + Fraction(2.0**-19) * abs(y))
        if not whole:
            return self.near("Exp", self.rounded(p * self.near("Log", x)))
        y = x
        for _ in range(int(p) - 1):
            y = self.rounded(y * x)
        return y

    def unit(self, op, x, attributes):
        other = self.errs and self.rng.random() < 0.5  # another formula
        if op == "Mish":
            return self.rounded(x * self.near("Tanh", self.near("Softplus", x)))
        if op == "HardSigmoid":
            y = self.rounded(self.rounded(Fraction(float(np.float32(0.2))) * x) + Fraction(1, 2))
            return min(max(y, Fraction(0)), Fraction(1))
        if op == "HardSwish":
            if other:
                return self.rounded(self.rounded(x * min(max(self.rounded(x + 3), 0), 6)) / 6, 3)
            sixth = Fraction(float(np.float32(1 / 6))) if self.errs else Fraction(1, 6)
            y = self.rounded(self.rounded(sixth * x) + Fraction(1, 2))
            return self.rounded(x * min(max(y, Fraction(0)), Fraction(1)))
        alpha, gamma = (Fraction(attributes["alpha"]), None) if op == "Elu" else map(Fraction, SELU)
        if x > 0:
            return x if gamma is None else self.rounded(gamma * x)
        below = self.rounded(self.near("Exp", x) - 1)
        if gamma is None:
            return self.rounded(alpha * below)
        return self.rounded(self.rounded(gamma * alpha) * below) if other else self.rounded(
            gamma * self.rounded(alpha * below)
        )

    def total(self, terms):
        terms = [terms[i] for i in self.rng.permutation(len(terms))]
        y = terms[0]
        for t in terms[1:]:
            y = self.rounded(y + t)
        return y

    def softmax(self, row):
        shift = max(row) + (self.part() if self.errs else 0)
        terms = []
        for e in row:
            gap = e - shift
            terms.append(self.near("Exp", gap + self.part() * U * abs(gap)))
        total = self.total(terms)
        return [self.rounded(t / total, 3) for t in terms]

    def norm(self, row, scale, bias, eps):
        """By the definition, or with the quotient or the scale before the difference."""
        mean = self.rounded(self.total(row) / len(row), 2) if bias is not None else Fraction(0)
        apart = [self.rounded(e - mean) for e in row] if bias is not None else row
        square = self.rounded(self.total([self.rounded(d * d) for d in apart]) / len(row), 2)
        v = self.rounded(square + eps)
        form, found = int(self.rng.integers(4)) if self.errs else 0, []
        root = self.near("Rsqrt", v)
        for e, d, g, b in zip(row, apart, scale, row if bias is None else bias, strict=True):
            if form == 0:
                y = self.rounded(self.rounded(d * root) * g)
            elif form == 1:
                y = self.rounded(self.rounded(d / self.near("Sqrt", v), 3) * g)
            elif form == 2:
                y = self.rounded(self.rounded(self.rounded(e * root) - self.rounded(mean * root)) * g)
            else:
                both = self.rounded(root * g)
                y = self.rounded(self.rounded(e * both) - self.rounded(mean * both))
            found.append(y if bias is None else self.rounded(y + b))
        return found

    def entries(self, op, v, attributes):
        x = v[0]
        if op in TABLE:
            return [self.near(op, e) for e in x.ravel()]
        if op in UNITS:
            return [self.unit(op, e, attributes) for e in x.ravel()]
        if op.endswith("Normalization"):
            rows = [list(x.ravel())] if attributes["axis"] == 0 else [list(row) for row in x]
            scale, bias = v[1].ravel().tolist(), v[2].ravel().tolist() if len(v) > 2 else None
            return [y for row in rows for y in self.norm(row, scale, bias, Fraction(attributes["epsilon"]))]
        if op == "Softmax":
            axis = attributes["axis"] % 2
            rows = np.array([self.softmax(list(r)) for r in np.moveaxis(x, axis, -1)], object)
            return np.moveaxis(rows, -1, axis)
        if op == "MatMul":
            return [
                self.total([self.rounded(a * b) for a, b in zip(x[i], v[1][:, j], strict=True)])
                for i, j in itertools.product(range(x.shape[0]), range(v[1].shape[1]))
            ]
        if op in ("ReduceSum", "ReduceMean"):
            totals = [self.total(list(row)) for row in x]
            return totals if op == "ReduceSum" else [self.rounded(self.rounded(t / x.shape[1])) for t in totals]
        if op == "Clip":
            return [min(max(e, v[1].item()), v[2].item()) for e in x.ravel()]
        if op in ("Max", "Min"):
            return [
                (max if op == "Max" else min)(e)
                for e in zip(*(a.ravel() for a in np.broadcast_arrays(*v)), strict=True)
            ]
        if op == "Where":
            return [a if c else b for c, a, b in zip(*(e.ravel() for e in v), strict=True)]
        do = {
            "Less": lambda a, b: a < b,
            "And": lambda a, b: a and b,
            "Or": lambda a, b: a or b,
            "Add": lambda a, b: self.rounded(a + b),
            "Mul": lambda a, b: self.rounded(a * b),
            "Div": lambda a, b: self.rounded(a / b, 3),
            "Pow": self.power,
        }
        if op in do:
            return [do[op](a, b) for a, b in zip(*(e.ravel() for e in np.broadcast_arrays(*v)), strict=True)]
        one = {
            "Relu": lambda e: max(e, Fraction(0)),
            "LeakyRelu": lambda e: e if e >= 0 else self.rounded(e * Fraction(attributes["alpha"])),
            "Abs": abs,
            "Not": lambda e: not e,
            "Floor": lambda e: Fraction(math.floor(e)),
            "Sign": lambda e: Fraction((e > 0) - (e < 0)),
            "Reshape": lambda e: e,
        }[op]
        return [one(e) for e in x.ravel()]


def make(tools, seed, kinds=None, width=None, away=0):
    graph = Graph(seed, kinds)
    rng = graph.rng
    model = tools.model_bytes(graph.nodes, graph.weights, (2, 2), graph.opset, outputs=(graph.last,))
    width = float(rng.choice([0.0, 1e-4, 0.05, 0.6])) if width is None else width
    low = (rng.normal(size=4) * (1 if kinds is None else 3) + away).round(3)
    lines = [f"(declare-const {v}_{i} Real)" for v, n in (("X", 4), ("Y", 2)) for i in range(n)]
    lines += [f"(assert (>= X_{i} {v:.3f}))(assert (<= X_{i} {v + width:.7f}))" for i, v in enumerate(low)]
    y = [float(e) for e in graph.run([Fraction(v) for v in low], 0)]
    lines += [f"(assert (or (<= Y_0 {y[0] - width:.9f}) (>= Y_0 {y[0] + width:.9f}) (and (>= Y_1 {y[1]:.9f}) "
              f"(<= (+ Y_0 Y_1 X_0) {y[0] + y[1] + width:.9f}))))"]  # fmt: skip
    network, (region,) = tc.load(model, "\n".join(lines).encode())
    semantics, arithmetic = ("float32", "real")[seed % 2], ("rounded", "rounded", "exact")[seed % 3]
    with mock.patch.object(forms, "LEAST", 0 if seed // 6 % 2 else forms.LEAST):  # affine forms, for half of them
        return graph, tc.Kernel(network, region, semantics, arithmetic, ("derive", "interval")[seed % 5 == 4])


def value_at(region, x, y):
    both = np.concatenate([region.rows_y, region.rows_x], axis=1).tolist()
    at = [*y, *x]
    return [
        sum((Fraction(a) * b for a, b in zip(row, at, strict=True)), Fraction(c))
        for row, c in zip(both, region.rows_c.tolist(), strict=True)
    ]


def worst(graph, x, region, row, seed):
    """An execution that makes one inequality small: each error's direction is turned if that helps."""
    graph.script = []

    def run():
        graph.at, graph.rng = 0, np.random.default_rng(seed)
        return value_at(region, x, graph.run(x, 1))

    best = run()
    for k in range(len(graph.script)):
        graph.script[k] *= -1
        found = run()
        if found[row] < best[row]:
            best = found
        else:
            graph.script[k] *= -1
    return best


@pytest.mark.parametrize("part", range(4))
def test_no_execution_is_below_a_bound(tools, part):
    bounds, finite = 0, 0
    for seed in range(part, 160, 4):
        graph, kernel = make(tools, seed)
        state = kernel.start()
        for _ in range(int(graph.rng.integers(0, 3))):
            state = kernel.split(state, graph.rng.integers(0, 4, 1))[int(graph.rng.integers(2))]
        for value in graph.rng.permutation(kernel.network.boxed)[:2].tolist():  # any numbers are sound in a table
            keys = range(3 * len(kernel.network.nodes))
            sizes = {k: size for k in keys if (size := kernel.network.places(k))}
            places = {k: 2 * graph.rng.normal(size=(1, size)) for k, size in sizes.items()}
            asked = [(i, side, ()) for i in range(kernel.network.nodes[value].size) for side in (1, -1)]
            kernel.derive_at(state, value, asked, places)
        found = kernel.bound(state, derive=bool(graph.rng.integers(2)))
        for n in range(6):
            lo, hi = state.lo[0].tolist(), state.hi[0].tolist()
            mix = graph.rng.random(4) if n % 2 else graph.rng.integers(0, 2, 4)
            x = [
                Fraction(a) + Fraction(float(m)) * (Fraction(b) - Fraction(a))
                for a, b, m in zip(lo, hi, mix, strict=True)
            ]
            g = value_at(kernel.region, x, graph.run(x, int(kernel.semantics == "float32")))
            for row, margin in enumerate(found.margin[0].tolist()):
                if np.isfinite(margin):
                    finite += 1
                    assert Fraction(margin) <= g[row] + Fraction(1, 2**60), (
                        seed,
                        row,
                    )  # the clause's decimals as floats
        bounds += int(found.refuted.sum())
    assert bounds > 15 and finite > 500


def test_the_bounds_are_near_where_the_box_is_a_point(tools):
    """What is lost at a point is rounding alone: no rule is wasteful."""
    for seed in range(0, 300, 2):
        graph, kernel = make(tools, seed + 1)
        if (kernel.region.hi > kernel.region.lo).any() or kernel.arith.name != "rounded":
            continue
        if any(op in ("Floor", "Sign", "Less") for op, *_ in graph.nodes):
            continue
        x = [Fraction(v) for v in kernel.region.lo.tolist()]
        g, margin = value_at(kernel.region, x, graph.run(x, 0)), kernel.bound(kernel.start(), derive=False).margin[0]
        assert all(abs(float(a) - b) < 1e-9 for a, b in zip(g, margin.tolist(), strict=True)), seed


@pytest.mark.parametrize("kind", ["curve", "silu", "gelu", "gate", "pow", "norm", "norm of exact roots", *UNITS])
def test_no_execution_at_a_point_errs_by_more_than_is_charged(tools, kind):
    """Where the box is a point, rounding is all that is charged; executions err by all that they may."""
    exact, away = ({"rsqrt": (0.0, 0.0)}, 40) if kind.endswith("roots") else ({}, 0)
    table = dict.fromkeys(("Rsqrt", "Sqrt"), (0.0, 0.0)) if exact else {}
    with mock.patch.dict(TOLERANCES, exact), mock.patch.dict(TABLE, table):
        for seed in range(0, 16, 4):
            graph, kernel = make(tools, seed, [kind.split()[0]], 0.0, away)
            margin = kernel.bound(kernel.start(), derive=False).margin[0].tolist()
            x, used = [Fraction(v) for v in kernel.region.lo.tolist()], 0.0
            real = value_at(kernel.region, x, graph.run(x, 0))
            for row, order in itertools.product(range(2), range(2)):
                g = worst(graph, x, kernel.region, row, order)[row]
                assert Fraction(margin[row]) <= g + Fraction(1, 2**60), seed
                used = max(used, (real[row] - g) / (real[row] - Fraction(margin[row])))
            assert used > 0.05, seed  # the charge is of the right size
