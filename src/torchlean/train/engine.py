"""Running the step graph again and again: the states stay where they are between steps.

`reference` runs the definition on numpy. `eager` runs torch node by node: the calls are worked out once, constants are
made once, and the states stay torch tensors on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from torchlean import ops
from torchlean.errors import UsageError
from torchlean.ir import Graph
from torchlean.run.eager import torch_namespace, without_tf32
from torchlean.run.execute import execute
from torchlean.run.schedule import schedule
from torchlean.train.step import LOSS, RATE, TARGET, Step

BACKENDS = ("eager", "eager-cpu", "eager-cuda", "reference")


class Engine(ABC):
    """The states of a step graph, and how one update is run on rows of a dataset.

    The states before the two latest updates are kept, so that a failure can be looked into.
    """

    def __init__(self, step: Step, x: np.ndarray, y: np.ndarray) -> None:
        self.step, self.x, self.y = step, x, y

    @abstractmethod
    def update(self, rows: np.ndarray, rate: float) -> float:
        """One update on the examples `rows`; the loss before it."""

    @abstractmethod
    def values(self) -> dict[str, np.ndarray]:
        """All states, as numpy arrays."""

    @abstractmethod
    def previous(self, back: int) -> dict[str, np.ndarray]:
        """All states before the latest update (back = 1) or the one before it (back = 2)."""

    @abstractmethod
    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Replace all states."""

    def inputs(self, rows: np.ndarray, rate: float) -> dict[str, np.ndarray]:
        """The step graph's inputs for these examples."""
        return {self.step.input: self.x[rows], TARGET: self.y[rows], RATE: np.asarray(rate, dtype=np.float32)}


class Reference(Engine):
    """The definition, on numpy: the same bits everywhere."""

    def __init__(self, step: Step, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(step, x, y)
        self._sized: dict[int, Graph] = {}
        self.load(step.values)

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        self._values = dict(values)
        self._past = (self._values, self._values)

    def update(self, rows: np.ndarray, rate: float) -> float:
        if len(rows) not in self._sized:
            self._sized[len(rows)] = self.step.sized(len(rows))
        answer = execute(self._sized[len(rows)], {**self._values, **self.inputs(rows, rate)})
        self._past = (self._values, self._past[0])
        self._values = {n: answer.get(f"update:{n}", v) for n, v in self._values.items()}
        return float(answer[LOSS])

    def values(self) -> dict[str, np.ndarray]:
        return dict(self._values)

    def previous(self, back: int) -> dict[str, np.ndarray]:
        return dict(self._past[back - 1])


class Eager(Engine):
    """torch, node by node, on the CPU or a CUDA device."""

    def __init__(self, step: Step, x: np.ndarray, y: np.ndarray, device: str) -> None:
        super().__init__(step, x, y)
        self._xp, self._torch = torch_namespace(device)
        without_tf32(self._torch)
        self._device = device
        self._x, self._y = (self._torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (x, y))
        self._calls: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.load(step.values)

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        self._values = {n: self._torch.from_numpy(np.array(v)).to(self._device) for n, v in values.items()}
        self._past = (self._values, self._values)

    def update(self, rows: np.ndarray, rate: float) -> float:
        torch = self._torch
        # A kernel that makes an array of its own makes it on the CPU unless told; telling costs time at every call.
        device = torch.device(self._device) if self._device != "cpu" else nullcontext()
        with torch.inference_mode(), device:
            if len(rows) not in self._calls:
                self._calls[len(rows)] = compiled(self.step.sized(len(rows)), self._xp, torch, self._device)
            chosen = torch.from_numpy(rows).to(self._device)
            inputs = {
                self.step.input: self._x[chosen],
                TARGET: self._y[chosen],
                RATE: torch.tensor(rate, dtype=torch.float32, device=self._device),
            }
            answer = self._calls[len(rows)](self._values | inputs)
            loss = float(answer.pop(LOSS))
        self._past = (self._values, self._past[0])
        self._values = self._values | answer
        return loss

    def values(self) -> dict[str, np.ndarray]:
        return self._numpy(self._values)

    def previous(self, back: int) -> dict[str, np.ndarray]:
        return self._numpy(self._past[back - 1])

    def _numpy(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {n: np.array(v.cpu().numpy()) for n, v in values.items()}


def compiled(graph: Graph, xp: Any, torch: Any, device: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The calls of a specialised graph as one Python function: source values by name -> outputs and updates by name.

    Every result is a local variable, dropped after its last reader; constants are made here, once. That is where the
    time of a small network's step goes: a table walked node by node takes about twice as long.
    """
    plan = schedule(graph)
    names: dict[str, Any] = {"xp": xp}
    lines = []
    sources = {number for number, _ in plan.sources}
    made: set[int] = set()
    lines += [f"v{number}_0 = values[{name!r}]" for number, name in plan.sources]
    with torch.device(device):
        for step in plan.steps:
            node = plan.graph.nodes[step.number]
            if not step.inputs:
                names[f"v{step.number}_0"] = step.function(xp, **step.attrs)
                made.add(step.number)
                continue
            names[f"f{step.number}"] = step.function
            names[f"a{step.number}"] = dict(step.attrs)
            arguments = ["xp", *(f"v{v.node}_{v.index}" for v in step.inputs)]
            arguments += [f"**a{step.number}"] if step.attrs else []
            targets = ", ".join(f"v{step.number}_{i}" for i in range(len(node.types)))
            lines.append(f"{targets} = f{step.number}({', '.join(arguments)})")
            spent = [
                f"v{n}_{i}"
                for n in step.spent
                if n not in made | sources
                for i in range(len(plan.graph.nodes[n].types))
            ]
            lines += [f"del {', '.join(spent)}"] if spent else []
    roots = (*plan.graph.outputs, *plan.graph.updates)
    lines.append("return {" + ", ".join(f"{n!r}: v{v.node}_{v.index}" for n, v in roots) + "}")
    exec("def run(values):\n    " + "\n    ".join(lines), names)
    function: Callable[[dict[str, Any]], dict[str, Any]] = names["run"]
    return function


def engine(backend: str, step: Step, x: np.ndarray, y: np.ndarray) -> Engine:
    """The engine of a backend. Raises UsageError for an unknown one, Unsupported where its device is absent."""
    if backend == "reference":
        return Reference(step, x, y)
    if backend in BACKENDS:
        return Eager(step, x, y, "cuda" if backend == "eager-cuda" else "cpu")
    raise UsageError(
        "no such backend",
        where="Trainer(backend=...)",
        expected=" or ".join(BACKENDS),
        got=repr(backend),
        fix="backend='eager'",
    )


def first_not_finite(graph: Graph, values: Mapping[str, np.ndarray]) -> str | None:
    """The first node that makes a non-finite value of finite ones, run by the reference; None when there is none."""
    bad: set[int] = set()
    found: list[int] = []

    def observe(number: int, results: tuple[np.ndarray, ...]) -> None:
        if any(r.dtype.kind == "f" and not np.all(np.isfinite(r)) for r in results):
            bad.add(number)
            node = graph.nodes[number]
            if node.op not in ("constant", "parameter") and not any(v.node in bad for v in node.inputs):
                found.append(number)

    with np.errstate(all="ignore"):
        execute(graph, values, observe=observe)
    return None if not found else f"{graph.describe(found[0])}: {ops.ALL[graph.nodes[found[0]].op].name}"
