"""A program on boxes: the graph that the walks read.

The walks take one graph whose input, and every value that depends on it, has a leading axis of B boxes. States are
frozen, and ops whose `relax` or `interval` is their definition are expanded.

Source   SEMANTICS 1: nodes are kept one by one; nothing is folded
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.bounds.balls import Ball
from torchlean.bounds.dual_norm import Balls, first_layer
from torchlean.bounds.region import Box
from torchlean.errors import ShapeError, UsageError
from torchlean.frozen import frozen
from torchlean.ir import EXPAND, Graph
from torchlean.passes import drop_unreachable, expand, freeze, vmap
from torchlean.run.program import Program

if TYPE_CHECKING:
    from torchlean.meaning import Ranges

F64 = NDArray[np.float64]


@frozen
class Boxed:
    """A specialised graph and its input boxes.

    lo, hi       float64 [B, *s] for the only input: they enclose each region and its float32 hull
    arrays       parameters by name
    dependent    the nodes whose value depends on the input
    semantics    `real` or `float32`: what the boxes are to enclose
    balls        where a region is a ball: then lo and hi are of the boxes around them
    """

    graph: Graph
    lo: F64
    hi: F64
    arrays: dict[str, np.ndarray]
    dependent: frozenset[int]
    semantics: str
    balls: Balls | None = None

    @cached_property
    def first_layer(self) -> dict[int, Ranges]:
        """The boxes that balls give to the first linear nodes; see `dual_norm`."""
        return first_layer(self)

    @property
    def boxes(self) -> int:
        return len(self.lo)

    @property
    def input(self) -> int:
        """The input's node number."""
        (number,) = self.graph.inputs.values()
        return number


def boxed(program: Program, regions: Sequence[Box | Ball], semantics: str = "real") -> Boxed:
    """The program with one leading axis for the boxes.

    A symbolic leading axis of the input becomes that axis; where every size is known, a new one is added in front.
    Raises   UsageError for several inputs or no region; ShapeError when a region does not fit the input.
    """
    if not regions:
        raise UsageError(
            "there is no region", where="bounds", expected="a region or more", got="none", fix="pass tl.box(...)"
        )
    program = program.inference() if program.graph.states or program.graph.updates else program
    t = program.input_type
    graph = drop_unreachable(freeze(program.graph))
    rules = ("relax", "interval", "rounding") if semantics == "float32" else ("relax", "interval")
    graph = expand(graph, lambda op: EXPAND in (getattr(op, rule) for rule in rules))
    name = next(iter(graph.inputs))
    size = len(regions)
    lead = str(t.shape[0]) if t.rank and not isinstance(t.shape[0], int) else ""
    if lead.isidentifier():
        shape = (
            Program(graph, program.parameters).specialise(**{lead: size}).graph.source_types("input")[name].sizes[1:]
        )
        graph = Program(graph, program.parameters).specialise(**{lead: size}).graph
    else:
        shape = t.sizes
        graph = vmap(graph, ops.ALL, (name,), size)
    for region in regions:
        if region.size != int(np.prod(shape, dtype=np.int64)):
            raise ShapeError(
                "the region does not fit the program's input",
                where="bounds",
                expected=f"{int(np.prod(shape, dtype=np.int64))} coordinates, because the input is {t}",
                got=f"{region.size} coordinates",
                fix="build the box from an input of the program",
            )
    ends = [(region.box if isinstance(region, Ball) else region).outer64() for region in regions]
    lo, hi = (np.stack([e[side].reshape(shape) for e in ends]) for side in (0, 1))
    dependent = {graph.inputs[name]}
    for number, node in enumerate(graph.nodes):
        if any(v.node in dependent for v in node.inputs):
            dependent.add(number)
    return Boxed(graph, lo, hi, dict(program.parameters), frozenset(dependent), semantics, Balls.of(regions))
