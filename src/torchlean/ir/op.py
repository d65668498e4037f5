"""The record that holds an op's whole meaning. Pure facts, no state; the records stand in `torchlean.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from torchlean.errors import MissingRule
from torchlean.frozen import frozen


@frozen
class Missing:
    """A rule that does not exist, and why. An engine that needs it raises; there is no fallback."""

    why: str


class Derived(Enum):
    """Rules that follow from another field."""

    DERIVED = "interval: run the meaning over intervals"
    LEADING = "batch: the axes are stored from the end, so one more leading axis on every input changes nothing"
    ALIGNED = "batch: elementwise; operands are first reshaped to equal rank"
    EXACT = "rounding: selection, comparison or layout only; the float result is the real one"
    COMPARED = "rounding: the result is discrete; it is enclosed from operands that carry their error"
    EXPAND = "use the definition's graph"


DERIVED, LEADING, ALIGNED, EXACT, COMPARED, EXPAND = (
    Derived.DERIVED, Derived.LEADING, Derived.ALIGNED, Derived.EXACT, Derived.COMPARED, Derived.EXPAND,
)  # fmt: skip


@frozen
class Linear:
    """relax: the op is linear in these inputs while the others are constant; a walk crosses it by its transpose.

    `jointly` says that it is linear in all of them at once (add, concat), not only in each (matmul).
    `lines` is the rule for when other inputs vary, too: (xp, boxes, slope, **attrs) -> Lines. Without it, a walk
    crosses an op that is linear in each of two varying inputs around their middles.
    """

    args: tuple[int, ...]
    jointly: bool = True
    lines: Callable[..., Any] | None = None


@frozen
class Onnx:
    """The ONNX operators that this op is read from and written to.

    name     operator name in the default domain        since    first opset whose meaning this is
    Attributes and odd forms are read and written in `io/onnx`.
    """

    name: str
    since: int = 1


Rule: TypeAlias = Callable[..., Any]


@frozen
class Op:
    """One op.

    type_rule   (attrs, *types) -> output types; ShapeError that names axes
    meaning     (N, *values, **attrs) -> value or tuple: the definition over a number system
    vjp         (g, inputs, outputs, cotangents, **attrs) -> a cotangent (or None) per input, built with the tracer g
    batch       LEADING, ALIGNED, EXPAND, or (g, inputs, batched, **attrs) -> outputs with one more leading axis
    interval    DERIVED, or (N, *values, **attrs) over an interval system
    relax       Linear(...), Lines(...), EXPAND, or Missing
    rounding    EXACT, COMPARED, EXPAND, Missing, or (magnitudes, result, **attrs) -> E, float64, an upper bound for
                binary32; a rule that takes `fmt`, a `floats.Format`, has it for the others, too
    lower       (xp, *arrays, **attrs) -> array or tuple, or EXPAND
    onnx        Onnx(...), EXPAND, or Missing
    """

    name: str
    type_rule: Rule
    meaning: Rule | Missing
    vjp: Rule | Derived | Missing
    batch: Rule | Derived | Missing
    interval: Rule | Derived | Missing
    relax: Any
    rounding: Rule | Derived | Missing
    lower: Rule | Derived | Missing
    onnx: Onnx | Derived | Missing
    composite: bool = False

    def rule(self, field: str) -> Any:
        """A rule of this record. Raises MissingRule when it does not exist."""
        found = getattr(self, field)
        if isinstance(found, Missing):
            raise MissingRule(
                f"{self.name} has no {field} rule",
                where=f"op {self.name}",
                expected=f"a {field} rule in its record",
                got=f"Missing: {found.why}",
                fix="rewrite the program without this op, or add the rule to its record",
            )
        return found

    def __repr__(self) -> str:
        return f"Op({self.name})"


OpTable: TypeAlias = Mapping[str, Op]
