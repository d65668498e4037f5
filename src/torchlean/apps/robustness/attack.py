"""The attack: projected gradient ascent on the margin, batched over examples, for any program with gradients.

It proposes; the reference executor decides.

Source   Madry et al. 2018, arXiv:1706.06083; targets in turn as in Gowal et al. 2019, arXiv:1910.09338; over an L1 ball
         the largest slopes alone are followed, Tramer and Boneh 2019, arXiv:1904.13000
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchlean import grad, ops
from torchlean.apps.robustness.projection import Inside
from torchlean.bounds.balls import Ball
from torchlean.bounds.region import Box, Membership
from torchlean.ir import Builder, Graph, f32
from torchlean.passes import vmap
from torchlean.run.execute import execute
from torchlean.run.program import Program

F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

CHUNK = 128  # examples at once
DRAWS = 24  # random points that a start is chosen from, where inputs are few: in many dimensions they are all alike
LOW_DIMENSION = 20
LEAST = -1e30  # stands for a class that is not aimed at


@dataclass(frozen=True)
class Strength:
    """restarts: starting points per example, the first its own center   steps: of each"""

    restarts: int = 4
    steps: int = 40


def attack(
    program: Program,
    regions: Sequence[Box | Ball],
    labels: NDArray[np.int64],
    seed: int,
    strength: Strength | None = None,
) -> list[F32 | None]:
    """For each region a float32 point inside it whose reference output has another class at or above the label's.

    Shapes   labels: [n] -> n points of the input's shape, or None
    """
    strength = strength or Strength()
    program = program.inference()
    program = program.specialise(**dict.fromkeys(program.graph.symbols(), 1))
    loss, name = _loss(program)
    found: list[F32 | None] = [None] * len(regions)
    rng = np.random.default_rng(seed)
    for restart in range(strength.restarts):
        open_ = [i for i, point in enumerate(found) if point is None]
        for start in range(0, len(open_), CHUNK):
            chosen = open_[start : start + CHUNK]
            inside = Inside.of([regions[i] for i in chosen], program.input_type.sizes)
            target = None if restart < 2 else restart - 2
            points = _ascend(program, loss, name, inside, labels[chosen], rng, restart == 0, target, strength.steps)
            for i, x in zip(chosen, points, strict=True):
                if violates(program, regions[i], int(labels[i]), x):
                    found[i] = x
    return found


def violates(program: Program, region: Box | Ball, label: int, x: F32) -> bool:
    """Whether x lies in the region and the reference executor puts another class at or above the label's."""
    y = program(x).ravel()
    others = np.delete(y, label)
    inside = region.membership(x.ravel()) is Membership.EXACT
    return inside and bool(np.isfinite(y).all()) and bool((others >= y[label]).any())


def _loss(program: Program) -> tuple[Graph, str]:
    """The largest output aimed at less the label's, and its gradient: inputs NAME, `label` and `aim`, one example."""
    (name,) = program.graph.inputs
    g = Builder(ops.ALL, where="attack")
    x = g.input(name, program.input_type)
    (y,) = g.inline(program.graph, {name: x}).values()
    classes = int(np.prod(y.type.sizes))
    flat = g.reshape(y, shape=(classes,))
    label, aim = g.input("label", f32[classes]), g.input("aim", f32[classes])
    aimed = g.max(g.where(g.less(0.5, aim), flat, LEAST), axes=(0,), keepdims=False)
    own = g.sum(flat * label, axes=(0,), keepdims=False)
    return grad.value_and_grad(g.finish({"loss": aimed - own}), [name]), name


def _ascend(
    program: Program,
    loss: Graph,
    name: str,
    inside: Inside,
    labels: NDArray[np.int64],
    rng: np.random.Generator,
    center: bool,
    target: int | None,
    steps: int,
) -> F32:
    """The points of greatest loss on the way, steps shrinking from a quarter of the region to a hundredth of that.

    target   None: any other class; else the class that comes so many places after the best other one at the start
    """
    x = inside.middle()
    classes = loss.source_types("input")["label"].sizes[0]
    label = np.eye(classes, dtype=np.float32)[labels]
    aim = 1 - label
    batched = vmap(loss, ops.ALL, (name, "label", "aim"), len(x))

    def run(at: F32) -> tuple[F32, F32]:
        values = {**program.parameters, name: at, "label": label, "aim": aim}
        answer = execute(batched, values, "eager-cpu")
        return np.asarray(answer["loss"]), np.asarray(answer[f"grad:{name}"])

    if target is not None:
        order = np.stack([_ranked(program, p, int(k)) for p, k in zip(x, labels, strict=True)])
        aim = np.eye(classes, dtype=np.float32)[order[:, target % (classes - 1)]]
    best, most = x, np.full(len(x), -np.inf, np.float32)
    each = (len(x),) + (1,) * (x.ndim - 1)
    draws = DRAWS if x[0].size <= LOW_DIMENSION else 1
    for k in range(0 if center else draws):  # start from the best of a few random points, every other one a corner
        drawn = rng.random(x.shape, np.float32)
        at = inside.at(np.rint(drawn) if k % 2 else drawn)
        value, _ = run(at)
        better = value > most
        best, most = np.where(better.reshape(each), at, best), np.where(better, value, most)
    x = best
    for step in range(steps + 1):
        value, slope = run(x)
        better = value > most
        best, most = np.where(better.reshape(each), x, best), np.where(better, value, most)
        if step == steps or bool((most >= 0).all()):
            break
        size = np.float32(0.25 * 0.01 ** (step / max(steps - 1, 1)))
        x = inside.step(x, slope, size)
    return best


def _ranked(program: Program, x: F32, label: int) -> NDArray[np.int64]:
    """The other classes, the highest first."""
    order = np.argsort(-program(x, backend="eager-cpu").ravel(), kind="stable")
    return np.asarray(order[order != label], np.int64)
