"""Running a program over a whole dataset, in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from torchlean.ir import Graph
from torchlean.passes import specialise
from torchlean.run.execute import execute
from torchlean.run.program import Program
from torchlean.train.data import Examples, target_type
from torchlean.train.losses import Loss
from torchlean.train.step import LOSS, TARGET, loss_graph

CHUNK = 1024


def predict(program: Program, x: np.ndarray, backend: str = "eager") -> np.ndarray:
    """The program's only output on every example.

    Shapes   x: [n, *inputs] -> [n, *outputs]
    """
    graph = program.graph
    ((name, _),) = graph.outputs
    (source,) = graph.inputs
    values = {**program.parameters, **program.states}
    parts = []
    for start, sized in _chunks(graph, len(x)):
        size = CHUNK if start + CHUNK <= len(x) else len(x) - start
        parts.append(execute(sized, {**values, source: x[start : start + size]}, backend)[name])
    return np.concatenate(parts)


def mean_loss(program: Program, loss: Loss, data: Examples, backend: str = "eager") -> float:
    """The loss over all examples: chunks' losses weighted by their sizes, so right for a loss that is a mean."""
    graph = loss_graph(program, loss, target_type(program, data.y))
    (source,) = program.graph.inputs
    values = {**program.parameters, **program.states}
    total = 0.0
    for start, sized in _chunks(graph, len(data.x)):
        x, y = data.x[start : start + CHUNK], data.y[start : start + CHUNK]
        total += float(execute(sized, {**values, source: x, TARGET: y}, backend)[LOSS]) * len(x)
    return total / len(data.x)


def _chunks(graph: Graph, count: int) -> Iterator[tuple[int, Graph]]:
    """(first example, the graph for a chunk of its size)."""
    made: dict[int, Graph] = {}
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        if size not in made:
            made[size] = specialise(graph, **dict.fromkeys(graph.symbols(), size))
        yield start, made[size]
