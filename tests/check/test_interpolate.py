"""Linear interpolation: no execution, whatever its formula and its coordinates' rounding, is outside of the bounds."""

import itertools
from fractions import Fraction
from math import floor

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.verify.files import verify_files
from torchlean_check.rules.read_interpolate import coordinates, error

U, TINY = Fraction(1, 2**24), Fraction(1, 2**126)
HALF, PYTORCH, PLAIN, CORNERS = b"half_pixel", b"pytorch_half_pixel", b"asymmetric", b"align_corners"
FORMS = [  # shape, new shape
    (HALF, (1, 1, 3, 2), (1, 1, 6, 4)), (HALF, (1, 1, 3, 4), (1, 1, 5, 3)), (HALF, (1, 2, 3), (1, 2, 7)),
    (PYTORCH, (1, 1, 4, 3), (1, 1, 1, 5)), (CORNERS, (1, 1, 3, 3), (1, 1, 6, 5)), (CORNERS, (1, 1, 3, 2), (1, 1, 5, 4)),
    (PLAIN, (1, 1, 2, 3), (1, 1, 4, 9)), (CORNERS, (1, 1, 2, 2, 2), (1, 1, 3, 4, 2)),
]  # fmt: skip


def resize(tools, mode, shape, new, between=False):
    """A network that resizes, and one that adds all that comes out with signs."""
    nodes = [("Resize", ("x", "", "", "s"), "t", {"mode": "linear", "coordinate_transformation_mode": mode.decode()})]
    size = int(np.prod(new))
    weights = {"s": np.array(new, np.int64), "f": np.array([1, size], np.int64)}
    if between:
        weights["w"] = np.resize(np.float32([[1.0, -0.5], [-0.25, 1.0], [0.5, 0.75]]), (size, 2))
        nodes += [("Reshape", "tf", "v", {}), ("MatMul", "vw", "y", {})]
    else:
        nodes += [("Reshape", "tf", "y", {})]
    return tools.model_bytes(nodes, weights, shape)


class Execution:
    """One way to compute it, in rationals that err by as much as is allowed, in the directions of the script."""

    def __init__(self, errs, formula, script=()):
        self.errs, self.formula, self.script, self.at = errs, formula, list(script), 0

    def turn(self):
        self.at += 1
        self.script += [1] * (self.at - len(self.script))
        return self.script[self.at - 1] * self.errs

    def rounded(self, y):
        return y + self.turn() * (U * abs(y) + TINY)

    def axis(self, old, new, mode):
        """Entries and weights, from coordinates that are off by up to 4 u (n + 2)."""
        found = []
        for c in coordinates(old, new, mode):
            off = self.turn() * Fraction(999, 1000) * error(old, new, mode)
            c = min(max(c + off, Fraction(0)), Fraction(old - 1))
            i = min(floor(c), max(old - 2, 0))
            found.append((i, min(i + 1, old - 1), c - i))
        return found

    def run(self, x, new, mode):
        axes = [(a, self.axis(o, n, mode)) for a, (o, n) in enumerate(zip(x.shape, new, strict=True)) if o != n]
        if self.formula == "products":
            found = np.empty(new, object)
            for spot in np.ndindex(*new):
                terms = []
                for ends in itertools.product((0, 1), repeat=len(axes)):
                    weight, at = Fraction(1), list(spot)
                    for (a, table), end in zip(axes, ends, strict=True):
                        *places, w = table[spot[a]]
                        at[a] = places[end]
                        weight = self.rounded(weight * (w if end else self.rounded(1 - w)))
                    terms.append(self.rounded(weight * x[tuple(at)]))
                total = terms[0]
                for term in terms[1:]:
                    total = self.rounded(total + term)
                found[spot] = total
            return found
        for a, table in axes:
            rows = np.moveaxis(x, a, 0)
            mix = np.frompyfunc(self.mix, 3, 1)
            x = np.moveaxis(np.array([mix(rows[i], rows[j], w) for i, j, w in table], object), 0, a)
        return x

    def mix(self, p, q, w):
        if self.formula == "steps":
            return self.rounded(p + self.rounded(w * self.rounded(q - p))) if w else p
        return self.rounded(self.rounded(p * self.rounded(1 - w)) + self.rounded(q * w))


def margins(kernel, derive):
    """Lower and upper bounds of every output."""
    found = kernel.bound(kernel.start(), derive=derive).margin[0]
    return found[0::2], -found[1::2]


