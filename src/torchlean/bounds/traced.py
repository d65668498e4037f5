"""Bounds as graphs: the interval walk, and CROWN's last step over interval boxes, in the nodes of a program.

What `interval` and `linear` do with arrays is done here with the tracer, so a bound is one more value of the graph:
it is differentiated, run by every executor and trained on. A linear node keeps a middle and a radius, c +- |op| r; the
others run their interval rule, or their lines, with graph values in the place of arrays.

Shapes   lo, hi: [batch, *s], the program's input; the batch may be symbolic
Floats   the bounds' own rounding is not charged: over the reals (`Real`) they enclose, in float32 they may be off by
         roundings. A claim rests on a certificate, never on this
Source   Gowal et al. 2018, arXiv:1810.12715, section 3 (intervals); Zhang et al. 2019, arXiv:1906.06316, section 3.2
         (one linear walk from the output over interval boxes)
"""

from __future__ import annotations

from collections.abc import Sequence

from torchlean import ops
from torchlean.bounds.traced_systems import Namespace, Span, Spans
from torchlean.errors import MissingRule, UsageError
from torchlean.frozen import frozen
from torchlean.grad.reverse import zeros
from torchlean.grad.transforms import vjp
from torchlean.ir import DERIVED, EXPAND, Builder, Graph, Linear, Node, Tensor, Value
from torchlean.ops.lines import Lines, Relax
from torchlean.passes import expand, simplify, vmap

COTANGENT = "cotangent:y"


@frozen
class Walked:
    """A program in `g`, every value with its bounds.

    values   per node and output: the value where it does not depend on the input, else its Span
    """

    g: Builder
    graph: Graph
    values: list[tuple[Tensor | Span, ...]]

    @property
    def output(self) -> Span:
        """The bounds of the only output."""
        at = self.graph.output()
        found = self.values[at.node][at.index]
        return found if isinstance(found, Span) else Span.point(found)

    def _moving(self, node: Node) -> list[int]:
        return [i for i, v in enumerate(node.inputs) if isinstance(self.values[v.node][v.index], Span)]

    def _linear(self, node: Node) -> bool:
        """Whether the op is linear in those of its inputs that depend on the region."""
        relax, moving = ops.ALL[node.op].relax, self._moving(node)
        return isinstance(relax, Linear) and set(moving) <= set(relax.args) and (relax.jointly or len(moving) < 2)

    # the interval walk

    def _reach(self, node: Node) -> tuple[Tensor | Span, ...]:
        """The bounds of a node's results."""
        inputs = [self.values[v.node][v.index] for v in node.inputs]
        if not any(isinstance(x, Span) for x in inputs):
            first = self.g.add_node(node.op, tuple(x.value for x in inputs), node.attributes, node.types, node.where)  # type: ignore[union-attr]
            return tuple(Tensor(self.g, Value(first.value.node, i)) for i in range(len(node.types)))
        if self._linear(node):
            return (self._through(node, inputs),)
        op = ops.ALL[node.op]
        rule = op.rule("interval")
        found = (op.rule("meaning") if rule is DERIVED else rule)(Spans(self.g), *inputs, **node.attributes)
        return found if isinstance(found, tuple) else (found,)

    def _through(self, node: Node, inputs: Sequence[Tensor | Span]) -> Span:
        """A linear op at the middles; and, for each moving input, its size on the radius: forms add products of
        entries, so that of their absolute values is one.
        """
        middle = self.g.apply(node.op, *(x.middle if isinstance(x, Span) else x for x in inputs), **node.attributes)
        radius: Tensor | None = None
        for i in self._moving(node):
            moved = inputs[i]
            assert isinstance(moved, Span)
            part = abs(self.g.apply(node.op, *self._sizes(node, inputs, {i: moved.radius}), **node.attributes))
            radius = part if radius is None else radius + part
        assert radius is not None
        return Span.around(middle, radius)

    def _sizes(self, node: Node, inputs: Sequence[Tensor | Span], given: dict[int, Tensor]) -> list[Tensor]:
        """The given inputs; 0 for other addends; the absolute value of factors; whatever else, as it is."""
        relax = ops.ALL[node.op].relax
        out = []
        for i, x in enumerate(inputs):
            value = x.middle if isinstance(x, Span) else x
            if i in given:
                out.append(given[i])
            elif relax.jointly and i in relax.args:
                out.append(zeros(self.g, value))
            else:
                out.append(abs(value) if value.dtype.kind == "float" else value)
        return out

    # the linear walk

    def least(self, rows: Tensor) -> Tensor:
        """Lower bounds [R, batch] of rows . output over the region, by one backward walk.

        Shapes   rows: [R, batch, *output]
        """
        at = self.graph.output()
        pending: dict[int, Tensor] = {at.node: rows}
        offset: Tensor | None = None
        for number in range(at.node, -1, -1):
            mine = pending.pop(number, None)
            if mine is None:
                continue
            node, value = self.graph.nodes[number], self.values[number][0]
            if isinstance(value, Tensor):
                offset = _plus(offset, _total(mine * value))
            elif node.op == "input":
                offset = _plus(offset, _total(mine * value.middle) - _total(abs(mine) * value.radius))
            else:
                parts, rest = self._cross(node, mine) if self._linear(node) else self._lines(node, mine)
                offset = offset if rest is None else _plus(offset, rest)
                for source, part in parts:
                    pending[source] = _plus(pending.get(source), part)
        assert offset is not None
        return offset

    def _cross(self, node: Node, rows: Tensor) -> tuple[list[tuple[int, Tensor]], Tensor | None]:
        """Rows through a linear node by its own vjp, one axis more; and what its constant addends give."""
        moving = self._moving(node)
        inputs = [self.values[v.node][v.index] for v in node.inputs]
        given = [x.middle if isinstance(x, Span) else x for x in inputs]
        parts = []
        for i in moving:
            alone = Builder(ops.ALL, where=node.where or "bounds")
            xs = [alone.input(f"x{j}", x.type) for j, x in enumerate(given)]
            pulled = vjp(alone.finish({"y": alone.apply(node.op, *xs, **node.attributes)}), [f"x{i}"])
            one = simplify(Graph(pulled.nodes, (("y", pulled.output(f"grad:x{i}")),)), ops.ALL)
            many = vmap(one, ops.ALL, (COTANGENT,), rows.shape[0])
            known = {f"x{j}": x for j, x in enumerate(given)} | {COTANGENT: rows}
            parts.append((node.inputs[i].node, self.g.inline(many, {n: known[n] for n in many.inputs})["y"]))
        relax = ops.ALL[node.op].relax
        if not any(relax.jointly and j in relax.args for j in range(len(given)) if j not in moving):
            return parts, None
        still = [zeros(self.g, x) if j in moving else x for j, x in enumerate(given)]
        return parts, _total(rows * self.g.apply(node.op, *still, **node.attributes))

    def _lines(self, node: Node, rows: Tensor) -> tuple[list[tuple[int, Tensor]], Tensor]:
        relax = ops.ALL[node.op].rule("relax")
        rule: Relax | None = relax.lines if isinstance(relax, Linear) else relax
        if rule is None:
            raise _unlined(node, "several factors that depend on the input")
        inputs = [self.values[v.node][v.index] for v in node.inputs]
        spans = [x if isinstance(x, Span) else Span.point(x) for x in inputs]
        lines: Lines = rule(Namespace(self.g), tuple((s.lo, s.hi) for s in spans), None, **node.attributes)
        above, below = self.g.maximum(rows, 0.0), self.g.minimum(rows, 0.0)
        offset = _total(above * lines.lower_bias + below * lines.upper_bias)
        parts = []
        for i, (v, lower, upper) in enumerate(zip(node.inputs, lines.lower, lines.upper, strict=False)):
            if lower is None:
                continue
            part = above * lower + below * upper
            if lines.mixes is not None or part.shape[1:] != spans[i].middle.shape:
                raise _unlined(node, "lines that are not elementwise")
            parts.append((v.node, part))
        return parts, offset


