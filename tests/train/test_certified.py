"""Certified training: what the losses are, that they certify, how they change over the updates, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import bounds, nn, optim, train
from torchlean.errors import MissingRule, ShapeError, UsageError
from torchlean.run.execute import execute
from torchlean.run.program import Program
from torchlean.train import losses
from torchlean.train.certified import Subject, hot, margin_rows
from torchlean.train.data import examples, target_type
from torchlean.train.predict import mean_loss
from torchlean.train.step import DONE, build_step, loss_graph

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 240)
CENTERS = np.array([[0.0, 0.0, 0.4, 0.1], [0.5, 0.0, 0.1, 0.6], [0.1, 0.6, 0.0, 0.2]])
X = (CENTERS[LABELS] + 0.05 * RNG.normal(size=(240, 4))).astype(np.float32)
EPS = 0.12
LOSSES = (losses.IBP, losses.CrownIBP, losses.SABR)
each_loss = pytest.mark.parametrize("kind", LOSSES, ids=lambda k: k.__name__)


def mlp(seed: int = 0) -> Program:
    layers = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    return nn.trace(layers, tl.f32["batch", 4], seed=seed)


def fit(loss: Any, steps: int, **options: Any) -> train.Run:
    trainer = train.Trainer(loss=loss, optimizer=optim.Adam(5e-3), progress=False)
    return trainer.fit(mlp(), (X, LABELS), steps=steps, batch_size=40, **options)


def certified(program: Program, eps: float, method: str) -> float:
    regions = [tl.box(x, eps) for x in X[:60]]
    low, _ = bounds.bounds(program, regions, method, C=bounds.margins(LABELS[:60], 3))
    return float((low > 0).all(axis=1).mean())


def loss_of(program: Program, loss: Any, done: float | None = None) -> float:
    """The value on all examples, after `done` updates."""
    graph = loss_graph(program, loss, target_type(program, LABELS), training=done is not None)
    graph = train.step.specialise(graph, batch=len(X))
    values = {**program.parameters, "x": X, "target": LABELS}
    values[next(iter(program.graph.inputs))] = X
    return float(execute(graph, values | ({} if done is None else {DONE: np.float32(done)}), "eager")["loss"])


def test_plain_training_certifies_nothing_where_certified_training_does() -> None:
    plain = fit(losses.cross_entropy, 250).program
    assert certified(plain, EPS, "interval") < 0.2
    for kind in LOSSES:
        found = fit(kind(EPS, warmup=30, ramp=120), 250).program
        assert (found(X).argmax(axis=1) == LABELS).mean() > 0.95
        assert certified(found, EPS, "crown") > 0.9, kind
        if kind is losses.IBP:
            assert certified(found, EPS, "interval") > 0.9


@each_loss
def test_the_loss_is_no_less_than_that_of_any_point_of_the_box(kind: Any) -> None:
    """kappa = 0: the worst case's cross-entropy. SABR's box is smaller: it holds the point that its attack found."""
    program, rng = fit(losses.cross_entropy, 60).program, np.random.default_rng(1)
    worst = loss_of(program, kind(0.05, kappa=0.0))
    tried = [loss_of(program, losses.cross_entropy)]
    for k in range(20 if kind is not losses.SABR else 0):
        t = rng.uniform(-1, 1, size=X.shape)
        moved = (X + 0.05 * (np.sign(t) if k % 2 else t)).astype(np.float32)
        logits = program(moved).astype(np.float64)
        tried.append(float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(X)), LABELS]).mean()))
    assert worst > max(tried)


def test_a_tighter_bound_is_a_smaller_loss() -> None:
    program = fit(losses.cross_entropy, 60).program
    interval = loss_of(program, losses.IBP(0.1, kappa=0.0))
    linear = loss_of(program, losses.CrownIBP(0.1, kappa=0.0, beta=1.0))
    small = loss_of(program, losses.SABR(0.1, kappa=0.0, portion=0.2))
    assert linear < interval and small < interval
    # margins instead of ends: the interval part of CROWN-IBP is IBP's, shifted per example
    assert loss_of(program, losses.CrownIBP(0.1, kappa=0.0, beta=0.0)) == pytest.approx(interval, rel=1e-5)
    # a box of the whole radius around the center is IBP's
    assert loss_of(program, losses.SABR(0.1, kappa=0.0, portion=1.0)) == pytest.approx(interval, rel=1e-5)


def test_sabr_s_small_box_holds_a_worse_point_than_the_center() -> None:
    program = fit(losses.cross_entropy, 60).program
    attacked = loss_of(program, losses.SABR(0.1, kappa=0.0, portion=0.0, steps=8))
    assert attacked > loss_of(program, losses.cross_entropy) + 0.01
    one = loss_of(program, losses.SABR(0.1, kappa=0.0, portion=0.0, steps=1))
    assert one <= attacked + 1e-3


@each_loss
def test_the_box_grows_with_the_updates(kind: Any) -> None:
    program = mlp()
    loss, plain = kind(0.2, warmup=10, ramp=20, kappa=0.25), loss_of(program, losses.cross_entropy)
    assert loss_of(program, loss, 0) == loss_of(program, loss, 10) == pytest.approx(plain, rel=1e-6)
    half, end = loss_of(program, loss, 20), loss_of(program, loss, 30)
    assert plain < half < end == loss_of(program, loss, 1000) == loss_of(program, loss)
    # a domain cuts the box: a domain of nearly a point leaves nearly no room
    assert loss_of(program, kind(0.2, domain=(0.0, 0.5))) < end


def test_the_updates_are_counted_in_a_state_and_validation_has_the_last_loss() -> None:
    loss = losses.IBP(0.1, ramp=10)
    step = build_step(mlp(), loss, optim.SGD(0.1), target_type(mlp(), LABELS))
    assert step.values[DONE] == 0 and DONE in dict(step.graph.updates)
    plain = build_step(mlp(), losses.cross_entropy, optim.SGD(0.1), target_type(mlp(), LABELS))
    assert DONE not in plain.values
    run = fit(loss, 20, validation=(X, LABELS), validate_every=20)
    ((at, found),) = run.history.validation
    assert at == 20 and found["loss"] == pytest.approx(loss_of(run.program, loss), rel=1e-5)
    assert mean_loss(run.program, loss, examples(run.program, (X, LABELS))) == found["loss"]


@each_loss
def test_a_resumed_run_has_the_bits_of_one_that_was_never_interrupted(kind: Any, tmp_path: Path) -> None:
    loss = kind(0.1, warmup=5, ramp=20)
    whole = fit(loss, 30)
    fit(loss, 12, checkpoint=tmp_path / "half")
    resumed = fit(loss, 30, resume=tmp_path / "half")
    assert all((whole.program.parameters[n] == a).all() for n, a in resumed.program.parameters.items())
    with pytest.raises(UsageError):
        fit(kind(0.2, warmup=5, ramp=20), 30, resume=tmp_path / "half")


def test_nothing_is_differentiated_through_the_attack() -> None:
    """The gradient is that of intervals around the point found, held fixed."""
    program, loss = fit(losses.cross_entropy, 60).program, losses.SABR(0.1, kappa=0.0, portion=0.0, steps=3)
    name = next(iter(program.parameters))
    base, slopes = dict(program.parameters), []
    graph = tl.grad.value_and_grad(loss_graph(program, loss, target_type(program, LABELS)), [name])
    values = {**base, next(iter(program.graph.inputs)): X, "target": LABELS}
    graph = train.step.specialise(graph, batch=len(X))
    slopes.append(execute(graph, values, "eager")[f"grad:{name}"])
    assert np.isfinite(slopes[0]).all() and np.abs(slopes[0]).max() > 0
    assert sum(node.op == "linear" for node in graph.nodes) <= 3 * (3 + 2 + 1) + 3 * 2 + 6  # no second-order walk


def test_margins_are_the_label_s_value_less_each_class_s() -> None:
    from torchlean import ops
    from torchlean.ir import Builder, i64

    g = Builder(ops.ALL)
    y, labels = g.input("y", tl.f32[4, 3]), g.input("labels", i64[(4,)])
    graph = g.finish({"rows": margin_rows(y, labels), "hot": hot(y, labels)})
    values = {"y": np.zeros((4, 3), np.float32), "labels": np.array([2, 0, 1, 2])}
    found = execute(graph, values)
    np.testing.assert_array_equal(found["hot"], np.eye(3, dtype=bool)[values["labels"]])
    full = np.eye(3)[values["labels"]][None] - np.eye(3)[:, None]
    np.testing.assert_array_equal(found["rows"], full)


@pytest.mark.parametrize(
    "wrong",
    [{"eps": -1}, {"eps": float("nan")}, {"eps": True}, {"eps": 0.1, "kappa": 2}, {"eps": 0.1, "ramp": 0},
     {"eps": 0.1, "warmup": -1}, {"eps": 0.1, "domain": (1.0, 0.0)}],
    ids=str,
)  # fmt: skip
@each_loss
def test_a_value_out_of_range_is_refused(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is out of range"):
        kind(**wrong)


def test_what_has_no_certified_loss_is_refused() -> None:
    with pytest.raises(UsageError, match="beta"):
        losses.CrownIBP(0.1, beta=1.5)
    with pytest.raises(UsageError, match="portion"):
        losses.SABR(0.1, portion=-0.5)
    with pytest.raises(UsageError, match="steps"):
        losses.SABR(0.1, steps=0)
    trainer = train.Trainer(loss=losses.IBP(0.1), optimizer=optim.SGD(0.1), progress=False)
    with pytest.raises(ShapeError, match="about a classifier"):
        trainer.fit(nn.trace(nn.MLP(4, 8, 1), tl.f32["batch", 4], seed=0), (X, X[:, :1]), steps=1, batch_size=4)
    curved = nn.trace(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), tl.f32["batch", 4], seed=0)
    linear = train.Trainer(loss=losses.CrownIBP(0.1), optimizer=optim.SGD(0.1), progress=False)
    with pytest.raises(MissingRule, match=r"losses\.IBP"):
        linear.fit(curved, (X, LABELS), steps=1, batch_size=4)
    trainer.fit(curved, (X, LABELS), steps=1, batch_size=4)  # as that error advises


def test_a_program_that_learns_statistics_is_refused() -> None:
    layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
    program = nn.trace(layers, tl.f32["batch", 4], seed=0, training=True)
    trainer = train.Trainer(loss=losses.IBP(0.1), optimizer=optim.SGD(0.1), progress=False)
    with pytest.raises(UsageError, match="updates nothing"):
        trainer.fit(program, (X, LABELS), steps=1, batch_size=4, inference=nn.trace(layers, tl.f32["batch", 4], seed=0))


def test_a_loss_of_one_s_own_reads_the_program() -> None:
    class Margin(losses.RegionLoss):
        def over(self, subject: Subject, target: Any) -> Any:
            assert subject.done is None or subject.done.type == tl.f32[()]
            return (subject.y * subject.y).mean() + subject.x.mean() * 0.0

    assert np.isfinite(loss_of(mlp(), Margin()))
