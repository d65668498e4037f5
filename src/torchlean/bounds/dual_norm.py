"""Linear forms over balls: the least of a . x is a . center - radius |a|_q, with the dual norm q.

Everything is rounded outward in float64. The float hull is charged by one ulp of each input.

Shapes   R rows, B regions, n inputs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchlean import floats, ops
from torchlean.bounds.balls import Ball
from torchlean.bounds.crossing import cross
from torchlean.bounds.exact import directed64
from torchlean.bounds.region import Box
from torchlean.frozen import frozen
from torchlean.ir import EXACT, Linear
from torchlean.meaning import Ranges

if TYPE_CHECKING:
    from torchlean.bounds.boxed import Boxed

F64 = NDArray[np.float64]
CHUNK = 1 << 23  # coefficients at once
UNIT = 2.0**-53


@frozen
class Balls:
    """A batch of regions, some of which may be boxes.

    center   [B, n], float64, within `slack` of the exact center and of the float hull     slack   [B, n]
    radius   [B], rounded up; infinite for a box, over which this says nothing           norm    [B]
    """

    center: F64
    slack: F64
    radius: F64
    norm: NDArray[np.int64]

    @staticmethod
    def of(regions: Sequence[Box | Ball]) -> Balls | None:
        """None where there is no ball."""
        if not any(isinstance(r, Ball) for r in regions):
            return None
        centers, slacks, radii, norms = [], [], [], []
        for region in regions:
            lo, hi = (end.ravel() for end in (region.box if isinstance(region, Ball) else region).outer64())
            if isinstance(region, Ball):
                centers.append(np.array([float(c) for c in region.center]))
                radii.append(directed64(region.radius, up=True))
            else:
                centers.append((lo + hi) / 2)
                radii.append(np.inf)
            largest = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float32)
            slacks.append(np.spacing(largest).astype(np.float64) * (1 + 2.0**-20))  # the center's own rounding, too
            norms.append(region.norm if isinstance(region, Ball) else 1)
        return Balls(np.stack(centers), np.stack(slacks), np.array(radii), np.array(norms))

    def reach(self, rows: F64) -> F64:
        """radius |row|_q, rounded up. Shapes: [R, B, n] -> [R, B]"""
        size = np.abs(rows)
        largest = size.max(axis=-1, initial=0.0)
        safe = np.where(largest > 0, largest, 1.0)
        square = np.square(size / safe[..., None]).sum(axis=-1)
        two = largest * np.sqrt(square) * (1 + (rows.shape[-1] + 8) * 2 * UNIT)
        dual = np.where(self.norm == 1, largest, two)
        with np.errstate(invalid="ignore"):
            return np.where(largest > 0, self.radius * dual * (1 + 4 * UNIT) + 2.0**-1021, 0.0)

    def least(self, rows: F64) -> F64:
        """Lower bounds of row . x over each region and its float hull; -inf over boxes. Shapes: [R, B, n] -> [R, B]"""
        size = np.abs(rows)
        slip = (rows.shape[-1] + 3) * 2 * UNIT
        charge = (size * (self.slack + slip * np.abs(self.center))).sum(axis=-1) * (1 + slip)
        value = (rows * self.center).sum(axis=-1) - self.reach(rows) - charge
        return np.asarray(value - 4 * UNIT * np.abs(value) - rows.shape[-1] * 2.0**-1021)


def first_layer(boxed: Boxed) -> dict[int, Ranges]:
    """Boxes over the reals of the linear nodes that read the input, perhaps moved about: W c + b and radius |W|_q.

    They are rigorous: the value at the center is an interval's, and a row of W is that of a unit vector, exact but for
    one rounding. Nodes further on have their interval rule alone.
    """
    from torchlean.bounds.interval import N, real_boxes  # which reads `Boxed`, and that reads this

    balls, graph = boxed.balls, boxed.graph
    if balls is None:
        return {}
    kind = graph.nodes[boxed.input].type
    ends = [(balls.center + side * balls.slack).reshape(kind.sizes) for side in (-1, 1)]
    down, up = np.nextafter(ends[0], -np.inf), np.nextafter(ends[1], np.inf)
    near: dict[int, Ranges] = {boxed.input: N.enclose(down, up, kind.dtype.numpy)}
    path: dict[int, tuple[int, ...]] = {boxed.input: ()}  # the nodes from each layout of the input back to it
    found: dict[int, Ranges] = {}
    for number, node in enumerate(graph.nodes):
        moving = [i for i, v in enumerate(node.inputs) if v.node in boxed.dependent]
        if number not in boxed.dependent:
            if node.op == "parameter":
                near[number] = N.constant(boxed.arrays[node.name])
            elif all(v.node in near and v.index == 0 for v in node.inputs) and len(node.types) == 1:
                (near[number],) = real_boxes(node, [near[v.node] for v in node.inputs])
            continue
        op = ops.ALL[node.op]
        if len(moving) != 1 or node.inputs[moving[0]].node not in path or not isinstance(op.relax, Linear):
            continue
        if moving[0] not in op.relax.args or any(v.node not in near for v in node.inputs):
            continue
        near[number] = real_boxes(node, [near[v.node] for v in node.inputs])[0]
        steps = (number, *path[node.inputs[moving[0]].node])
        if op.rounding is EXACT:
            path[number] = steps
            continue
        fixed = [near[v.node] for i, v in enumerate(node.inputs) if i != moving[0]]
        if all((f.lo == f.hi).all() for f in fixed):
            found[number] = _spread(boxed, balls, near, steps)
    return found


def _spread(boxed: Boxed, balls: Balls, near: dict[int, Ranges], steps: tuple[int, ...]) -> Ranges:
    """The box of the value at the center, wider by radius |row|_q in each entry."""
    from array_api_compat import numpy as xp

    graph = boxed.graph
    sizes = graph.nodes[steps[0]].type.sizes
    entries = int(np.prod(sizes[1:], dtype=np.int64))
    radius = np.empty((sizes[0], entries))
    each = max(1, CHUNK // balls.center.size)
    for start in range(0, entries, each):
        targets = np.arange(start, min(entries, start + each))
        rows = np.zeros((len(targets), sizes[0], entries))
        rows[np.arange(len(targets)), :, targets] = 1.0
        rows = rows.reshape(len(targets), *sizes)
        for at in steps:
            node = graph.nodes[at]
            (arg,) = (i for i, v in enumerate(node.inputs) if v.node in boxed.dependent)
            types = tuple(graph.type(v) for v in node.inputs)
            given = [None if i == arg else near[v.node].lo for i, v in enumerate(node.inputs)]
            rows = cross(xp, node, types, arg, rows, given)
        radius[:, targets] = balls.reach(rows.reshape(*rows.shape[:2], -1) * (1 + 2.0**-40)).T
    at_center, radius = near[steps[0]], radius.reshape(sizes)
    return Ranges(floats.sub_down(at_center.lo, radius), floats.add_up(at_center.hi, radius), at_center.nan,
                  at_center.dtype)  # fmt: skip
