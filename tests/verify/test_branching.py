"""Which entry is split: the bounds of halves are those of the states that a split makes, and decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import torchlean_check as tc
from torchlean.verify import branching
from torchlean.verify.bent import Bounded
from torchlean.verify.branching import BALANCE, LEAST, Halves, Splits, choose
from torchlean.verify.choice import worth
from torchlean.verify.forms import Forms
from torchlean.verify.maps import TorchMaps
from torchlean.verify.places import Bent, Places, Pushes
from torchlean.verify.points import points
from torchlean_check.network import Curve
from torchlean_check.rules import curve

ROWS = 3

Setting = tuple[tc.Kernel, TorchMaps, list[tc.State], Bounded]
Made = Callable[[int], Setting]


def make(model: bytes, claim: bytes, seed: int) -> Setting:
    """Three rows of one tree, the second and the third below splits, with any parameters and multipliers."""
    net, (region,) = tc.load(model, claim)
    kernel, maps, rng = tc.Kernel(net, region), TorchMaps(net, "cpu"), np.random.default_rng(seed)
    start = kernel.start()
    kernel.bound(start, derive=True)
    a, b = sorted({node.source for node in net.nodes if isinstance(node, Curve)})[:2]
    middle = [float(0.5 * start.boxes[k][0][0, 1] + 0.5 * start.boxes[k][1][0, 1]) for k in (a, b)]
    _, one = kernel.split_value(start, a, 1, middle[0])
    two, _ = kernel.split_value(one, b, 1, middle[1])
    states = [start, one, two]
    state = tc.State.join(states)
    bent = Bent(kernel, state, maps)
    places: Places = {
        k: torch.tensor(rng.uniform(0 if k in net.relu_inputs else -1, 1, p.shape), dtype=torch.float32)
        for k, p in bent.start(ROWS, net.output).items()
    }
    pushes: Pushes = {k: tuple(torch.zeros(ROWS, net.nodes[k].size) for _ in range(3)) for k in (a, b)}  # type: ignore[misc]
    for row, k, side, at, beta in (
        (1, a, 1.0, middle[0], 0.2),
        (2, a, 1.0, middle[0], 0.1),
        (2, b, -1.0, middle[1], 0.3),
    ):
        for part, number in zip(pushes[k], (side, at, beta), strict=True):
            part[row, 1] = number
    seed_rows = torch.tensor(rng.normal(size=(ROWS, net.outputs)), dtype=torch.float32)
    forms = Forms(net.output, seed_rows, None, torch.zeros(ROWS))
    with torch.no_grad():
        value = maps.get(bent.bound(forms, places, pushes)).astype(np.float64)
    items = [(i, 0) for i in range(ROWS)]
    return kernel, maps, states, Bounded(items, state, bent, forms, value, places, pushes)


@pytest.fixture
def setting(curved: tuple[Callable[..., tuple[bytes, np.ndarray]], Callable[[str], bytes]]) -> Made:
    network, claim = curved
    return lambda seed: make(network(seed, layers=2)[0], claim("(>= Y_0 0.0)"), seed)


def every_split(kernel: tc.Kernel, states: list[tc.State]) -> Splits:
    """Of all entries that may be split, row by row."""
    found = []
    for row, state in enumerate(states):
        for k in sorted(kernel.network.boxed):
            lo, hi = state.boxes[k][0][0], state.boxes[k][1][0]
            open_ = (lo < 0) & (hi > 0) if k in kernel.network.relu_inputs else lo < hi
            at = points(kernel.network, k, lo, hi)
            found += [(row, k, i, at[i]) for i in np.flatnonzero(open_).tolist()]
    row, value, index, at = zip(*found, strict=True)
    return Splits(np.array(row), np.array(value), np.array(index), np.array(at))


@pytest.mark.parametrize("seed", [0, 1])
def test_halves_are_bounded_as_the_states_of_a_split_are(setting: Made, seed: int) -> None:
    kernel, maps, states, found = setting(seed)
    splits = every_split(kernel, states)
    halves = Halves(found.bent, found.places, splits)
    i = halves.rows
    given = (
        found.forms.take(i),
        {k: p[i] for k, p in found.places.items()},
        {k: (a[i], b[i], c[i]) for k, (a, b, c) in found.pushes.items()},
    )
    pairs = [
        kernel.split_value(states[row], int(value), int(index), float(at))
        for row, value, index, at in zip(splits.row, splits.value, splits.index, splits.at, strict=True)
    ]
    made = Bent(kernel, tc.State.join([pair[side] for side in (0, 1) for pair in pairs]), maps)
    with torch.no_grad():
        mine, expected = maps.get(halves.bound(*given)), maps.get(made.bound(*given))
    # a curve's lines are drawn at the very place here, and interpolated between samples of it there
    size = np.abs(found.value).max()
    assert np.abs(mine - expected).mean() < 1e-3 * size and np.abs(mine - expected).max() < 0.05 * size
    before = np.tile(found.value[splits.row], 2)
    assert (mine > before + 1e-3 * size).any()  # halves do gain, and not by what is compared here
    for k in found.places:
        given[1][k].round_()
    for whole in found.places.values():
        whole.round_()  # at -1, 0 and 1 samples are drawn: nothing is interpolated
    again = Halves(found.bent, found.places, splits)
    with torch.no_grad():
        np.testing.assert_allclose(maps.get(again.bound(*given)), maps.get(made.bound(*given)), rtol=1e-4, atol=1e-4)


def test_each_box_is_asked_once_and_gives_the_lines_of_all_rows(setting: Made) -> None:
    kernel, _, states, _ = setting(2)
    state = tc.State.join([*states, states[1], states[2]])
    bent = Bent(kernel, state, TorchMaps(kernel.network, "cpu"))
    for k, node in enumerate(kernel.network.nodes):
        if isinstance(node, Curve):
            lo, hi = state.boxes[node.source]
            for place in (-1.0, 0.0, 1.0):
                given = {key: torch.full(lo.shape, place) for key in bent.keys(k)}
                (a, p), (s, t) = bent._curve(k, node, given)
                exact = curve.lines(node, (np.full_like(lo, place), np.full_like(lo, place)), (lo, hi))
                for mine, line in zip((a, p, s, t), (exact.a, exact.p, exact.s, exact.t), strict=True):
                    np.testing.assert_allclose(mine, line, rtol=1e-6, atol=1e-6)


def test_the_split_whose_halves_gain_most_is_chosen(setting: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all entries, here; however many halves are bounded at once."""
    kernel, maps, states, found = setting(0)
    every, rows = every_split(kernel, states), np.arange(ROWS)
    monkeypatch.setattr(branching, "CANDIDATES", len(every.row))
    halves = Halves(found.bent, found.places, every)
    i = halves.rows
    with torch.no_grad():
        bounds = halves.bound(
            found.forms.take(i),
            {k: p[i] for k, p in found.places.items()},
            {k: (a[i], b[i], c[i]) for k, (a, b, c) in found.pushes.items()},
        )
    low, high = np.maximum(maps.get(bounds).reshape(2, -1) - found.value[every.row], LEAST)
    worths = worth(low, high, BALANCE)
    for size in (1 << 10, 6):
        splits, scores = choose(found, rows, np.inf, size)
        assert (splits.row == rows).all()
        for row in range(ROWS):
            mine = np.flatnonzero(every.row == row)
            best = mine[worths[mine].argmax()]
            name = every.value[best], every.index[best], every.at[best]
            assert (splits.value[row], splits.index[row], splits.at[row]) == name
            assert scores[row] == pytest.approx(worths[best], rel=1e-2)


