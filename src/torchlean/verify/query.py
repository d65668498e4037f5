"""A query of VNN-LIB 2.0 decided: brought to one ONNX file and one VNN-LIB 1.0 file, which the certificate is about.

The conversion is exact: inputs that the query sets equal become one, several networks or tensors become one network by
moving elements, and every number stays the decimal that it was. It is not part of what the checker checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import FileError, ShapeError, UsageError
from torchlean.frozen import frozen
from torchlean.io.query import (
    Network,
    Part,
    Query,
    Variable,
    compose,
    merge_equal_inputs,
    read_query,
    with_decimal_boxes,
)
from torchlean.io.vnnlib_write import exact_texts, write_vnnlib
from torchlean.verify.clock import Deadline
from torchlean.verify.files import plain, translated, verify_files
from torchlean.verify.verdict import Verdict
from torchlean_check.wire import Value, parse

if TYPE_CHECKING:
    from torchlean.verify.crew import Crew
    from torchlean.verify.witness import Witness


@frozen
class Lowered:
    """A query as two files.

    model, claim   ONNX and VNN-LIB 1.0       composed   whether the model is another than the one network's own
    place          for each element of the query's flat input, the input of `model` that it is
    """

    query: Query
    model: bytes
    claim: bytes
    composed: bool
    place: tuple[int, ...]

    def beside(self, certificate: str) -> dict[str, bytes]:
        """The files that a certificate is about, where they are not the query's own, under names beside its own."""
        made = {f"{certificate}.onnx": self.model} if self.composed else {}
        return {**made, f"{certificate}.vnnlib": self.claim}

    def assignment(self, witness: Witness) -> Iterator[tuple[Variable, NDArray[np.float32]]]:
        """Every tensor of the query at a witness, in the order of declaration."""
        sides = {"input": witness.x[list(self.place)], "output": witness.y}
        for v in self.query.variables:
            flat = sides["input" if v.kind == "input" else "output"]
            yield v, flat[v.start : v.start + v.size].reshape(v.shape)

    def assignment_text(self, witness: Witness) -> str:
        """VNN-LIB 2.0's form: a line NAME TYPE [SIZES] for each tensor, then its elements, one exact decimal a line."""
        lines = []
        for v, values in self.assignment(witness):
            lines += [str(v), *exact_texts(values)]
        return "\n".join(lines)


def verify_query(
    models: Mapping[str, bytes],
    claim: bytes,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
    workers: int | None = None,
    deadline: Deadline | None = None,
    strategy: str = "auto",
    crew: Crew | None = None,
) -> tuple[Verdict, Lowered]:
    """Decide the query of VNN-LIB 2.0 bytes for the ONNX bytes of its networks, by name ("" for the only one).

    The verdict's model and claim are the two files that its certificate is about.
    Raises   as verify_files; ShapeError and UsageError where networks and declarations do not fit
    """
    deadline = deadline or Deadline(timeout)
    lowered = lower(models, bytes(plain(claim, "VNN-LIB property")))
    files = lowered.model, lowered.claim
    return verify_files(*files, timeout, semantics, seed, workers, deadline, strategy, crew), lowered


def lower(models: Mapping[str, bytes], claim: bytes) -> Lowered:
    """The two files that a query comes to."""
    query = read_query(claim)
    files = _files(query, {name: bytes(plain(data, "ONNX model")) for name, data in models.items()})
    violation, place = merge_equal_inputs(query.violation, "the query")
    parts = [_part(network, files[network.name], place) for network in query.networks]
    (first, *others), width = query.networks, violation.inputs
    composed = bool(others or first.hidden or len(first.inputs) + len(first.outputs) > 2 or width < len(place))
    model = compose(parts, width) if composed else files[first.name]
    title = f"Made from a query of VNN-LIB 2.0, sha256 {sha256(claim).hexdigest()}."
    names = [f"{v.kind} {v} from {v.start}" for v in query.variables]
    text = write_vnnlib(with_decimal_boxes(violation), "\n".join([title, *names, *_shared(place)]))
    return Lowered(query, model, text.encode(), composed, place)


