"""One program in several number systems, side by side, and the first node where two of them part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchlean import floats
from torchlean.floats import BINARY32, Format
from torchlean.frozen import frozen
from torchlean.run.program import Program, sizes_of


@frozen
class Column:
    """A program's values in one number system.

    head      the system's name in a table
    fmt       the system's format; float32 for the reals
    nodes     the first result of each node that computes, by number and op, where they were asked for
    outputs   by name
    """

    head: str
    fmt: Format
    nodes: Mapping[str, Any]
    outputs: Mapping[str, Any]


def evaluated(
    program: Program, inputs: Mapping[str, np.ndarray], softs: Sequence[Any] = (), *, nodes: bool = False
) -> list[Column]:
    """The float32 reference, the SoftFloat systems `softs`, the reals, and the intervals around reals and float32."""
    from torchlean.meaning import Float, IntervalFloat, IntervalReal, Real
    from torchlean.meaning.evaluate import evaluate

    graph = program.specialise(**sizes_of(program.graph, inputs)).graph
    arrays = {**program.parameters, **program.states, **inputs}
    columns = []
    for head, N in (
        ("float32", Float()),
        *((f"{N.fmt} {N.rounding.value}", N) for N in softs),
        ("real", Real()),
        ("interval of real", IntervalReal()),
        ("interval of float32", IntervalFloat()),
    ):
        kept: dict[str, Any] = {}

        def observe(number: int, node: Any, found: tuple[Any, ...], kept: dict[str, Any] = kept) -> None:
            if nodes and node.inputs:
                kept[f"%{number} {node.op}"] = found[0]

        outputs = evaluate(graph, N, {name: N.constant(np.asarray(a)) for name, a in arrays.items()}, observe)
        columns.append(Column(head, getattr(N, "fmt", BINARY32), kept, outputs))
    return columns


def side_by_side(columns: Sequence[Column], digits: int, *, nodes: bool = False) -> list[dict[str, str]]:
    """One row per output entry, after one per node (its first entry) where asked for: its value in each system."""
    from torchlean.meaning import cells

    found: dict[str, dict[str, str]] = {}
    for column in columns:
        shown = {name: cells(value, digits)[0] for name, value in column.nodes.items()} if nodes else {}
        for name, value in column.outputs.items():
            shown.update((f"{name}[{i}]", text) for i, text in enumerate(cells(value, digits)))
        found[column.head] = shown
    return [{"value": n, **{head: shown[n] for head, shown in found.items()}} for n in found[columns[0].head]]


@frozen
class Parting:
    """How far a system is from the float32 reference, in ulps of the coarser of the two formats.

    outputs   the largest difference of an entry of an output; infinite where a NaN or an infinity meets something else
    node      the first node whose difference is above the limit, and `ulps` there; None where there is none
    """

    system: str
    outputs: float
    node: str | None
    ulps: float | None


def partings(columns: Sequence[Column], limit: float) -> list[Parting]:
    """Each system that has one value per entry against the first, node by node."""
    from torchlean.meaning import Ranges

    first, *rest = columns
    found = []
    for column in rest:
        if any(isinstance(value, Ranges) for value in column.outputs.values()):
            continue
        far = {name: _apart(first.nodes[name], value, column.fmt) for name, value in column.nodes.items()}
        node = next((name for name, ulps in far.items() if ulps > limit), None)
        outputs = max(_apart(first.outputs[name], value, column.fmt) for name, value in column.outputs.items())
        found.append(Parting(column.head, outputs, node, far[node] if node else None))
    return found


def _apart(reference: Any, other: Any, fmt: Format) -> float:
    """The largest difference in ulps; of integers and bools the largest difference."""
    a, b = _doubles(reference), _doubles(other)
    if a.size == 0:
        return 0.0
    real = np.asarray(reference).dtype.kind in "fV"  # ml_dtypes' formats have kind V
    unit = np.maximum(floats.ulp(a, fmt), floats.ulp(a, BINARY32)) if real else 1.0
    with np.errstate(all="ignore"):
        far = np.abs(b - a) / unit
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.where(np.isnan(far), np.inf, far))))


def _doubles(value: Any) -> np.ndarray:
    from torchlean.meaning import Reals, to_numpy

    return to_numpy(Reals(value.values, "float64") if isinstance(value, Reals) else value).astype(np.float64)