def test_a_score_counts_no_more_than_what_is_missing(setting: Made) -> None:
    *_, found = setting(0)
    goal = float(found.value.max()) + 1e-3
    _, scores = choose(found, np.arange(ROWS), goal, 64)
    assert (scores <= 2 * (goal - found.value) ** BALANCE * (1 + 1e-6)).all()


def test_a_bound_that_is_no_number_is_no_gain(setting: Made) -> None:
    _, _, _, found = setting(0)
    _, before = choose(found, np.arange(ROWS), np.inf, 64)
    found.forms.bias[0] = torch.nan
    splits, scores = choose(found, np.arange(ROWS), np.inf, 64)
    assert np.isfinite(splits.at).all() and 0 < scores[0] < before[0] and (scores[1:] == before[1:]).all()


def test_where_every_box_is_narrow_no_split_helps(setting: Made) -> None:
    *_, found = setting(0)
    for k, (lo, _) in found.state.boxes.items():
        found.state.boxes[k] = lo, lo.copy()
    assert (choose(found, np.arange(ROWS), np.inf, 64)[1] == 0).all()


def test_a_form_above_no_curve_has_nothing_to_optimise(setting: Made) -> None:
    """A network may have curves that do not stand below what is bounded."""
    kernel, maps, _, _ = setting(0)
    value = min(k for k in kernel.network.boxed if k > 0)
    size = kernel.network.nodes[value].size
    bent = Bent(kernel, kernel.start(), maps)
    forms = Forms.entries(maps, value, size, maps.index(np.arange(size)), torch.ones(size))
    bound, _, _ = bent.improve(forms, bent.start(size, kernel.network.output), {}, 5, np.inf)
    lo, _ = kernel.start().boxes[value]
    np.testing.assert_allclose(maps.get(bound), lo[0], rtol=1e-4, atol=1e-4)
