"""From a model to a program: trace it once, then draw its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torchlean import ops
from torchlean.errors import UsageError
from torchlean.ir import Builder, Graph, TensorType, named_outputs
from torchlean.nn.layer import Layer, Tracing, tracing
from torchlean.nn.plan import Plan, initialise, override
from torchlean.run.program import Program

Model = Callable[..., Any]


def trace(
    model: Model,
    *types: TensorType,
    seed: int = 0,
    training: bool = False,
    plan: Plan | None = None,
    **named: TensorType,
) -> Program:
    """The program of a model: a layer, or a function of tensors, called once on inputs of these types.

    types     one type per input, `tl.f32["batch", 7]`; by keyword to name the inputs
    training  build the training program (batch statistics, state updates); the default is the inference program. They
              are two graphs with parameters of the same names
    plan      initializers that replace the layers' own, by parameter name or pattern
    Raises    ShapeError where layers do not fit together; UsageError for a plan that does not fit
    """
    graph, context = trace_graph(model, *types, training=training, **named)
    parameters, states = graph.source_types("parameter"), graph.source_types("state")
    chosen = override(parameters, context.initializers, plan or {})
    return Program(
        graph,
        initialise(parameters, chosen, seed),
        initialise(states, {n: i for n, i in context.initializers.items() if n in states}, seed),
    )


def trace_graph(model: Model, *types: TensorType, training: bool = False, **named: TensorType) -> tuple[Graph, Tracing]:
    """The graph of a model, and what its layers declared while it was built."""
    inputs = _input_names(model, types) | named
    if not inputs:
        raise UsageError(
            "a program needs an input",
            where="trace",
            expected='a type, such as tl.f32["batch", 7]',
            got="none",
            fix='tl.trace(model, tl.f32["batch", 7])',
        )
    builder = Builder(ops.ALL)
    context = tracing(builder)
    context.training = training
    if isinstance(model, Layer):
        context.paths[id(model)] = ("", "")
        context.kept.append(model)
    context.adopt(model)
    result = model(*(builder.input(name, t) for name, t in inputs.items()))
    return builder.finish(named_outputs(result), context.updates), context


def _input_names(model: Model, types: tuple[TensorType, ...]) -> dict[str, TensorType]:
    """x for one input; else the function's own argument names."""
    for t in types:
        if not isinstance(t, TensorType):
            raise UsageError(
                "an input needs a type",
                where="trace",
                expected='a type, such as tl.f32["batch", 7]',
                got=repr(t),
                fix="write the dtype and the shape; arrays come when the program is called",
            )
    if len(types) <= 1:
        return dict(zip("x", types, strict=False))
    function = model.forward if isinstance(model, Layer) else model
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(names) < len(types):
        names = [f"x{i}" for i in range(len(types))]
    return dict(zip(names, types, strict=False))