@pytest.mark.parametrize("semantics", ["float32", "real"])
@pytest.mark.parametrize("case", range(len(FORMS)))
def test_no_execution_is_outside_of_the_bounds(tools, case, semantics):
    mode, shape, new = FORMS[case]
    rng, outputs, used = np.random.default_rng(case), int(np.prod(new)), 0.0
    model = resize(tools, mode, shape, new)
    for width in (0.0, 0.5):
        low = (rng.integers(-64, 65, shape) / 32.0).ravel()
        network, (region,) = tc.load(model, tools.any_sign(low, low + width, outputs))
        kernel = tc.Kernel(network, region, semantics, ("rounded", "exact")[case % 2])
        lower, upper = margins(kernel, derive=bool(width))
        for n in range(4):
            x = low + width * (rng.integers(0, 2, low.size) if n % 2 else rng.integers(0, 9, low.size) / 8.0)
            x = np.array([Fraction(v) for v in x.tolist()], object).reshape(shape)
            real = Execution(0, "products").run(x, new, mode).ravel()
            for formula in ("products", "nested", "steps"):
                script = rng.choice([-1, 1], 4096).tolist()
                one = Execution(int(semantics == "float32"), formula, script)
                for a, y, b, z in zip(lower.tolist(), one.run(x, new, mode).ravel(), upper.tolist(), real, strict=True):
                    assert Fraction(a) <= y <= Fraction(b)
                    if not width and b > a and semantics == "float32":
                        used = max(used, abs(float(y - z)) / (b - a))
        if semantics == "real" and not width:
            assert (upper - lower < 1e-10).all()
    assert semantics == "real" or used > 0.02  # the charge is of the right size


