"""Which program is analysed: the one given, its gradient, or one step of an optimizer on it."""

from __future__ import annotations

from dataclasses import replace

from torchlean.errors import UsageError
from torchlean.grad import value_and_grad
from torchlean.ir import Graph, TensorType, i64
from torchlean.optim import SGD, AdamW, Optimizer
from torchlean.run.program import Program
from torchlean.train import losses
from torchlean.train.step import build_step, loss_graph

LOSSES = {f.__name__: f for f in (losses.mse, losses.mae, losses.huber, losses.cross_entropy)}
STEPS: dict[str, Optimizer] = {
    "sgd": SGD(1e-2),
    "momentum": SGD(1e-2, momentum=0.9),
    "adamw": AdamW(1e-3),
}


def target_of(program: Program, loss: str) -> TensorType:
    """The type of the input `target`. Raises UsageError for an unknown loss or several outputs."""
    if loss not in LOSSES:
        raise UsageError("no such loss", where="--loss", expected=" or ".join(LOSSES), got=loss, fix="--loss mse")
    outputs = list(program.graph.output_types.values())
    if len(outputs) != 1:
        raise UsageError("a loss needs a program with one output", where="--loss", expected="one output",
                         got=", ".join(program.graph.output_types), fix="export the part that is trained")  # fmt: skip
    (y,) = outputs
    return y.with_shape(y.shape[:-1]).with_dtype(i64) if loss == "cross_entropy" else y


def gradient(program: Program, loss: str) -> Program:
    """The loss and its gradient by every parameter; inputs: those of the program, and `target`."""
    graph = loss_graph(program, LOSSES[loss], target_of(program, loss))
    return program.with_graph(value_and_grad(graph, list(program.parameters)))


def step(program: Program, optimizer: str, loss: str) -> Program:
    """One update from the optimizer's first states; inputs: those of the program, `target` and `learning_rate`."""
    if optimizer not in STEPS:
        raise UsageError("no such optimizer", where="--step", expected=" or ".join(STEPS), got=optimizer,
                         fix="--step sgd")  # fmt: skip
    made = build_step(program, LOSSES[loss], STEPS[optimizer], target_of(program, loss))
    return Program(made.graph, {}, made.values)


def stateless(program: Program) -> Program:
    """States as parameters, and their new values as outputs `update:NAME`: what a file without states can hold."""
    nodes = tuple(replace(n, op="parameter") if n.op == "state" else n for n in program.graph.nodes)
    outputs = program.graph.outputs + tuple((f"update:{n}", v) for n, v in program.graph.updates)
    return Program(Graph(nodes, outputs), {**program.parameters, **program.states})
