"""One update as one graph: loss, gradient and optimizer, with every trained number a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from torchlean import ops
from torchlean.errors import GraphError, UsageError
from torchlean.grad import value_and_grad
from torchlean.ir import Builder, Graph, Node, Tensor, TensorType, f32, type_of
from torchlean.optim import Optimizer
from torchlean.passes import simplify, specialise
from torchlean.run.program import Program
from torchlean.train.certified import RegionLoss, Subject
from torchlean.train.losses import Loss

TARGET, RATE, LOSS = "target", "learning_rate", "loss"
DONE = "loss/updates"  # how many were made: a state, where the loss is a RegionLoss
OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class Step:
    """The graph of one update, and the first values of its states.

    graph    inputs: those of the program, `target`, `learning_rate`; output: `loss`, before the update; updates: every
             parameter, every state of the program that a run changes, and every `optimizer/...` state
    input    the name of the program's input
    values   the first value of every state
    """

    graph: Graph
    input: str
    values: Mapping[str, np.ndarray]

    def sized(self, batch: int) -> Graph:
        """The graph for batches of this many examples."""
        return specialise(self.graph, **dict.fromkeys(self.graph.symbols(), batch))


def loss_graph(program: Program, loss: Loss, target: TensorType, training: bool = False) -> Graph:
    """The program's graph with the input `target`, the one output `loss`, and the program's updates.

    training   whether a loss that changes over the updates does so, by a state `loss/updates`; else it is the last one
    Raises   GraphError unless the loss is a float scalar; UsageError unless the program has one output
    """
    graph = program.graph
    if len(graph.outputs) != 1:
        raise UsageError(
            "training needs a program with one output",
            where="train",
            expected="one output",
            got=", ".join(n for n, _ in graph.outputs),
            fix="return one tensor from the model",
        )
    g = Builder(ops.ALL, where="loss")
    inputs = {n: g.input(n, t) for n, t in graph.source_types("input").items()}
    results = g.inline(graph, inputs)
    updates = {n: results[f"update:{n}"] for n, _ in graph.updates}
    prediction, wanted = results[graph.outputs[0][0]], g.input(TARGET, target)
    if isinstance(loss, RegionLoss):
        done = g.state(DONE, f32[()]) if training else None
        value = loss.over(Subject(graph, next(iter(inputs.values())), prediction, done), wanted)
        g.line = "loss"
        if done is not None:
            updates[DONE] = done + 1.0
    else:
        value = loss(prediction, wanted)
    if not isinstance(value, Tensor) or value.shape or value.dtype.kind != "float":
        raise GraphError(
            "a loss is one number",
            where="loss",
            expected="a float scalar, f32[]",
            fix="reduce it: .mean()",
            got=str(value.type) if isinstance(value, Tensor) else type(value).__name__,
        )
    return g.finish({LOSS: value}, updates)


def build_step(program: Program, loss: Loss, optimizer: Optimizer, target: TensorType) -> Step:
    """The step of a program. Raises as `loss_graph`; ShapeError when prediction and target do not fit."""
    differentiated = value_and_grad(loss_graph(program, loss, target, training=True), list(program.parameters))
    first = optimizer.states(program.graph.source_types("parameter"))
    g = Builder(ops.ALL, where="step")
    inputs = {n: g.input(n, t) for n, t in differentiated.source_types("input").items()}
    rate = g.input(RATE, f32[()])
    graph = replace(differentiated, nodes=tuple(_as_state(n) for n in differentiated.nodes))
    results = g.inline(graph, inputs)
    parameters = {n: g.state(n, t) for n, t in program.graph.source_types("parameter").items()}
    gradients = {n: results[f"grad:{n}"] for n in parameters}
    g.line = type(optimizer).__name__
    kept = {n: g.state(OPTIMIZER + n, type_of(a)) for n, a in first.items()}
    new, moments = optimizer.step(g, parameters, gradients, kept, rate)
    updates = {n: results[f"update:{n}"] for n, _ in graph.updates} | new
    updates |= {OPTIMIZER + n: t for n, t in moments.items()}
    for name, t in updates.items():
        _fits(name, g, t)
    step = simplify(g.finish({LOSS: results[LOSS]}, updates), ops.ALL)
    values = {**program.parameters, **program.states, **{OPTIMIZER + n: a for n, a in first.items()}}
    if DONE in updates:
        values[DONE] = np.zeros((), np.float32)
    return Step(step, next(iter(program.graph.inputs)), values)


def _as_state(node: Node) -> Node:
    return replace(node, op="state") if node.op == "parameter" else node


def _fits(name: str, g: Builder, new: Tensor) -> None:
    old = next(n.type for n in g._nodes if n.op == "state" and n.name == name)
    if new.type != old:
        raise GraphError(
            "an update changes the type of a state",
            where=f"update of {name}",
            expected=str(old),
            got=str(new.type),
            fix="cast or reshape the new value",
        )