def walk(g: Builder, graph: Graph, lo: Tensor, hi: Tensor) -> Walked:
    """The interval walk of a program's graph on lo <= input <= hi, as nodes of `g`.

    Parameters keep their names. Ops whose `interval` or `relax` is their definition are expanded.
    Raises   UsageError unless the graph has one input, one output and no update; MissingRule where an op has no
             interval rule that the tracer can run
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.updates:
        raise UsageError("bounds need a program of one input and one output that updates nothing", where="bounds",
                         expected="an inference trace: x -> y",
                         got=f"{len(graph.inputs)} inputs, {len(graph.outputs)} outputs, {len(graph.updates)} updates",
                         fix="trace the model for inference; layers that learn statistics in training cannot be "
                         "bounded while they do")  # fmt: skip
    graph = expand(graph, lambda op: EXPAND in (op.interval, op.relax))
    walked = Walked(g, graph, [])
    for node in graph.nodes:
        g.line = node.where
        if node.op == "input":
            walked.values.append((Span.between(lo, hi),))
        elif node.op in ("parameter", "state"):
            walked.values.append(((g.parameter if node.op == "parameter" else g.state)(node.name, node.type),))
        else:
            walked.values.append(walked._reach(node))
    g.line = "bounds"
    return walked


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def _total(terms: Tensor) -> Tensor:
    """Sum over all axes but the rows and the batch."""
    axes = tuple(range(2 - terms.type.rank, 0))
    return terms.sum(axes) if axes else terms


def _unlined(node: Node, got: str) -> MissingRule:
    return MissingRule(f"the traced linear walk cannot cross {node.op}", where=node.where or node.op,
                       expected="a linear op, or one line per entry", got=got,
                       fix="train on interval bounds: losses.IBP")  # fmt: skip


__all__ = ["Walked", "walk"]
