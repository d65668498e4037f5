"""An expression in one arithmetic: every literal and every operation rounded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flint
import numpy as np

from torchlean.floats import soft
from torchlean.floats.bits import Bits
from torchlean.floats.calculator.functions import elementary
from torchlean.floats.calculator.look import pattern_text
from torchlean.floats.calculator.number import spacing
from torchlean.floats.calculator.real import Real
from torchlean.floats.calculator.syntax import Expression, Number, parse
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft import Flag, Result, Rules
from torchlean.floats.soft.rules import DEFAULT
from torchlean.frozen import frozen


@frozen
class Step:
    """One rounding: what was computed, the pattern that came out, and the flags it raised."""

    text: str
    bits: int
    flags: Flag


@frozen
class Outcome:
    """An expression's result.

    steps   every rounding in the order of evaluation; the last is the result
    """

    format: Format
    mode: Rounding
    steps: tuple[Step, ...]

    @property
    def bits(self) -> int:
        return self.steps[-1].bits

    @property
    def pattern(self) -> str:
        return pattern_text(self.bits, self.format)

    @property
    def flags(self) -> Flag:
        """All that were raised on the way."""
        raised = Flag(0)
        for step in self.steps:
            raised |= step.flags
        return raised

    @property
    def value(self) -> float:
        """The result, exactly."""
        return float(soft.decode(np.array(self.bits, self.format.storage), self.format))

    def off_by(self, real: Real) -> flint.fmpq | None:
        """(result - exact) in ulps of the exact value, to 140 bits; None where the result is no finite number."""
        if not np.isfinite(self.value):
            return None
        return (flint.fmpq(*self.value.as_integer_ratio()) - real.middle) / spacing(real.middle, self.format)


def evaluate(
    expression: str | Expression, fmt: Format = BINARY32, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT
) -> Outcome:
    """The expression in one format and direction: literals are converted, every operation is IEEE 754's or correctly
    rounded, nothing is fused.

    Raises   UsageError for a text that `parse` refuses, and for a format without infinity whose overflow is not stated
    """
    steps: list[Step] = []
    tree = parse(expression) if isinstance(expression, str) else expression
    _run(tree, fmt, mode, rules, steps)
    return Outcome(fmt, mode, tuple(steps))


def _run(node: Expression, fmt: Format, mode: Rounding, rules: Rules, steps: list[Step]) -> Bits:
    if isinstance(node, Number):
        result = soft.encode([node.value], fmt, mode, rules)
    else:
        operands = [_run(a, fmt, mode, rules, steps) for a in node.arguments]
        result = _apply(node.name, operands, fmt, mode, rules)
    steps.append(Step(str(node), int(result.bits[0]), Flag(int(result.flags[0]))))
    return result.bits


def _apply(name: str, x: Sequence[Bits], fmt: Format, mode: Rounding, rules: Rules) -> Result:
    if name in _ROUNDED:
        return _ROUNDED[name](*x, fmt, mode, rules)
    if name in _CHOSEN:
        return _CHOSEN[name](*x, fmt, rules)
    if name == "neg":  # IEEE 754-2019, 5.5.1: the sign bit alone, of NaNs too, and no flag
        return Result(x[0] ^ fmt.storage.type(fmt.magnitude_mask + 1), np.zeros(1, np.uint8))
    return elementary(name, x, fmt, mode, rules)


_ROUNDED: dict[str, Callable[..., Result]] = {
    "add": soft.add, "sub": soft.sub, "mul": soft.mul, "div": soft.div, "fma": soft.fma, "sqrt": soft.sqrt
}  # fmt: skip
_CHOSEN: dict[str, Callable[..., Result]] = {"min": soft.minimum, "max": soft.maximum}
