"""Rules of an ONNX file as a whole: its opset, its names, the sizes of its inputs, and which nodes matter."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator

from torchlean.errors import FileError, GraphError, Unsupported
from torchlean.io.onnx.reader import LATEST, OLDEST
from torchlean.ir import Size, symbol
from torchlean_check import wire

AGAIN = "export the model again"


def opset_of(model: wire.Model, name: str) -> int:
    """The opset of the default domain. Raises Unsupported outside the range that is read."""
    found = model.opsets.get("")
    if found is None or not OLDEST <= found <= LATEST:
        raise Unsupported(
            "the opset is outside the range that is read",
            where=f"{name}, opset_import",
            expected=f"opset {OLDEST} to {LATEST} of the default domain",
            got=str(found),
            fix="convert the model with onnx.version_converter, or export it again",
        )
    return found


def check_names(graph: wire.Graph, name: str) -> None:
    """Raises GraphError unless every value has a name of its own; FileError without outputs."""
    if not graph.outputs:
        raise FileError("the model has no output", where=name, expected="at least one output", got="none", fix=AGAIN)
    seen = set(graph.initializers)
    for value, what in _names(graph):
        if not value or value in seen:
            raise GraphError(
                "a value is named twice" if value else "a value has no name",
                where=f"{name}, {what}",
                expected="one value for each name",
                got=repr(value),
                fix=AGAIN,
            )
        seen.add(value)
    names = [o.name for o in graph.outputs]
    if len(set(names)) != len(names):
        raise GraphError(
            "an output is listed twice", where=name, expected="distinct outputs", got=", ".join(names), fix=AGAIN
        )


def _names(graph: wire.Graph) -> Iterator[tuple[str, str]]:
    """What is defined: inputs (once as an initializer too, as before IR 4) and the outputs of nodes."""
    inputs = set()
    for value in graph.inputs:
        if value.name not in graph.initializers or value.name in inputs:
            yield value.name, "inputs"
        inputs.add(value.name)
    for node in graph.nodes:
        yield from ((n, f"outputs of node {node.name} ({node.op_type})") for n in node.outputs if n)


def live_nodes(graph: wire.Graph) -> list[wire.Node]:
    """The nodes that an output depends on, in file order."""
    makers = {n: i for i, node in enumerate(graph.nodes) for n in node.outputs if n}
    found: set[int] = set()
    waiting = [makers[o.name] for o in graph.outputs if o.name in makers]
    while waiting:
        i = waiting.pop()
        if i not in found:
            found.add(i)
            waiting.extend(makers[n] for n in graph.nodes[i].inputs if n in makers)
    return [graph.nodes[i] for i in sorted(found)]


def input_size(size: int | str | None, axis: int, symbols: dict[str, str], where: str) -> Size:
    """An axis of an input: an int, the symbol that the file names, or a new symbol.

    symbols  the file's names so far and the symbols that they became; different names stay different
    Raises   Unsupported for size 0
    """
    if isinstance(size, int) and size > 0:
        return size
    if size == 0:
        raise Unsupported(
            "an input axis has size 0",
            where=where,
            expected="a size of at least 1",
            got="0",
            fix="export the model with a positive or a symbolic size",
        )
    if isinstance(size, str) and size in symbols:
        return symbol(symbols[size])
    name = f"axis{axis}" if axis else "batch"
    if isinstance(size, str):
        name = re.sub(r"\W", "_", size, flags=re.ASCII)
        name = name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"
    while name in symbols.values() or keyword.iskeyword(name):
        name += "_"
    symbols[size if isinstance(size, str) else f"{where} {name}"] = name
    return symbol(name)