@pytest.mark.parametrize("formula", ["products", "nested", "steps"])
@pytest.mark.parametrize("case", [0, 1, 4])
def test_the_worst_execution_is_charged(tools, case, formula):
    """Each direction of each error is turned where that helps; large entries lie beside small ones."""
    mode, shape, new = FORMS[case]
    rng, outputs, used = np.random.default_rng(case), int(np.prod(new)), 0.0
    low = (rng.choice([-1.0, 1.0, 1.0], shape) * rng.choice([1.0, 2.0**10], shape)).ravel()
    network, (region,) = tc.load(resize(tools, mode, shape, new), tools.any_sign(low, low, outputs))
    lower, _ = margins(tc.Kernel(network, region), derive=False)
    x = np.array([Fraction(v) for v in low.tolist()], object).reshape(shape)
    real = Execution(0, formula).run(x, new, mode).ravel()
    first = Execution(1, formula)
    best = first.run(x, new, mode).ravel()
    for k in range(0, len(first.script), max(1, len(first.script) // 60)):
        script = list(first.script)
        script[k:] = [-s for s in script[k:]]
        best = np.minimum(best, Execution(1, formula, script).run(x, new, mode).ravel())
    for a, y, z in zip(lower.tolist(), best, real, strict=True):
        assert Fraction(a) <= y
        used = max(used, float((z - y) / (z - Fraction(a))))
    assert used > 0.05


def test_bounds_of_what_reads_it_are_near(tools):
    """The steps that stand for the error cancel: over the reals a sum of entries is bounded as it is."""
    mode, shape, new = FORMS[5]
    model = resize(tools, mode, shape, new, between=True)
    network, (region,) = tc.load(model, tools.any_sign(np.zeros(6), np.ones(6), 2))
    kernel = tc.Kernel(network, region, "real")
    lower, upper = margins(kernel, derive=True)
    units = [np.array([Fraction(int(i == j)) for j in range(6)], object).reshape(shape) for i in range(6)]
    columns = [Execution(0, "nested").run(unit, new, mode).ravel() for unit in units]
    weight = np.resize(np.float32([[1.0, -0.5], [-0.25, 1.0], [0.5, 0.75]]), (20, 2))
    for out in range(2):
        each = [float(sum(Fraction(float(w)) * v for w, v in zip(weight[:, out], c, strict=True))) for c in columns]
        assert abs(lower[out] - sum(min(v, 0) for v in each)) < 1e-8
        assert abs(upper[out] - sum(max(v, 0) for v in each)) < 1e-8


def test_a_difference_that_may_overflow_is_refused(tools):
    model = resize(tools, HALF, (1, 1, 3, 2), (1, 1, 6, 4))
    network, (region,) = tc.load(model, tools.any_sign(np.full(6, -(2.0**121)), np.full(6, 2.0**121), 24))
    with pytest.raises(tc.CheckError, match="overflow of float32 is not excluded"):
        tc.Kernel(network, region)
    tc.Kernel(network, region, "real")


def in_float32(mode, old, new):
    """The coordinates, in every formula that is in use."""
    one = np.float32
    i, h = np.arange(new, dtype=np.float32), one(0.5 if mode == HALF else 0)
    if mode == CORNERS:
        above, below = one(old - 1), one(max(new - 1, 1))
        return [i * (above / below), i * above / below]
    up, down = one(new) / one(old), one(old) / one(new)
    return [(i + h) / up - h, (i + h) * down - h, (i + h) * (one(1) / up) - h]


@pytest.mark.parametrize("mode", [HALF, PLAIN, CORNERS])
def test_coordinates_are_as_near_as_is_said(mode):
    exact = 0
    for old, new in [*itertools.product(range(2, 24), range(1, 24)), (1000, 300), (300, 1000), (512, 64), (7, 2000)]:
        off, want = error(old, new, mode), coordinates(old, new, mode)
        exact += off == 0
        for found in in_float32(mode, old, new):
            assert all(abs(Fraction(c) - w) <= off for c, w in zip(found.tolist(), want, strict=True)), (old, new)
    assert exact > 50


NEAR = {"floor": np.floor, "ceil": np.ceil, "round_prefer_floor": lambda c: np.ceil(c - np.float32(0.5)),
        "round_prefer_ceil": lambda c: np.floor(c + np.float32(0.5))}  # fmt: skip


@pytest.mark.parametrize("mode", [HALF, PLAIN, CORNERS])
@pytest.mark.parametrize("near", NEAR)
def test_the_nearest_entry_is_that_of_every_formula(tools, mode, near):
    """Or the file is refused: 2 of 14 entries, 7 apart, are x_0 and x_6 in one formula, x_0 and x_7 in others."""
    refused = read = 0
    sizes = [*itertools.product((2, 3, 7, 12, 14, 61, 122), (1, 2, 4, 8)), (5, 15), (4, 28), (9, 9), (3, 2), (2, 82)]
    sizes += [(32, 8), (63, 8), (10, 64)]
    for old, new in sizes:
        form = {"coordinate_transformation_mode": mode.decode(), "nearest_mode": near}
        weights, shape = {"s": np.array([1, 1, new], np.int64)}, (1, 1, old)
        model = tools.model_bytes([("Resize", ("x", "", "", "s"), "t", form), ("Relu", "t", "y", {})], weights, shape)
        try:
            index = tc.onnx_reader.read_network(model).nodes[1].terms[0][0].index
        except tc.UnsupportedError:
            refused += 1
            continue
        read += 1
        for found in in_float32(mode, old, new):
            assert np.clip(NEAR[near](found), 0, old - 1).tolist() == index.tolist(), (old, new)
    assert read > 8 and refused < 20


@pytest.mark.parametrize("mode", [HALF, CORNERS])
def test_verdicts_about_a_network_that_resizes(tools, mode):
    rng = np.random.default_rng(5)
    nodes = [
        ("Conv", "xk", "a", {"pads": [1, 1, 1, 1]}), ("Relu", "a", "b", {}),
        ("Resize", ("b", "", "s"), "c", {"mode": "linear", "coordinate_transformation_mode": mode.decode()}),
        ("Conv", "cl", "d", {"strides": [2, 2]}), ("Relu", "d", "e", {}), ("Flatten", "e", "f", {}),
        ("Gemm", "fo", "y", {}),
    ]  # fmt: skip
    weights = {"k": rng.normal(size=(2, 1, 3, 3)), "l": rng.normal(size=(2, 2, 2, 2)), "o": rng.normal(size=(18, 1))}
    weights = {name: w.astype(np.float32) for name, w in weights.items()} | {"s": np.float32([1, 1, 2, 2])}
    model = tools.model_bytes(nodes, weights, (1, 1, 3, 3))
    for top, status in (("60.0", "unsat"), ("-1.0", "sat")):
        text = tools.property_text(9, 1, [f"(assert (>= Y_0 {top}))"], "-0.3", "0.3")
        found = verify_files(model, text, 20.0)
        assert found.status == status
        assert status == "sat" or tc.check(model, text, found.certificate).status == "valid"
