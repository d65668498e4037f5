"""Elementary functions with flags: the bits of `floats.rounded`, and what IEEE 754-2019, 9.2 raises."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flint
import numpy as np

from torchlean.errors import InternalError
from torchlean.floats import bits as patterns
from torchlean.floats import soft
from torchlean.floats.bits import Bits
from torchlean.floats.elementary import FUNCTIONS
from torchlean.floats.elementary.arb import fraction
from torchlean.floats.elementary.function import Function
from torchlean.floats.formats import Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft import Flag, Result, Rules

_START, _LIMIT = 80, 1 << 15


def elementary(name: str, operands: Sequence[Bits], fmt: Format, mode: Rounding, rules: Rules) -> Result:
    """A function of one number, or of two, rounded once; an exact value is not inexact.

    Divide by zero   an infinite result of finite operands, at a pole: log(0), pow(0, -1), atanh(1)
    Invalid          NaN from operands that are none: log(-1), sin(inf); signaling NaN
    NaN              the first operand that is one, quieted, unless the function has a value there: pow(nan, 0)
    Shapes           operands: [1] of fmt.storage -> the same
    """
    f, x = FUNCTIONS[name], [soft.decode(a, fmt) for a in operands]
    with np.errstate(all="ignore"):
        values, settled = f.rule(*x)
        near = f.alike(*x) if f.alike is not None else x
    if settled[0]:
        result = _settled(float(values[0]), x, operands, fmt, mode, rules)
    else:
        result = _by_ball(f, [float(a[0]) for a in near], fmt, mode, rules)
    signaling = any(patterns.is_signaling(a, fmt)[0] for a in operands)
    return Result(result.bits, result.flags | np.uint8(Flag.INVALID * signaling))


def _settled(
    value: float, x: Sequence[Bits], operands: Sequence[Bits], fmt: Format, mode: Rounding, rules: Rules
) -> Result:
    if math.isnan(value):
        for given, pattern in zip(x, operands, strict=True):
            if np.isnan(given[0]):
                return Result(soft.add(pattern, pattern, fmt, mode, rules).bits, np.zeros(1, np.uint8))
        return Result(np.array([fmt.nan_bits], fmt.storage), np.array([Flag.INVALID], np.uint8))
    if math.isinf(value) and all(np.isfinite(given[0]) for given in x):
        one, zero = (soft.encode([v], fmt, mode, rules).bits for v in (1.0, math.copysign(0.0, value)))
        return soft.div(one, zero, fmt, mode, rules)
    return soft.encode([value], fmt, mode, rules)


def _by_ball(f: Function, x: Sequence[float], fmt: Format, mode: Rounding, rules: Rules) -> Result:
    """Both ends of a ball, at rising precision until they agree in bits and flags."""
    precision = _START
    while precision <= _LIMIT:
        with flint.ctx.workprec(precision):
            ball = f.ball(*map(flint.arb, x))
            if ball.is_finite():
                low, high = (soft.encode([fraction(end)], fmt, mode, rules) for end in (ball.lower(), ball.upper()))
                if low.bits[0] == high.bits[0] and low.flags[0] == high.flags[0]:
                    return low
        precision *= 2
    raise InternalError(
        f"{f.name}: no precision decides this rounding",
        where="floats.calculator",
        expected=f"at most {_LIMIT} bits",
        got=f"{f.name}{tuple(x)!r} in {fmt}",
        fix="report this input: a rule for an exact case is missing",
    )
