"""Which values of two programs stand for each other.

The programs are followed from their outputs back: nodes of one op and equal attributes correspond, input by input; a
node that only rounds (a cast between floats, `round_to`, `quantize` with its `dequantize`) corresponds to what its
operand does; two values that depend on no input correspond whatever computes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torchlean.errors import UsageError
from torchlean.ir import Graph, Node, Value

ROUNDING = ("cast", "round_to", "dequantize")


@dataclass(frozen=True)
class Pairing:
    """first: the value of the first graph that each value of the second stands for.

    rounding   the nodes of the second graph that only round: node -> the value that they round
    """

    first: dict[Value, Value]
    rounding: dict[int, Value]


def pairing(first: Graph, second: Graph, moving: tuple[frozenset[int], frozenset[int]]) -> Pairing:
    """moving   of each graph, the nodes that depend on an input.   Raises   UsageError where the graphs differ."""
    ours, theirs = dict(first.outputs), dict(second.outputs)
    if set(ours) != set(theirs):
        raise _differ("the programs have different outputs", "outputs", ", ".join(ours), ", ".join(theirs))
    found: dict[Value, Value] = {}
    rounding: dict[int, Value] = {}
    waiting = [(ours[name], theirs[name]) for name in ours]
    while waiting:
        a, b = waiting.pop()
        if b in found:
            if found[b] != a:
                raise _differ("one value stands for two", second.describe(b.node), first.describe(a.node),
                              first.describe(found[b].node))  # fmt: skip
            continue
        found[b] = a
        if first.type(a).shape != second.type(b).shape:
            raise _differ(
                "two values differ in shape", second.describe(b.node), str(first.type(a)), str(second.type(b))
            )
        if a.node not in moving[0] and b.node not in moving[1]:
            continue
        left, right = first.nodes[a.node], second.nodes[b.node]
        if left.op == right.op == "input" and left.name == right.name:
            continue
        if (left.op, left.attrs, a.index) == (right.op, right.attrs, b.index) and left.op != "input":
            if len(left.inputs) != len(right.inputs):
                raise _differ("two nodes read different numbers of values", second.describe(b.node),
                              str(len(left.inputs)), str(len(right.inputs)))  # fmt: skip
            waiting += zip(left.inputs, right.inputs, strict=True)
            continue
        rounded = _rounded(second, right)
        if rounded is None:
            raise _differ("the programs do not correspond", f"{first.describe(a.node)} and {second.describe(b.node)}",
                          "the same op with the same attributes, or one that only rounds", right.op)  # fmt: skip
        rounding[b.node] = rounded
        waiting.append((a, rounded))
    return Pairing(found, rounding)


def _rounded(graph: Graph, node: Node) -> Value | None:
    """What the node rounds, if that is all it does."""
    if node.op == "dequantize":
        codes = graph.nodes[node.inputs[0].node]
        same = codes.op == "quantize" and codes.inputs[1:] == node.inputs[1:]
        return codes.inputs[0] if same and codes.attributes["axis"] == node.attributes["axis"] else None
    if node.op not in ROUNDING:
        return None
    value = node.inputs[0]
    return value if node.type.dtype.kind == graph.type(value).dtype.kind == "float" else None


def _differ(what: str, where: str, expected: str, got: str) -> UsageError:
    return UsageError(what, where=where, expected=expected, got=got,
                      fix="compare a program with what quantize_program made of it")  # fmt: skip
