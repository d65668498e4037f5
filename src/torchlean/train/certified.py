"""Certified training: losses of the worst case over a box around each input, bounded by a graph of their own.

    loss = kappa cross_entropy(y, label) + (1 - kappa) cross_entropy(worst, label)

`worst` holds upper bounds of what each class may gain on the label inside the box. Over the first updates the box grows
from a point to `eps` and kappa falls from 1, so that training starts as an ordinary one; the count of updates is a
state of the step's graph. Measured on validation data, the loss is that of the end.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from torchlean import ops
from torchlean.bounds.traced import walk
from torchlean.errors import ShapeError, UsageError
from torchlean.grad import value_and_grad
from torchlean.ir import Builder, Graph, Tensor, i64


@dataclass(frozen=True)
class Subject:
    """What a loss over a region reads.

    graph   the program's, of one input and one output     x, y   a batch and the program's value on it
    done    how many updates were made, f32[]; None where the loss is measured: then as at the end
    """

    graph: Graph
    x: Tensor
    y: Tensor
    done: Tensor | None


class RegionLoss(ABC):
    """A loss that reads the program itself and not only its value: a number of `Subject` and target."""

    @abstractmethod
    def over(self, subject: Subject, target: Tensor) -> Tensor:
        """The loss, f32[]."""


@dataclass(frozen=True)
class Certified(RegionLoss):
    """What the three losses share.

    eps      radius in the maximum norm, of the program's own inputs     domain   every box is cut with it
    warmup   updates at radius 0     ramp   updates over which the radius grows linearly to eps, kappa falls from 1
    kappa    the share of the plain loss at the end
    Raises   UsageError for values out of range; where it is traced, ShapeError unless the program gives
             [batch, classes] and the targets are labels, MissingRule for an op without bounds as a graph
    """

    eps: float
    warmup: int = 0
    ramp: int = 1
    kappa: float = 0.5
    domain: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        _within(name, "eps", self.eps, 0, math.inf)
        _within(name, "kappa", self.kappa, 0, 1)
        _within(name, "warmup", self.warmup, 0, math.inf)
        _within(name, "ramp", self.ramp, 1, math.inf)
        if self.domain is not None:
            _within(name, "domain[0]", self.domain[0], -math.inf, self.domain[1])

    def over(self, subject: Subject, target: Tensor) -> Tensor:
        """kappa cross_entropy(y, target) + (1 - kappa) cross_entropy(worst, target)."""
        g, y = subject.x.builder, subject.y
        if y.type.rank != 2 or not isinstance(y.shape[1], int) or target.dtype != i64:
            raise ShapeError("a certified loss is about a classifier", where=f"loss {type(self).__name__}",
                             expected="logits [batch, classes] and labels i64[batch]",
                             got=f"{y.type} and {target.type}",
                             fix="flatten the output; give class numbers")  # fmt: skip
        share = self.share(g, subject.done)
        plain: Tensor = g.cross_entropy(y, target)
        worst: Tensor = g.cross_entropy(self.worst(subject, target, share), target)
        weight = 1.0 - (1.0 - self.kappa) * share
        return weight * plain + (1.0 - weight) * worst

    def share(self, g: Builder, done: Tensor | None) -> Tensor:
        """How far the growth is, f32[] in [0, 1]."""
        if done is None:
            return g.constant(1.0)
        risen: Tensor = g.clip((done - float(self.warmup)) / float(self.ramp), lo=0.0, hi=1.0)
        return risen

    @abstractmethod
    def worst(self, subject: Subject, target: Tensor, share: Tensor) -> Tensor:
        """Logits [batch, classes], no better for the label than those of any point of the box."""

    def box(self, center: Tensor, radius: Tensor | float) -> tuple[Tensor, Tensor]:
        """The ends of the box, cut with the domain."""
        g, lo, hi = center.builder, center - radius, center + radius
        if self.domain is None:
            return lo, hi
        low, high = self.domain
        return g.clip(lo, lo=low, hi=high), g.clip(hi, lo=low, hi=high)


@dataclass(frozen=True)
class IBP(Certified):
    """`worst` is the interval walk's: the label's lower end, the others' upper ends.

    Source   Gowal et al. 2018, arXiv:1810.12715, section 3, without the elision of the last layer
    """

    def worst(self, subject: Subject, target: Tensor, share: Tensor) -> Tensor:
        found = walk(subject.x.builder, subject.graph, *self.box(subject.x, self.eps * share)).output
        worst: Tensor = subject.x.builder.where(hot(subject.y, target), found.lo, found.hi)
        return worst


@dataclass(frozen=True)
class CrownIBP(Certified):
    """Margins bounded by one linear walk over interval boxes, and by the intervals in a growing share.

    beta     the share of the linear walk's margins at the end; it falls from 1 as the box grows
    Source   Zhang et al. 2019, arXiv:1906.06316, section 3.2 and algorithm 1
    """

    beta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("CrownIBP", "beta", self.beta, 0, 1)

    def worst(self, subject: Subject, target: Tensor, share: Tensor) -> Tensor:
        g = subject.x.builder
        walked = walk(g, subject.graph, *self.box(subject.x, self.eps * share))
        own, span = hot(subject.y, target), walked.output
        label = g.sum(g.where(own, span.lo, 0.0), axes=(-1,), keepdims=True)
        interval = g.where(own, 0.0, span.hi - label)
        linear = -g.permute(walked.least(margin_rows(subject.y, target)), axes=(1, 0))
        weight = 1.0 - (1.0 - self.beta) * share
        mixed: Tensor = weight * linear + (1.0 - weight) * interval
        return mixed


@dataclass(frozen=True)
class SABR(IBP):
    """Intervals on a small box inside the box, around a point that an attack has found.

    portion  the small radius over the large one     steps   of sign ascent on the cross-entropy from the center
    Source   Mueller et al. 2022, arXiv:2210.04871, section 3, without random restarts
    """

    portion: float = 0.4
    steps: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("SABR", "portion", self.portion, 0, 1)
        _within("SABR", "steps", self.steps, 1, math.inf)

    def worst(self, subject: Subject, target: Tensor, share: Tensor) -> Tensor:
        g, radius = subject.x.builder, self.eps * share
        inner = radius * (1.0 - self.portion)
        lo, hi = self.box(subject.x, inner)
        slope, point = _ascent(subject, target), subject.x
        for step in range(self.steps):
            up = slope(g, point, target)
            size = inner * (2.0 * 0.25 ** (step / self.steps))
            # A choice between constants, so nothing is differentiated through the attack.
            still = g.where(g.less(up, 0.0), g.literal(-1.0, up), g.literal(0.0, up))
            point = point + size * g.where(g.less(0.0, up), g.literal(1.0, up), still)
            point = g.minimum(g.maximum(point, lo), hi)
        lo, hi = self.box(point, radius * self.portion)
        found = walk(g, subject.graph, lo, hi).output
        worst: Tensor = g.where(hot(subject.y, target), found.lo, found.hi)
        return worst


def hot(y: Tensor, labels: Tensor) -> Tensor:
    """bool[batch, classes]: where the class is the label."""
    g, classes = y.builder, y.type.shape[1]
    assert isinstance(classes, int)
    places: Tensor = g.equal(labels.reshape(labels.shape[0], 1), g.constant(np.arange(classes)[None]))
    return places


def margin_rows(y: Tensor, labels: Tensor) -> Tensor:
    """The forms y[label] - y[j], one row for each class j. Shapes: [classes, batch, classes]"""
    g, classes = y.builder, y.shape[1]
    assert isinstance(classes, int)
    label = g.where(hot(y, labels), g.literal(1.0, y), g.literal(0.0, y)).reshape(1, y.shape[0], classes)
    rows: Tensor = label - g.constant(np.eye(classes)[:, None, :].astype(y.dtype.numpy))
    return rows


def _ascent(subject: Subject, target: Tensor) -> Callable[[Builder, Tensor, Tensor], Tensor]:
    """(g, x, labels) -> the gradient of the cross-entropy in x, nodes of g."""
    graph = subject.graph
    ((name, kind),) = graph.source_types("input").items()
    inner = Builder(ops.ALL, where="attack")
    x, labels = inner.input(name, kind), inner.input("labels of the attack", target.type)
    (y,) = inner.inline(graph, {name: x}).values()
    slope = value_and_grad(inner.finish({"loss": inner.cross_entropy(y, labels)}), [name])

    def at(g: Builder, point: Tensor, labels: Tensor) -> Tensor:
        return g.inline(slope, {name: point, "labels of the attack": labels})[f"grad:{name}"]

    return at


def _within(loss: str, name: str, value: float, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and low <= value <= high and math.isfinite(value)):
        raise UsageError(f"{name} is out of range", where=f"losses.{loss}", expected=f"a finite number from {low} to "
                         f"{high}", got=repr(value), fix=f"give a {name} in this range")  # fmt: skip
