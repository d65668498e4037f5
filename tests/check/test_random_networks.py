"""Random networks against the kernel: no execution lies below a proved bound, outside a box, or in a refuted clause.

The executions are computed from the ONNX nodes, not from what the checker read: exactly, or as adverse ones, where
every operation errs by the full u |result| + 2^-126, in the directions that lower one inequality or in random ones.
"""

import itertools
import math
from decimal import Decimal
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest

import torchlean_check as tc
from torchlean_check import forms, sparse

U, TINY = Fraction(1, 2**24), Fraction(1, 2**126)
FLUSHED = 400
KINDS = [*2 * ("relu", "affine"), "gemm", "conv", "scale", "repeat", "skip", "norm", "mean", "move"]


class Graph:
    """A random graph of up to nine nodes; `run` executes it.

    extreme   weights of any size; an execution may flush the subnormals that operations read and write
    """

    def __init__(self, seed, extreme=False):
        self.rng, self.extreme = np.random.default_rng(seed), extreme
        rng = self.rng
        shapes = [(1, int(rng.integers(1, 5))), (1, 2, 3), (1, 1, 3, 3)]
        self.weights, self.nodes, self.shapes = {}, [], {"x": shapes[int(rng.integers(3))]}
        self.last = "x"
        for _ in range(int(rng.integers(2, 9))):
            self.grow(str(rng.choice(KINDS)))
        self.add("Flatten", [self.last], (1, math.prod(self.shapes[self.last])))
        self.add("Gemm", [self.last, self.weight(self.shapes[self.last][1], 2), self.weight(2)], (1, 2))
        self.inputs = math.prod(self.shapes["x"])

    def weight(self, *shape, positive=False):
        values = self.rng.normal(size=shape) * (self.rng.random(shape) > 0.2)
        values = (np.exp(values) if positive else values) * (2.0 ** self.rng.integers(-140, 80) if self.extreme else 1)
        name = f"w{len(self.weights)}"
        self.weights[name] = values.astype(np.float32)
        return name

    def add(self, op, inputs, shape, **attributes):
        self.last = f"t{len(self.nodes)}"
        self.nodes.append((op, inputs, self.last, attributes))
        self.shapes[self.last] = shape

    def grow(self, kind):
        rng, x, shape = self.rng, self.last, self.shapes[self.last]
        if kind == "relu":
            self.add("Relu", [x], shape)
        elif kind == "affine" and len(shape) == 2:
            width = int(rng.integers(1, 5))
            self.add("MatMul", [x, self.weight(shape[1], width)], (1, width))
            if rng.random() < 0.6:
                self.add("Add", [self.weight(width), self.last], (1, width))
        elif kind == "gemm" and len(shape) == 2:
            width, bias = int(rng.integers(1, 5)), rng.random() < 0.7
            inputs = [x, self.weight(shape[1], width), *([self.weight(width)] if bias else [])]
            size = 2.0 ** rng.integers(-50, 51, 2) if self.extreme else 1
            alpha, beta = (float(np.float32(v)) for v in rng.choice([-0.3, 1.0, 3.7], 2) * size)
            self.add("Gemm", inputs, (1, width), alpha=alpha, beta=beta)
        elif kind == "repeat" and 1 in shape[1:] and math.prod(shape) < 10:
            wider = tuple(2 if d == 1 and n else d for n, d in enumerate(shape))
            if rng.random() < 0.5:
                inputs = [self.weight(*wider), x]
                self.add(str(rng.choice(["Add", "Sub", "Mul"])), inputs, wider)
            else:  # two computed values, the narrower of which is repeated
                self.add("Mul", [x, self.weight(*wider)], wider)
                self.add(str(rng.choice(["Add", "Sub"])), [x, self.last], wider)
        elif kind == "conv" and len(shape) > 2:
            kernel, axes = int(rng.integers(1, 3)), len(shape) - 2
            pads, stride = rng.integers(0, 2, 2 * axes).tolist(), int(rng.integers(1, 3))
            sizes = [(shape[2 + i] + pads[i] + pads[axes + i] - kernel) // stride + 1 for i in range(axes)]
            if min(sizes) > 0:
                inputs = [x, self.weight(2, shape[1], *[kernel] * axes), self.weight(2)]
                self.add("Conv", inputs, (1, 2, *sizes), pads=pads, strides=[stride] * axes)
        elif kind == "scale":
            op = str(rng.choice(["Add", "Sub", "Mul", "Div"]))
            constant = self.weight(*[d if rng.random() < 0.5 else 1 for d in shape], positive=op == "Div")
            self.add(op, [constant, x] if op == "Sub" and rng.random() < 0.5 else [x, constant], shape)
        elif kind == "skip":
            other = [name for name, s in self.shapes.items() if s == shape]
            self.add(str(rng.choice(["Add", "Sub"])), [str(rng.choice(other)), x], shape)
        elif kind == "norm":
            channels = (self.weight(shape[1]) for _ in range(3))
            self.add("BatchNormalization", [x, *channels, self.weight(shape[1], positive=True)], shape)
        elif kind == "mean" and len(shape) > 2:
            self.add("GlobalAveragePool", [x], (*shape[:2], *[1] * (len(shape) - 2)))
        elif kind == "move":
            self.add("Transpose", [x], shape[::-1], perm=list(range(len(shape)))[::-1])
            self.add("Reshape", [self.last, self.dims(shape)], shape)

    def dims(self, shape):
        self.weights[f"w{len(self.weights)}"] = np.array([*shape[:-1], -1], np.int64)
        return f"w{len(self.weights) - 1}"

    # -- executions ----------------------------------------------------------------------------------------------------

    def run(self, point, sign=None):
        """Every value at a point: exact, or with `sign(name, size)`, the directions in which entries err."""
        values = {"x": np.array(point, object).reshape(self.shapes["x"])}
        for name, array in self.weights.items():
            values[name] = np.array([Fraction(v) for v in array.ravel().tolist()], object).reshape(array.shape)
        for n, (op, inputs, name, attributes) in enumerate(self.nodes):
            size, title = math.prod(self.shapes[name]), f"{op}_{n}"  # the title is the node's name in the file
            signs = [0] * size if sign is None else sign(title, size)
            entries = self.entries(op, [values[i] for i in inputs], signs, attributes, self.shapes[name])
            values[name] = values[title] = np.array(entries, object).reshape(self.shapes[name])
        return values

    def erring(self, y, s):
        """y with an error in the direction s: as large as the standard model has it, or of a rounding and a flush."""
        if not s or not y:
            return y
        return self.flushed(y + s * U * abs(y)) if self.extreme else y + s * (U * abs(y) + TINY)

    def flushed(self, y):
        return Fraction(0) if abs(y) < TINY and self.rng.random() < 0.9 else y

    def entries(self, op, v, signs, attributes, shape):
        if self.extreme and any(signs) and op not in ("Flatten", "Reshape", "Transpose"):
            v = [np.vectorize(self.flushed, otypes=[object])(a) for a in v]
        x, size = v[0], len(signs)
        if op == "Relu":
            return [max(e, Fraction(0)) for e in x.ravel()]
        if op in ("Flatten", "Reshape"):
            return list(x.ravel())
        if op == "Transpose":
            return list(x.transpose(attributes["perm"]).ravel())
        if op in ("Gemm", "MatMul"):
            bias = v[2] if len(v) > 2 else [None] * size
            alpha, beta = (Fraction(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
            return [self.gemm(v[1][:, i], x[0], bias[i], alpha, beta, signs[i]) for i in range(size)]
        if op == "GlobalAveragePool":
            rows = x.reshape(size, -1)
            one = [Fraction(1)] * rows.shape[1]
            return [
                self.erring(self.erring(self.dot(one, r, None, s, rounds=False) / len(r), s), s)
                for r, s in zip(rows, signs, strict=True)
            ]
        if op == "BatchNormalization":
            return self.norm(v, signs, shape)
        if op == "Conv":
            return self.conv(v, signs, attributes, shape)
        a, b = (e.ravel() for e in np.broadcast_arrays(v[0], v[1]))
        do = {
            "Add": lambda p, q: p + q,
            "Sub": lambda p, q: p - q,
            "Mul": lambda p, q: p * q,
            "Div": lambda p, q: p / q,
        }
        out = [do[op](p, q) for p, q in zip(a, b, strict=True)]
        exact = [op in ("Add", "Sub") and 0 in (p, q) for p, q in zip(a, b, strict=True)]
        out = [y if keep else self.erring(y, s) for y, keep, s in zip(out, exact, signs, strict=True)]
        return [self.erring(y, s) for y, s in zip(out, signs, strict=True)] if op == "Div" else out

    def dot(self, weights, x, bias, s, rounds=True):
        leaves = [self.erring(w * e, s if rounds else 0) for w, e in zip(weights, x, strict=True) if w != 0]
        leaves += [] if bias is None else [bias]
        order = self.rng.permutation(len(leaves)) if self.rng.random() < 0.5 else np.argsort([float(e) for e in leaves])
        total = leaves[order[0]] if leaves else Fraction(0)
        for i in order[1:]:
            total = self.erring(total + leaves[i], s)
        return total

    def gemm(self, weights, x, bias, alpha, beta, s):
        """alpha times weights, inputs, products or the sum; errors in the direction s of the result."""
        bias = bias if bias is None or beta == 1 else self.erring(beta * bias, s)
        if alpha == 1:
            return self.dot(weights, x, bias, s)
        turn, place = (1 if alpha > 0 else -1), int(self.rng.integers(4))
        if place == 0:
            weights = [self.erring(alpha * w, s if e > 0 else -s) for w, e in zip(weights, x, strict=True)]
        elif place == 1:
            x = [self.erring(alpha * e, s if w > 0 else -s) for w, e in zip(weights, x, strict=True)]
        elif place == 2:
            pairs = zip(weights, x, strict=True)
            x = [self.erring(alpha * self.erring(w * e, s * turn), s) for w, e in pairs if w != 0]
            return self.dot([Fraction(1)] * len(x), x, bias, s, rounds=False)
        else:
            total = self.erring(alpha * self.dot(weights, x, None, s * turn), s)
            return total if bias is None else self.erring(total + bias, s)
        return self.dot(weights, x, bias, s)

    def norm(self, v, signs, shape):
        x, gamma, beta, mean, var = v
        out, channel = [], np.arange(math.prod(shape)) // math.prod(shape[2:])
        for e, c, s in zip(x.ravel(), channel, signs, strict=True):
            scale = Fraction(1) / Fraction(
                math.sqrt(float(var[c]) + float(np.float32(1e-5)))
            )  # 2^-51 from the exact one
            out.append(
                self.erring(self.erring(self.erring(self.erring(e - mean[c], s) * scale, s) * gamma[c], s) + beta[c], s)
            )
        return out

    def conv(self, v, signs, attributes, shape):
        (x, w, bias), axes, out = v, len(shape) - 2, []
        spots = itertools.product(*[range(d) for d in shape[1:]])
        for (channel, *spot), s in zip(spots, signs, strict=True):
            weights, entries = [], []
            for c, *k in itertools.product(*[range(d) for d in w.shape[1:]]):
                at = [spot[i] * attributes["strides"][i] + k[i] - attributes["pads"][i] for i in range(axes)]
                if all(0 <= a < d for a, d in zip(at, x.shape[2:], strict=True)):
                    weights.append(w[(channel, c, *k)])
                    entries.append(x[(0, c, *at)])
            out.append(self.dot(weights, entries, bias[channel], s))
        return out


def load(model, lines, seed):
    """What the checker reads; of every fourth network, every matrix as one of few entries."""
    few = {"LEAST": 0, "SHARE": 0} if seed % 4 == 3 else {"LEAST": sparse.LEAST}
    with mock.patch.multiple(sparse, **few):
        return tc.load(model, "\n".join(lines).encode())


def start(network, region, semantics, arithmetic, seed):
    """Its kernel; of every second run of six networks, with affine forms whatever the width."""
    with mock.patch.object(forms, "LEAST", 0 if seed // 6 % 2 else forms.LEAST):
        return tc.Kernel(network, region, semantics, arithmetic)


def make(tools, seed):
    """A graph, its kernel on a random box, and a random property with several clauses."""
    graph = Graph(seed)
    rng = graph.rng
    model = tools.model_bytes(graph.nodes, graph.weights, graph.shapes["x"], outputs=(graph.last,))
    width = float(rng.choice([0.0, 1e-6, 0.01, 0.5]))
    low = rng.normal(size=graph.inputs).round(3)
    lines = [f"(declare-const {v}_{i} Real)" for v, n in (("X", graph.inputs), ("Y", 2)) for i in range(n)]
    lines += [f"(assert (>= X_{i} {v:.3f}))(assert (<= X_{i} {v + width:.7f}))" for i, v in enumerate(low)]
    y = [float(e) for e in graph.run([Fraction(v) for v in low])[graph.last].ravel()]
    a, b = rng.normal(size=2).round(2)
    lines += [
        f"(assert (or (and (<= Y_0 {y[0] + width:.9f}) (< Y_1 (+ X_0 {y[1]:.9f}))) "
        f"(>= (- (* {a} Y_0) (* {b} Y_1)) {a * y[0] - b * y[1]:.9f})))"
    ]
    network, (region,) = load(model, lines, seed)
    semantics, arithmetic = ("float32", "real")[seed % 2], ("rounded", "rounded", "exact")[seed % 3]
    return graph, network, region, start(network, region, semantics, arithmetic, seed)


def make_extreme(tools, seed):
    """As `make`, with weights and inputs of any size, and one clause for each side of each output."""
    graph = Graph(seed, extreme=True)
    low = (graph.rng.normal(size=graph.inputs) * 2.0 ** graph.rng.integers(-140, 20)).astype(np.float32)
    high = np.maximum(low * np.float32(1.5), low)
    lines = [f"(declare-const {v}_{i} Real)" for v, n in (("X", graph.inputs), ("Y", 2)) for i in range(n)]
    for sign, ends in ((">=", low), ("<=", high)):
        lines += [f"(assert ({sign} X_{i} {Decimal(float(v)):f}))" for i, v in enumerate(ends)]
    lines.append("(assert (or (<= Y_0 0.0) (>= Y_0 0.0) (<= Y_1 0.0) (>= Y_1 0.0)))")
    model = tools.model_bytes(graph.nodes, graph.weights, graph.shapes["x"], outputs=(graph.last,))
    network, (region,) = load(model, lines, seed)
    semantics, arithmetic = ("float32", "float32", "real")[seed % 3], ("rounded", "exact")[seed % 2]
    return graph, network, region, start(network, region, semantics, arithmetic, seed)


def executions(graph, network, kernel, state, form, count):
    """Points of the box and what happens there, for `real` exactly; the corner where the bound is least among them."""
    rng = graph.rng
    for n in range(count):
        lo, hi = state.lo[0], state.hi[0]
        mix = rng.random(len(lo)) if n % 3 == 2 else rng.integers(0, 2, len(lo)) if n % 3 else (form < 0)
        x = [
            Fraction(a) + Fraction(float(m)) * (Fraction(b) - Fraction(a))
            for a, b, m in zip(lo.tolist(), hi.tolist(), mix, strict=True)
        ]
        if kernel.semantics == "real":
            yield x, graph.run(x)
            continue
        worse = directions(graph, network, kernel, x, n)
        yield x, graph.run(x, lambda name, size: worse.get(name, rng.choice([-1, 1], size).tolist()))  # noqa: B023


def directions(graph, network, kernel, x, n):
    """Per node, the directions that lower one inequality, by its gradient."""
    region, values = kernel.region, graph.run(x)
    row = region.rows_y[n % len(region.rows_y)][None]
    found, pending = {}, {network.output: row}
    for k in range(network.output, 0, -1):
        L, node = pending.pop(k, None), network.nodes[k]
        if L is None:
            continue
        found[node.where] = np.where(L[0] > 0, -1, 1).tolist()
        if type(node).__name__ == "Relu":
            z = values["x" if node.source == 0 else network.nodes[node.source].where].ravel()
            parts = [(L * np.array([e > 0 for e in z]), node.source)]
        else:
            parts = [(linear.transpose(L, np.matmul), source) for linear, source in node.terms]
        for part, source in parts:
            pending[source] = pending.get(source, 0) + part
    return found


def descend(graph, network, kernel):
    """A state below the root: splits of inputs and of values, the latter at a value that an execution has."""
    state, rng = kernel.start(), graph.rng
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.5 or not network.relu_inputs:
            state = kernel.split(state, rng.integers(0, graph.inputs, 1))[int(rng.integers(2))]
        else:
            value = int(rng.choice(network.relu_inputs))
            index = int(rng.integers(network.nodes[value].size))
            lo, hi = state.boxes[value]
            at = float(0.5 * lo[0, index] + 0.5 * hi[0, index])
            state = kernel.split_value(state, value, index, at)[int(rng.integers(2))]
    return state


def on_path(network, state, values):
    place = lambda k: values["x" if k == 0 else network.nodes[k].where].ravel()  # noqa: E731
    return all((place(k)[i] - Fraction(at)) * side >= 0 for k, i, side, at in state.paths[0])


def test_rows_are_refuted_as_each_would_be_alone(tools):
    """Slopes, thresholds and multipliers of one row do not act on another."""
    agreed = 0
    for seed in range(80):
        graph, network, region, kernel = make(tools, seed)
        if kernel.arith.name != "rounded" or not network.relu_inputs:
            continue
        states = [descend(graph, network, kernel) for _ in range(6)]
        paths = [s.paths[0] for s in states]
        clause = graph.rng.integers(len(region.clauses), size=6).tolist()
        value = int(graph.rng.choice(network.relu_inputs))
        slopes = {value: graph.rng.uniform(0, 1, (6, network.nodes[value].size))}
        mine = [[(*p, float(graph.rng.random())) for p in path] for path in paths]
        alone = [
            bool(
                kernel.refute(
                    s,
                    [(c, ())],
                    {value: slopes[value][i : i + 1]},
                    tc.Pushes.split([(0, *p) for p in mine[i]]),
                )[0]
            )
            for i, (s, c) in enumerate(zip(states, clause, strict=True))
        ]
        joined = tc.Pushes.split([(row, *p) for row, path in enumerate(mine) for p in path])
        together = kernel.refute(tc.State.join(states), [(c, ()) for c in clause], slopes, joined)
        # The order of its sums may differ where another row has a multiplier, so it may just fail.
        assert not (together & ~np.array(alone)).any(), seed
        agreed += int((together == alone).sum())
    assert agreed > 200


@pytest.mark.parametrize("batch", range(4))
def test_no_execution_lies_below_a_bound(tools, batch):
    seen = 0
    for seed in range(60 * batch, 60 * batch + 60):
        graph, network, region, kernel = make(tools, seed)
        state = descend(graph, network, kernel)
        bounds = kernel.bound(state, derive=bool(seed % 5))
        rows = [g for clause in region.clauses for g in clause]
        splits = [(k, i, side, at, float(graph.rng.random() * 3)) for k, i, side, at in state.paths[0]]
        slopes = {k: graph.rng.uniform(-1, 2, (1, network.nodes[k].size)) for k in network.relu_inputs}
        asked = [(c, weights) for c in range(len(region.clauses)) for weights in ((), ((0, 1.0),))]
        several = state.take([0] * len(asked))
        push = tc.Pushes.split([(row, *s) for row in range(len(asked)) for s in splits])
        refuted = kernel.refute(several, asked, slopes, push).reshape(-1, 2).any(axis=1) & ~state.empty[0]
        clipped = kernel.clip(state, bounds)
        for x, values in executions(graph, network, kernel, state, bounds.form[0, 0], 5):
            if not on_path(network, state, values):
                continue
            assert not state.empty[0], seed
            seen += 1
            for k in network.relu_inputs:
                lo, hi = state.boxes[k]
                z = values["x" if k == 0 else network.nodes[k].where].ravel()
                assert all(
                    Fraction(a) <= e <= Fraction(b) for a, e, b in zip(lo[0].tolist(), z, hi[0].tolist(), strict=True)
                ), seed
            y = values[graph.last].ravel()
            got = [
                sum(c * y[i] for i, c in g.y.items()) + sum(c * x[i] for i, c in g.x.items()) + g.constant for g in rows
            ]
            for r, value in enumerate(got):
                if np.isfinite(bounds.margin[0, r]):
                    form = sum(Fraction(c) * e for c, e in zip(bounds.form[0, r].tolist(), x, strict=True))
                    assert value >= Fraction(float(bounds.margin[0, r])), (seed, r)
                    assert value >= form + Fraction(float(bounds.offset[0, r])), (seed, r)
            for c in range(len(region.clauses)):
                mine = np.flatnonzero(region.row_clause == c)
                if all(got[r] < 0 or (got[r] == 0 and not region.row_strict[r]) for r in mine):
                    assert not bounds.refuted[0, c] and not refuted[c], (seed, c)
                    assert clipped.open[0, c], (seed, c)
                    assert all(
                        Fraction(a) <= e <= Fraction(b)
                        for a, e, b in zip(clipped.lo[0].tolist(), x, clipped.hi[0].tolist(), strict=True)
                    )
    assert seen > 20


def random_bounds(graph, network, region, value, clause):
    """Bounds of entries of a value, with clause weights of any sign, beside slopes that may lie outside [0, 1]."""
    rng, size = graph.rng, network.nodes[value].size
    count = len(region.clauses[clause])
    asked = [
        (int(rng.integers(size)), int(rng.choice([-1, 1])), [(i, float(rng.normal() + 0.5)) for i in range(count)])
        for _ in range(4)
    ]
    return asked, {k: rng.uniform(-1, 2, (4, network.nodes[k].size)) for k in network.relu_inputs}


def violates(region, clause, x, y):
    """Whether an execution meets every inequality of a clause, exactly."""
    values = [
        (sum(c * y[i] for i, c in g.y.items()) + sum(c * x[i] for i, c in g.x.items()) + g.constant, g.strict)
        for g in region.clauses[clause]
    ]
    return all(v < 0 or (v == 0 and not strict) for v, strict in values)


@pytest.mark.parametrize("batch", range(4))
def test_no_execution_that_violates_the_clause_leaves_a_box_derived_by_it(tools, batch):
    """Derivations with slopes, split multipliers and clause weights; each value twice, so that later ones are read."""
    inside = outside = 0
    for seed in range(60 * batch, 60 * batch + 60):
        graph, network, region, kernel = make(tools, seed)
        if not network.relu_inputs:
            continue
        state = descend(graph, network, kernel)
        paths = state.paths[0]
        clause = int(graph.rng.integers(len(region.clauses)))
        state, _ = kernel.split_clause(state, np.array([clause]))
        for value in (*network.relu_inputs, *reversed(network.relu_inputs)):
            asked, slopes = random_bounds(graph, network, region, value, clause)
            push = tc.Pushes.split([(j, *p, float(graph.rng.random())) for j in range(4) for p in paths])
            kernel.derive_at(state, value, asked, slopes, push, clause)
        form = kernel.bound(state, derive=False).form[0, 0]
        for x, values in executions(graph, network, kernel, state, form, 8):
            if not on_path(network, state, values):
                continue
            within = not state.empty[0] and all(
                Fraction(a) <= e <= Fraction(b)
                for k in network.relu_inputs
                for a, e, b in zip(
                    *(state.boxes[k][0][0].tolist(), values["x" if k == 0 else network.nodes[k].where].ravel()),
                    state.boxes[k][1][0].tolist(),
                    strict=True,
                )
            )
            if violates(region, clause, x, values[graph.last].ravel()):
                assert within, seed
                inside += 1
            else:
                outside += not within
    assert inside > 20 and outside > 20


@pytest.mark.slow
def test_no_execution_that_flushes_lies_below_a_bound(tools):
    """Weights and inputs of any size, so that products and sums are subnormal and what follows makes them large."""
    seen = 0
    for seed in range(FLUSHED):
        try:
            graph, network, region, kernel = make_extreme(tools, seed)
        except tc.CheckError:  # overflow is not excluded, or a constant is extreme
            continue
        bounds = kernel.bound(kernel.start(), derive=True)
        rows = [g for clause in region.clauses for g in clause]
        for _, values in executions(graph, network, kernel, kernel.start(), bounds.form[0, 0], 4):
            seen += 1
            y = values[graph.last].ravel()
            for r, g in enumerate(rows):
                if np.isfinite(bounds.margin[0, r]):
                    assert sum(c * y[i] for i, c in g.y.items()) >= Fraction(float(bounds.margin[0, r])), (seed, r)
    assert seen > FLUSHED
