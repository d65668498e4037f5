"""Every execution lies in the table: float values, real values, and their exact difference. No tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, optim
from torchlean.errors import Undecided
from torchlean.meaning import Float
from torchlean.run.execute import execute


def box(shape: tuple[int, ...], radius: float = 0.05, seed: int = 0, middle: float = 1.0) -> Any:
    center = (middle * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)
    return tl.box(center, radius)


def narrow_net(g: Any, x0: Any) -> Any:
    """What the layers leave out: every elementwise op, products of two varying factors, selection, reductions."""
    a, b = g.exp(x0 * 0.5), g.sigmoid(x0)
    c = g.log(a + 1.0) / (b + 0.5) + g.sqrt(g.abs(x0) + 0.25) - g.tanh(a * b)
    d = g.where(g.less(x0, 0.25), c * 2.0, g.maximum(c, -x0))
    e = g.matmul(d, g.permute(c, axes=(-1, -2)))
    f = g.concat(g.max(d, axes=(-1,), keepdims=True), g.max(-c, axes=(-1,), keepdims=True), axis=-1)
    return g.clip(g.square(e) - g.mean(f, axes=(-1,), keepdims=True), lo=-0.5, hi=40.0)


def cases(tools: Any) -> dict[str, tuple[Any, Any]]:
    conv = tl.trace(
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool(2), nn.Flatten(), nn.Linear(12, 2)),
        tl.f32["batch", 2, 4, 4], seed=1,
    )  # fmt: skip
    step = {"x": box((2, 3)), "target": box((2, 2), 0.1, 3), "learning_rate": tl.box(np.float32(0.01), 0.001)}
    pair = {"x": box((2, 3)), "target": box((2, 2), 0.0, 3)}
    return {
        "mlp": (tools.mlp(), box((1, 3), 0.5)),
        "softmax": (tools.mlp(last=nn.Softmax()), box((2, 3))),
        "conv": (conv, box((1, 2, 4, 4), 0.1)),
        "elementwise": (tools.function(narrow_net, (2, 3)), box((2, 3), 0.03)),
        "wide elementwise": (tools.function(narrow_net, (2, 3)), box((2, 3), 1.5)),
        "log_softmax": (tools.function(lambda g, x0: g.log_softmax(x0 * 3.0, axis=-1), (2, 4)), box((2, 4), 0.5)),
        "tiny": (tools.function(lambda g, x0: g.relu(x0 * 1e-20) * g.mul(x0, 1e-19), (5,)), box((5,), 0.5)),
        "gradient": (tools.gradient(), pair),
        "gradient tanh": (tools.gradient(act=nn.Tanh()), pair),
        "sgd": (tools.step(optim.SGD(0.01)), step),
        "momentum": (tools.step(optim.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01)), step),
        "adamw": (tools.step(optim.AdamW(0.01)), step),
    }


NAMES = ("mlp", "softmax", "conv", "elementwise", "wide elementwise", "log_softmax", "tiny", "gradient",
         "gradient tanh", "sgd", "momentum", "adamw")  # fmt: skip


@pytest.mark.parametrize("order", ["any", "reference"])
@pytest.mark.parametrize("name", NAMES)
def test_executions_are_enclosed(tools: Any, name: str, order: str) -> None:
    program, region = cases(tools)[name]
    table = tl.rounding(program, region, order)
    graph, rng = table.graph, np.random.default_rng(7)
    rows = {row.number: row for row in table.nodes if row.twin.shape == graph.nodes[row.number].types[0].sizes}
    boxes = region if isinstance(region, dict) else {next(iter(graph.inputs)): region}
    for trial in range(3):
        values = {n: tools.point(b, rng).reshape(graph.source_types("input")[n].sizes) for n, b in boxes.items()}
        values |= {**program.parameters, **program.states}
        try:
            exact = tools.real_values(graph, values)
        except Undecided:
            continue
        runs = [tools.float_values(graph, Float(), values)]
        if order == "any":
            runs += [tools.float_values(graph, tools.Adverse(2 * trial + i), values) for i in range(2)]
            torch: dict[int, np.ndarray] = {}
            execute(graph, values, "eager-cpu", lambda k, found, kept=torch: kept.update({k: found[0]}))
            runs.append(torch)
        for found in runs:
            for number, row in rows.items():
                if number in found:  # torch shows no sources
                    tools.held(row, found[number], exact[number])
