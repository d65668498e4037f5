"""The trainer: one update on the mean gradient of each mini-batch, with everything that a run needs around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchlean.errors import Diverged, UsageError
from torchlean.ir import content_hash
from torchlean.optim import Optimizer
from torchlean.run.program import Program
from torchlean.train.checkpoint import Checkpoint, Settings, check_fits, load_checkpoint, save_checkpoint
from torchlean.train.data import Examples, Order, examples, target_type
from torchlean.train.engine import Engine, engine, first_not_finite
from torchlean.train.log import Log
from torchlean.train.losses import Loss
from torchlean.train.metrics import measure
from torchlean.train.predict import mean_loss, predict
from torchlean.train.progress import Progress
from torchlean.train.run import History, Probe, Run
from torchlean.train.step import Step, build_step

Probes = Mapping[str, "np.ndarray | Callable[[Program], Any]"]


@dataclass(frozen=True)
class Trainer:
    """How to train: a loss, an optimizer, and where to run.

    backend    `eager` (torch, on the CPU), `eager-cuda`, or `reference` (numpy, the same bits everywhere)
    progress   whether to show how far the run is, on standard error
    """

    loss: Loss
    optimizer: Optimizer
    backend: str = "eager"
    progress: bool = True

    def fit(
        self,
        program: Program,
        data: Any,
        *,
        steps: int,
        batch_size: int,
        seed: int = 0,
        partial: str = "drop",
        inference: Program | None = None,
        validation: Any = None,
        validate_every: int | None = None,
        patience: int | None = None,
        probes: Probes | None = None,
        log: str | Path | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        resume: str | Path | None = None,
    ) -> Run:
        """Make `steps` updates, each on the mean gradient of one mini-batch.

        data              a Dataset, or (x, y); shuffled anew each epoch by `seed`
        partial           the last examples of an epoch that do not fill a batch: `drop`, or `keep` as a smaller batch
        inference         the inference trace of the same model; needed where the program updates states (BatchNorm)
        validation        a dataset, measured every `validate_every` updates (default: ten times in all) and at the end
        patience          stop after this many validations without a smaller loss, and give back the best parameters
        probes            inputs, or functions of a program, evaluated before the first update and after the last
        log               a file to which JSON lines are appended
        checkpoint        a file written every `checkpoint_every` updates and at the end; `resume` continues from one:
                          the bits are those of a run that was never interrupted (`steps` counts from the very start)
        Raises            UsageError, ShapeError, DataError for what does not fit; FileError for a checkpoint that does
                          not; Diverged when the loss is no longer finite
        """
        for name, value in (
            ("steps", steps),
            ("validate_every", validate_every),
            ("patience", patience),
            ("checkpoint_every", checkpoint_every),
        ):
            _positive(name, value)
        if program.graph.updates and inference is None:
            raise UsageError(
                "the program updates states, so evaluation needs the inference trace too",
                where="fit(inference=...)",
                expected="the inference trace of the same model",
                got="none",
                fix="fit(..., inference=nn.trace(model, ...))",
            )
        if patience is not None and validation is None:
            raise UsageError(
                "early stopping needs validation data",
                where="fit(patience=...)",
                expected="validation=...",
                got="none",
                fix="split the data and pass validation=held_out",
            )
        fitted = examples(program, data)
        order = Order(fitted, batch_size, seed, partial)
        step = build_step(program, self.loss, self.optimizer, target_type(program, fitted.y))
        settings = Settings(
            content_hash(program.graph),
            _name(self.loss),
            repr(self.optimizer),
            batch_size,
            seed,
            partial,
            len(fitted.x),
            fitted.digest(),
            self.backend,
        )
        held = None if validation is None else examples(program, validation, "validation")
        session = Session(
            self,
            step,
            engine(self.backend, step, fitted.x, fitted.y),
            order,
            settings,
            inference or program,
            held,
            steps,
            validate_every or max(1, steps // 10),
            patience,
        )
        before = {n: _probe(p, session.program(), self.backend) for n, p in (probes or {}).items()}
        if resume is not None:
            session.resume(resume)
        started = time.perf_counter()
        with Log(log) as lines, Progress(steps, self.progress) as progress:
            session.run(lines, progress, checkpoint, checkpoint_every)
        seconds = time.perf_counter() - started
        trained = session.result()
        after = {n: Probe(b, _probe((probes or {})[n], trained, self.backend)) for n, b in before.items()}
        return Run(
            trained,
            session.history(),
            session.done,
            seconds,
            self.backend,
            session.best_step if patience is not None else None,
            after,
        )


class Session:
    """The changing part of one run."""

    def __init__(
        self,
        trainer: Trainer,
        step: Step,
        runner: Engine,
        order: Order,
        settings: Settings,
        inference: Program,
        held: Examples | None,
        steps: int,
        validate_every: int,
        patience: int | None,
    ) -> None:
        self.trainer, self.step, self.runner, self.order = trainer, step, runner, order
        self.settings, self.inference, self.held = settings, inference, held
        self.steps, self.validate_every, self.patience = steps, validate_every, patience
        self.done = 0
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.validations: list[tuple[int, dict[str, float]]] = []
        self.best_step, self.best_loss, self.waited = 0, float("inf"), 0
        self.best: Mapping[str, np.ndarray] = {}

    def run(self, lines: Log, progress: Progress, checkpoint: Any, every: int | None) -> None:
        """The updates that are left."""
        schedule = self.trainer.optimizer.schedule
        lines.write(
            "start",
            step=self.done,
            steps=self.steps,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            optimizer=self.settings.optimizer,
            loss_function=self.settings.loss,
            program=self.settings.program,
            backend=self.settings.backend,
            examples=self.settings.examples,
        )
        while self.done < self.steps and not self._stopped():
            rate = schedule.rate(self.done)
            loss = self.runner.update(self.order.rows(self.done), rate)
            if not np.isfinite(loss):
                raise self._diverged(loss)
            self.done += 1
            self.losses.append(loss)
            self.rates.append(rate)
            lines.write("step", step=self.done, epoch=self.order.epoch(self.done - 1), loss=loss, rate=rate)
            if self.held is not None and self.done % self.validate_every == 0:
                self._validate(lines, progress)
            progress.step(self.done, loss)
            if checkpoint is not None and every is not None and self.done % every == 0:
                self.save(checkpoint)
        spoiled = _spoiled(self.runner.values())
        if spoiled is not None:
            raise self._diverged(float("nan"), f"{spoiled} after the last update")
        if checkpoint is not None:
            self.save(checkpoint)
        if self.held is not None and self.done % self.validate_every:
            self._validate(lines, progress)  # after the checkpoint: a longer run would not have made it
        lines.write("end", step=self.done, stopped_early=self.done < self.steps)

    def _stopped(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def _validate(self, lines: Log, progress: Progress) -> None:
        assert self.held is not None
        program, backend = self.program(), self.trainer.backend
        loss = mean_loss(program, self.trainer.loss, self.held, backend)
        metrics = measure(predict(program, self.held.x, backend), self.held.y)
        found = {"loss": loss, **{n: v for n, v in metrics.items() if isinstance(v, float)}}
        self.validations.append((self.done, found))
        lines.write("validation", step=self.done, **found)
        progress.note("validation " + "  ".join(f"{n} {v:.4g}" for n, v in found.items()))
        if loss < self.best_loss:  # never true for NaN
            self.best_step, self.best_loss, self.waited = self.done, loss, 0
            self.best = self.runner.values() if self.patience is not None else {}
        else:
            self.waited += 1

    def program(self, values: Mapping[str, np.ndarray] | None = None) -> Program:
        """The inference program with the present values."""
        arrays = self.runner.values() if values is None else values
        base = self.inference
        return base.with_arrays({n: arrays[n] for n in base.parameters}, {n: arrays[n] for n in base.states})

    def result(self) -> Program:
        """The trained program: the best one under early stopping, else the last."""
        return self.program(self.best or None)

    def history(self) -> History:
        return History(np.array(self.losses), np.array(self.rates), tuple(self.validations))

    def save(self, path: Any) -> None:
        """Write a checkpoint."""
        names = sorted({n for _, found in self.validations for n in found})
        arrays = {
            "history/loss": np.array(self.losses, dtype=np.float64),
            "history/rate": np.array(self.rates, dtype=np.float64),
            "validation_steps": np.array([s for s, _ in self.validations], dtype=np.int64),
            "best_loss": np.array(self.best_loss),
            "best_step_and_waited": np.array([self.best_step, self.waited], dtype=np.int64),
            **{f"validation/{n}": np.array([found[n] for _, found in self.validations]) for n in names},
            **{f"best/{n}": a for n, a in self.best.items()},
        }
        save_checkpoint(path, Checkpoint(self.settings, self.done, self.runner.values(), arrays))

    def resume(self, path: Any) -> None:
        """Continue from a checkpoint. Raises FileError, UsageError when it is not of this run."""
        found = load_checkpoint(path)
        check_fits(path, found, self.settings, self.step.values)
        if found.step > self.steps:
            raise UsageError(
                "the checkpoint is beyond the last step",
                where=str(path),
                expected=f"at most {self.steps} steps",
                got=f"{found.step} steps",
                fix="ask for more steps: they count from the very start",
            )
        arrays = found.arrays
        self.done = found.step
        self.losses, self.rates = arrays["history/loss"].tolist(), arrays["history/rate"].tolist()
        metrics = {n.removeprefix("validation/"): a for n, a in arrays.items() if n.startswith("validation/")}
        self.validations = [
            (int(s), {n: float(a[i]) for n, a in metrics.items()}) for i, s in enumerate(arrays["validation_steps"])
        ]
        self.best_loss = float(arrays["best_loss"])
        self.best_step, self.waited = (int(v) for v in arrays["best_step_and_waited"])
        self.best = {n.removeprefix("best/"): a for n, a in arrays.items() if n.startswith("best/")}
        self.runner.load(found.values)

    def _diverged(self, loss: float, what: str = "") -> Diverged:
        """Find the node at fault: run the update again on the reference, or the one before if that spoiled a state."""
        step = self.done  # the update that failed; after the last one (`what` is given) it is step - 1
        back, at = 1, step - 1 if what else step
        values = self.runner.previous(back)
        if at > 0 and _spoiled(values):
            back, at = 2, at - 1
            values = self.runner.previous(back)
        bad = _spoiled(values)
        place = f"the state {bad}, spoiled by an earlier update" if bad else None
        if place is None:
            rows = self.order.rows(at)
            inputs = self.runner.inputs(rows, self.trainer.optimizer.schedule.rate(at))
            node = first_not_finite(self.step.sized(len(rows)), {**values, **inputs})
            place = f"{node}, in step {at + 1}" if node else None
        return Diverged(
            f"the loss of step {step + 1} is {loss}" if not what else "a state is no longer finite",
            where=what or f"step {step + 1} of {self.steps}",
            expected="a finite loss",
            got=f"first at {place}" if place else "no node of the reference execution: the backend's own overflow",
            fix="use a smaller learning rate, warm-up, or normalized inputs",
        )


def _positive(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(
            f"{name} must be a positive int",
            where=f"fit({name}=...)",
            expected=f"{name} >= 1",
            got=repr(value),
            fix=f"give a positive {name}",
        )


def _spoiled(values: Mapping[str, np.ndarray]) -> str | None:
    """The first state with a value that is not finite."""
    return next((n for n, a in values.items() if a.dtype.kind == "f" and not np.all(np.isfinite(a))), None)


def _name(function: Any) -> str:
    """A loss by its module and name, or by its repr."""
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


def _probe(probe: Any, program: Program, backend: str) -> Any:
    return probe(program) if callable(probe) else predict(program, np.asarray(probe), backend)
