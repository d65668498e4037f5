"""Several networks as one ONNX file with one input and one output.

The networks' nodes stand side by side as they are. Around them only elements are moved: slices and reshapes of the one
input, reshapes and a concatenation of outputs and hidden values. No arithmetic is added, so every execution of the
composition is an execution of each network, with the same floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torchlean.errors import FileError, Unsupported
from torchlean.frozen import frozen

MOST_SLICES = 1024


@frozen
class Part:
    """One network and its place in the whole.

    model     the bytes of an ONNX file that a reader has accepted
    inputs    for each of its graph's inputs: the value's name, its shape, and each element's place in the one input
    outputs   the values that are put out, in order, with their sizes; a node's name means its only output
    """

    name: str
    model: bytes
    inputs: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    outputs: tuple[tuple[str, int], ...]


def compose(parts: Sequence[Part], width: int) -> bytes:
    """One model over float32[1, width], whose output [1, ...] holds the parts' outputs one after another.

    Errors   FileError: a name that no value has; Unsupported: parts of different opsets, control
             flow, or inputs picked from too many places
    """
    import onnx
    from onnx import TensorProto, helper

    models = [onnx.load_model_from_string(part.model) for part in parts]
    opset = _opset(parts, models)
    graph = onnx.GraphProto(name="query")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width]))
    writer = _Writer(graph, opset)
    outputs = []
    for part, model in zip(parts, models, strict=True):
        prefix = f"{part.name}/"  # a value of part f is f/NAME; names that are made here begin with @
        for k, (name, shape, places) in enumerate(part.inputs):
            picked = writer.pick("x", places, width, f"@{prefix}in{k}")
            writer.reshape(picked, shape, prefix + name, f"@{prefix}in{k}:shape")
        values = _copy(model.graph, graph, prefix, part)
        for k, (name, size) in enumerate(part.outputs):
            value, made = prefix + _value(name, values, model.graph, part), f"@{prefix}out{k}"
            outputs.append(writer.reshape(value, (1, size), made, f"{made}:shape"))
    writer.add("Concat", outputs, "y", axis=1)
    total = sum(size for part in parts for _, size in part.outputs)
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, total]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="torchlean")
    model.ir_version = min(m.ir_version for m in models)
    return bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Adds nodes that move elements."""

    def __init__(self, graph: Any, opset: int) -> None:
        self.graph, self.opset = graph, opset

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.graph.node.append(helper.make_node(op, list(inputs), [output], name=f"@{output}", **attributes))
        return output

    def integers(self, values: Sequence[int], name: str) -> str:
        from onnx import TensorProto, helper

        self.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], list(values)))
        return name

    def reshape(self, value: str, shape: Sequence[int], output: str, constant: str) -> str:
        return self.add("Reshape", [value, self.integers(shape, constant)], output)

    def pick(self, source: str, places: Sequence[int], width: int, name: str) -> str:
        """The elements at `places` of source [1, width], as [1, len(places)]."""
        runs = list(_runs(places))
        if runs == [(0, width)]:
            return source
        if len(runs) > MOST_SLICES:
            raise Unsupported("a network's input is picked from too many places", where=f"input {name}",
                              expected=f"at most {MOST_SLICES} runs of neighbours", got=str(len(runs)),
                              fix="set whole tensors equal, or none of their elements")  # fmt: skip
        pieces = [self.slice(source, a, b, f"{name}:{k}") for k, (a, b) in enumerate(runs)]
        return pieces[0] if len(pieces) == 1 else self.add("Concat", pieces, f"{name}:picked", axis=1)

    def slice(self, source: str, start: int, end: int, name: str) -> str:
        if self.opset < 10:
            return self.add("Slice", [source], name, starts=[start], ends=[end], axes=[1])
        ends = [self.integers([v], f"{name}:{word}") for word, v in (("start", start), ("end", end), ("axis", 1))]
        return self.add("Slice", [source, *ends], name)


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, end) of each stretch of neighbours."""
    start = 0
    for k in range(1, len(places) + 1):
        if k == len(places) or places[k] != places[k - 1] + 1:
            yield places[start], places[k - 1] + 1
            start = k


def _opset(parts: Sequence[Part], models: Sequence[Any]) -> int:
    found = [{o.version for o in model.opset_import if o.domain in ("", "ai.onnx")} for model in models]
    versions = set().union(*found)
    if len(versions) != 1 or any(len(v) != 1 for v in found):
        raise Unsupported("networks of different opsets cannot be composed",
                          where=", ".join(part.name for part in parts), expected="one opset",
                          got=", ".join(map(str, sorted(versions))) or "none",
                          fix="convert the models with onnx.version_converter")  # fmt: skip
    return int(next(iter(versions)))


def _copy(source: Any, graph: Any, prefix: str, part: Part) -> set[str]:
    """Add the nodes and constants of one network under prefixed names; returns its values' own names."""
    fed = {name for name, _, _ in part.inputs}
    values = set(fed)
    for tensor in source.initializer:
        copied = graph.initializer.add()
        copied.CopyFrom(tensor)
        copied.name = prefix + tensor.name
    for node in source.node:
        if source.sparse_initializer or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise Unsupported("control flow and sparse constants cannot be composed",
                              where=f"network {part.name}", expected="plain nodes", got=node.op_type,
                              fix="export the model without them")  # fmt: skip
        copied = graph.node.add()
        copied.CopyFrom(node)
        copied.name = prefix + node.name if node.name else ""
        for names in (copied.input, copied.output):
            names[:] = [prefix + name if name else "" for name in names]
        values.update(node.output)
    return values


def _value(name: str, values: set[str], source: Any, part: Part) -> str:
    """The value that a name means: its own, or the only output of the node with that name."""
    if name in values:
        return name
    found = [node.output[0] for node in source.node if node.name == name and len(node.output) == 1]
    if len(found) != 1:
        raise FileError("the network has no such value", where=f"network {part.name}",
                        expected="the name of a value, or of a node with one output", got=name[:80],
                        fix="torchlean inspect shows the network")  # fmt: skip
    return str(found[0])
