"""The trainer: the update it makes, the order it reads examples in, what it reports and what it refuses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, optim, train
from torchlean.errors import DataError, Diverged, FileError, ShapeError, TorchLeanError, UsageError
from torchlean.run.program import Program
from torchlean.train import losses
from torchlean.train.data import Order, examples
from torchlean.train.predict import mean_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0.5)


HOLED = np.where(X > 2, np.nan, X)


def mlp(outputs: int = 1, hidden: int = 8) -> Program:
    return nn.trace(nn.MLP(3, hidden, outputs), tl.f32["batch", 3], seed=0)


def trainer(optimizer: optim.Optimizer | None = None, **options: Any) -> train.Trainer:
    return train.Trainer(loss=options.pop("loss", losses.mse), optimizer=optimizer or optim.Adam(1e-2),
                         progress=False, **options)  # fmt: skip


def bits(program: Program) -> dict[str, bytes]:
    return {n: a.tobytes() for n, a in program.parameters.items()}


def test_regression_learns_and_leaves_the_given_program_alone() -> None:
    program = mlp()
    before = bits(program)
    run = trainer().fit(program, (X, Y), steps=300, batch_size=10)
    assert bits(program) == before and bits(run.program) != before
    assert run.evaluate((X, Y))["r2"] > 0.98 and len(run.history.loss) == 300
    assert run.history.loss[-20:].mean() < 0.05 * run.history.loss[:20].mean()
    assert run.program.graph == program.graph


def test_classification_learns() -> None:
    run = trainer(loss=losses.cross_entropy).fit(mlp(3), (X, LABELS), steps=200, batch_size=25)
    found = run.evaluate((X, LABELS))
    assert found["accuracy"] > 0.9 and found["confusion"].sum() == 50


@pytest.mark.parametrize("loss", [losses.mse, losses.mae, losses.huber])
def test_the_step_is_the_one_pytorch_makes(loss: losses.Loss) -> None:
    torch = pytest.importorskip("torch")
    program = mlp()
    run = trainer(optim.SGD(0.1), loss=loss).fit(program, (X, Y), steps=4, batch_size=10, seed=3)
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    with torch.no_grad():
        for p, a in zip(module.parameters(), program.parameters.values(), strict=True):
            p.copy_(torch.from_numpy(np.array(a)))
    theirs = {losses.mse: torch.nn.MSELoss(), losses.mae: torch.nn.L1Loss(), losses.huber: torch.nn.HuberLoss()}[loss]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    order = Order(examples(program, (X, Y)), 10, 3, "drop")
    for step in range(4):
        rows = order.rows(step)
        optimizer.zero_grad()
        value = theirs(module(torch.from_numpy(X[rows])), torch.from_numpy(Y[rows]))
        assert run.history.loss[step] == pytest.approx(value.item(), rel=1e-6)
        value.backward()
        optimizer.step()
    for p, a in zip(module.parameters(), run.program.parameters.values(), strict=True):
        # The same sums in another order.
        np.testing.assert_allclose(a, p.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_one_update_on_the_mean_gradient_does_not_depend_on_the_order_within_the_batch() -> None:
    whole = trainer(optim.SGD(0.1)).fit(mlp(), (X, Y), steps=1, batch_size=50, seed=0)
    other = trainer(optim.SGD(0.1)).fit(mlp(), (X, Y), steps=1, batch_size=50, seed=1)
    for a, b in zip(whole.program.parameters.values(), other.program.parameters.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_backends_make_nearly_the_same_steps_and_each_repeats_its_bits() -> None:
    small = (X[:12], Y[:12])
    runs = [trainer(backend=b).fit(mlp(hidden=4), small, steps=5, batch_size=6) for b in ("reference", "eager") * 2]
    assert bits(runs[0].program) == bits(runs[2].program) and bits(runs[1].program) == bits(runs[3].program)
    np.testing.assert_allclose(runs[0].history.loss, runs[1].history.loss, rtol=1e-5)


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1, momentum=0.5), optim.AdamW(1e-2)])
def test_a_float64_program_trains_in_float64(optimizer: optim.Optimizer) -> None:
    program = nn.trace(nn.Sequential(nn.Normalize([0.1] * 3, [2.0] * 3), nn.MLP(3, 8, 1)), tl.f64["n", 3], seed=0)
    run = trainer(optimizer).fit(program, (X, Y), steps=20, batch_size=10)
    assert all(a.dtype == np.float64 for a in run.program.parameters.values())
    single = nn.trace(nn.Sequential(nn.Normalize([0.1] * 3, [2.0] * 3), nn.MLP(3, 8, 1)), tl.f32["n", 3], seed=0)
    near = trainer(optimizer).fit(single, (X, Y), steps=20, batch_size=10)
    np.testing.assert_allclose(run.history.loss, near.history.loss, rtol=1e-4)


@pytest.mark.parametrize("partial", ["drop", "keep"])
def test_an_epoch_reads_each_example_once(partial: str) -> None:
    order = Order(examples(mlp(), (X, Y)), 8, 0, partial)
    assert order.per_epoch == (6 if partial == "drop" else 7)
    for epoch in range(3):
        rows = np.concatenate([order.rows(epoch * order.per_epoch + k) for k in range(order.per_epoch)])
        assert len(set(rows.tolist())) == len(rows) == (48 if partial == "drop" else 50)
        assert order.epoch(epoch * order.per_epoch) == epoch
    assert not np.array_equal(order.rows(0), order.rows(order.per_epoch))
    run = trainer().fit(mlp(), (X, Y), steps=15, batch_size=8, partial=partial)
    assert run.steps == 15


def test_a_seed_decides_the_order() -> None:
    runs = [trainer().fit(mlp(), (X, Y), steps=5, batch_size=8, seed=s).history.loss for s in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


def test_targets_of_one_axis_fit_a_program_with_one_output() -> None:
    a = trainer().fit(mlp(), (X, Y), steps=5, batch_size=8)
    b = trainer().fit(mlp(), (X.astype(np.float64), Y[:, 0].astype(np.float64)), steps=5, batch_size=8)
    assert bits(a.program) == bits(b.program)


def test_probes_are_evaluated_before_and_after() -> None:
    probes = {"first": X[:1], "norm": lambda p: float(np.abs(p.parameters["layers.0.bias"]).sum())}
    run = trainer().fit(mlp(), (X, Y), steps=20, batch_size=10, probes=probes)
    assert np.array_equal(run.probes["first"].before, mlp()(X[:1], backend="eager"))
    assert np.array_equal(run.probes["first"].after, run.program(X[:1], backend="eager"))
    assert run.probes["norm"].before != run.probes["norm"].after


def test_validation_is_the_loss_over_all_examples() -> None:
    held = X[:20] + 1, Y[:20]
    run = trainer().fit(mlp(), (X, Y), steps=12, batch_size=10, validation=held, validate_every=5)
    assert [s for s, _ in run.history.validation] == [5, 10, 12]
    found = run.evaluate(held)
    assert run.history.validation[-1][1]["loss"] == pytest.approx(found["rmse"] ** 2, rel=1e-6)
    assert run.history.validation[-1][1]["mae"] == found["mae"]


def test_chunks_do_not_change_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    program, held = mlp(), examples(mlp(), (X, Y))
    whole = mean_loss(program, losses.mse, held), train.predict(program, X)
    monkeypatch.setattr(importlib.import_module("torchlean.train.predict"), "CHUNK", 7)
    assert mean_loss(program, losses.mse, held) == pytest.approx(whole[0], rel=1e-6)
    np.testing.assert_allclose(train.predict(program, X), whole[1], rtol=1e-5, atol=1e-6)


def test_early_stopping_gives_back_the_best_parameters() -> None:
    noise = RNG.normal(size=(20, 1)).astype(np.float32)
    run = trainer(optim.Adam(0.1)).fit(mlp(), (X[:20], noise), steps=500, batch_size=20, validation=(X[20:40], noise),
                                       validate_every=5, patience=3)  # fmt: skip
    curve = dict(run.history.validation)
    assert run.steps < 500 and run.best is not None and run.steps == run.best + 15
    assert curve[run.best]["loss"] == min(v["loss"] for v in curve.values())
    assert run.evaluate((X[20:40], noise))["rmse"] ** 2 == pytest.approx(curve[run.best]["loss"], rel=1e-6)


def test_batch_norm_trains_on_one_trace_and_is_evaluated_on_the_other() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 1))
    training, inference = (nn.trace(model, tl.f32["batch", 3], seed=0, training=t) for t in (True, False))
    run = trainer().fit(training, (X, Y), steps=150, batch_size=10, inference=inference)
    assert run.program.graph == inference.graph and run.evaluate((X, Y))["r2"] > 0.95
    assert np.any(run.program.states["1.running_mean"] != 0)
    with pytest.raises(UsageError, match="inference trace"):
        trainer().fit(training, (X, Y), steps=1, batch_size=10)


def test_a_convolutional_network_trains() -> None:
    images = RNG.normal(size=(24, 1, 8, 8)).astype(np.float32)
    labels = (images.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
    images += labels[:, None, None, None]
    program = nn.trace(nn.CNN(1, 4, 8, classes=2), tl.f32["n", 1, 8, 8], seed=0)
    run = trainer(loss=losses.cross_entropy).fit(program, (images, labels), steps=60, batch_size=12)
    assert run.evaluate((images, labels))["accuracy"] > 0.9


def test_a_loss_that_is_no_longer_finite_stops_with_the_step_and_the_node() -> None:
    with pytest.raises(Diverged) as caught:
        trainer(optim.SGD(1e30)).fit(mlp(), (X, Y), steps=50, batch_size=10)
    error = caught.value
    assert error.where == "step 2 of 50" and "the loss of step 2 is" in error.what
    assert "first at node %" in error.got and "in step " in error.got


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_an_update_that_spoils_a_parameter_is_found_in_the_step_that_made_it(backend: str) -> None:
    with pytest.raises(Diverged) as caught:
        trainer(optim.SGD(3e38), backend=backend).fit(mlp(), (X, 100 * Y), steps=50, batch_size=10)
    assert caught.value.where == "step 2 of 50" and caught.value.got.endswith(", in step 1")
    with pytest.raises(Diverged, match="a state is no longer finite") as caught:
        trainer(optim.SGD(3e38), backend=backend).fit(mlp(), (X, 100 * Y), steps=1, batch_size=10)
    assert caught.value.got.endswith(", in step 1")


def test_a_loss_function_with_a_hole_names_its_own_node() -> None:
    def log_loss(prediction: Any, target: Any) -> Any:
        return prediction.builder.log(prediction - 100.0).mean() + target.mean()

    with pytest.raises(Diverged) as caught:
        trainer(loss=log_loss).fit(mlp(), (X, Y), steps=5, batch_size=10)
    assert "(log)" in caught.value.got and caught.value.where == "step 1 of 5"


BAD: dict[str, tuple[Callable[[], object], type[TorchLeanError]]] = {
    "no steps": (lambda: trainer().fit(mlp(), (X, Y), steps=0, batch_size=8), UsageError),
    "negative steps": (lambda: trainer().fit(mlp(), (X, Y), steps=-5, batch_size=8), UsageError),
    "fractional steps": (lambda: trainer().fit(mlp(), (X, Y), steps=1.5, batch_size=8), UsageError),
    "large batch": (lambda: trainer().fit(mlp(), (X, Y), steps=1, batch_size=51), UsageError),
    "no batch": (lambda: trainer().fit(mlp(), (X, Y), steps=1, batch_size=0), UsageError),
    "sizes": (lambda: trainer().fit(mlp(), (X, Y[:49]), steps=1, batch_size=8), ShapeError),
    "columns": (lambda: trainer().fit(mlp(), (X[:, :2], Y), steps=1, batch_size=8), ShapeError),
    "targets": (lambda: trainer().fit(mlp(2), (X, Y), steps=1, batch_size=8), ShapeError),
    "nan": (lambda: trainer().fit(mlp(), (HOLED, Y), steps=1, batch_size=8), DataError),
    "infinite target": (lambda: trainer().fit(mlp(), (X, Y * np.inf), steps=1, batch_size=8), DataError),
    "empty": (lambda: trainer().fit(mlp(), (X[:0], Y[:0]), steps=1, batch_size=8), DataError),
    "text": (lambda: trainer().fit(mlp(), (X.astype(str), Y), steps=1, batch_size=8), DataError),
    "no dataset": (lambda: trainer().fit(mlp(), X, steps=1, batch_size=8), UsageError),
    "label": (lambda: trainer(loss=losses.cross_entropy).fit(mlp(2), (X, LABELS), steps=1, batch_size=8), DataError),
    "labels of rank 2": (
        lambda: trainer(loss=losses.cross_entropy).fit(mlp(3), (X, LABELS[:, None]), steps=1, batch_size=8),
        ShapeError,
    ),
    "wrong loss": (lambda: trainer(loss=losses.cross_entropy).fit(mlp(), (X, Y), steps=1, batch_size=8), ShapeError),
    "no scalar": (lambda: trainer(loss=lambda p, t: p - t).fit(mlp(), (X, Y), steps=1, batch_size=8), TorchLeanError),
    "backend": (lambda: trainer(backend="gpu").fit(mlp(), (X, Y), steps=1, batch_size=8), UsageError),
    "partial": (lambda: trainer().fit(mlp(), (X, Y), steps=1, batch_size=8, partial="wrap"), UsageError),
    "patience alone": (lambda: trainer().fit(mlp(), (X, Y), steps=1, batch_size=8, patience=3), UsageError),
    "log folder": (lambda: trainer().fit(mlp(), (X, Y), steps=1, batch_size=8, log="/no/such/folder/log"), FileError),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(make: Callable[[], object], kind: type[TorchLeanError]) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert caught.value.fix and caught.value.where


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    train.Trainer(losses.mse, optim.Adam(1e-3)).fit(mlp(), (X, Y), steps=20, batch_size=10, validation=(X, Y))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("step 20/20   loss ") and "rmse" in lines[-1]
    trainer().fit(mlp(), (X, Y), steps=20, batch_size=10)
    assert capsys.readouterr().err == ""


def test_the_linear_baseline_is_least_squares() -> None:
    held = type("Data", (), {"x": X[40:] * [1, 1e4, 1e-4], "y": Y[40:, 0]})
    fit = type("Data", (), {"x": X[:40] * [1, 1e4, 1e-4], "y": Y[:40, 0]})
    baseline = train.linear_baseline(fit, held)
    np.testing.assert_allclose(baseline.weight[:, 0], [1, -2e-4, 5e3], rtol=1e-4)
    assert baseline.held_out["rmse"] < 1e-5 and "rmse" in str(baseline)
    np.testing.assert_allclose(baseline(held.x)[:, 0], held.y, atol=1e-5)