def _shared(place: Sequence[int]) -> list[str]:
    return [f"X: {' '.join(map(str, place))}"] if len(set(place)) < len(place) else []


def _files(query: Query, models: Mapping[str, bytes]) -> dict[str, bytes]:
    """The file of every network. Raises UsageError: one too few or too many."""
    own = [n.name for n in query.networks if n.relation != "equal-to"]
    given = {own[0]: models[""]} if list(models) == [""] and len(own) == 1 else dict(models)
    known = {n.name for n in query.networks}
    files: dict[str, bytes] = {}
    for network in query.networks:
        source = network.other if network.relation == "equal-to" else network.name
        same = files.get(network.other) if network.relation == "equal-to" else given.get(network.name)
        if same is None or given.get(network.name, same) != same or not set(given) <= known:
            raise UsageError(
                "the files given are not the networks that the query declares",
                where=f"network {network.name}",
                expected=", ".join(f"{name}=FILE.onnx" for name in own),
                got=", ".join(f"{name or 'a file without a name'}" for name in models) or "no file",
                fix=f"give {source} one file, and no other network one",
            )
        files[network.name] = same
    return files


def _part(network: Network, model: bytes, place: Sequence[int]) -> Part:
    """The network's graph, which must fit its declaration. Raises ShapeError, FileError."""
    with translated():
        graph = parse(model).graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    pairs = _tied(network, network.inputs, inputs, "inputs")
    outputs = _tied(network, network.outputs, list(graph.outputs), "outputs")
    for variable, value in (*pairs, *outputs):
        _check_fits(network, variable, value)
    return Part(
        network.name,
        model,
        tuple((value.name, _shape(value), tuple(place[v.start : v.start + v.size])) for v, value in pairs),
        (*((v.node, v.size) for v in network.hidden), *((value.name, v.size) for v, value in outputs)),
    )


def _tied(
    network: Network, declared: Sequence[Variable], values: Sequence[Value], what: str
) -> list[tuple[Variable, Value]]:
    """Variables with the graph's values that they mean, in the order of declaration."""
    if len(declared) != len(values):
        raise ShapeError(f"the query and the network differ in their {what}", where=f"network {network.name}",
                         expected=", ".join(map(str, declared)), got=", ".join(f"{v.name} {v.shape}" for v in values),
                         fix="declare each of the network's tensors, in its order")  # fmt: skip
    if not declared[0].node:
        return list(zip(declared, values, strict=True))
    named = {value.name: value for value in values}
    missing = [v.node for v in declared if v.node not in named]
    if missing or len({v.node for v in declared}) != len(declared):
        raise FileError(f"the query names {what} that the network does not have, or one twice",
                        where=f"network {network.name}", expected=", ".join(named),
                        got=", ".join(v.node for v in declared), fix="write the names of the ONNX file")  # fmt: skip
    return [(v, named[v.node]) for v in declared]


def _shape(value: Value) -> tuple[int, ...]:
    """An input's shape; a symbolic axis has size 1."""
    return tuple(d if isinstance(d, int) else 1 for d in value.shape or ())


def _check_fits(network: Network, variable: Variable, value: Value) -> None:
    """Axes of size 1 aside, declaration and graph have one shape; a symbolic axis of an output may be of any size."""
    shape = value.shape
    declared = [d for d in variable.shape if d != 1]
    fits = shape is None and variable.kind == "output"
    if shape is not None and not fits:
        known = [d if isinstance(d, int) else 1 for d in shape]
        free = variable.kind == "output" and len(shape) == len(variable.shape)
        fits = [d for d in known if d != 1] == declared or (
            free and all(not isinstance(d, int) or d == e for d, e in zip(shape, variable.shape, strict=True))
        )
    if not fits or value.dtype not in (None, "float32"):
        raise ShapeError("the query and the network differ in a tensor", where=f"network {network.name}",
                         expected=str(variable), got=f"{value.name} {value.dtype}{list(shape or ())}",
                         fix="declare the tensor with the network's type and sizes")  # fmt: skip
