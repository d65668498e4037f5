"""The last resort: one value as a ball, at rising precision until both its ends round to one number."""

from __future__ import annotations

import flint

from torchlean.errors import InternalError
from torchlean.floats.elementary.function import Function
from torchlean.floats.formats import BINARY64, Format
from torchlean.floats.rounding import Rounding, round_rational

_START, _LIMIT = 80, 1 << 15


def fraction(x: flint.arb) -> flint.fmpq:
    """The exact value of a ball without radius."""
    mantissa, exponent = x.man_exp()
    shift = int(exponent)
    if abs(shift) > 1 << 20:
        raise InternalError(
            "a value beyond every format reached the last rounding",
            where="floats.elementary",
            expected="an exponent within 2^20",
            got=f"exponent {shift}",
            fix="report this input",
        )
    if shift >= 0:
        return flint.fmpq(int(mantissa) << shift, 1)
    return flint.fmpq(int(mantissa), 1 << -shift)


def value(f: Function, arguments: tuple[float, ...], fmt: Format, mode: Rounding) -> float:
    """f rounded once, at finite arguments that the rule does not settle, after `alike`."""
    precision = _START
    while precision <= _LIMIT:
        with flint.ctx.workprec(precision):
            ball = f.ball(*(flint.arb(x) for x in arguments))
            if ball.is_finite():
                low = round_rational(fraction(ball.lower()), fmt, mode)
                if low == round_rational(fraction(ball.upper()), fmt, mode):
                    return low
        precision *= 2
    raise InternalError(
        f"{f.name}: no precision decides this rounding",
        where="floats.elementary",
        expected=f"at most {_LIMIT} bits",
        got=f"{f.name}{arguments!r}",
        fix="report this input: a rule for an exact case is missing",
    )


def ends(f: Function, x: float) -> tuple[float, float]:
    """float64 numbers below and above f(x), a few ulps apart at most; x as for `value`."""
    with flint.ctx.workprec(_START):
        ball = f.ball(flint.arb(x))
        if ball.is_finite() and ball.rel_accuracy_bits() >= 60:
            low = round_rational(fraction(ball.lower()), BINARY64, Rounding.DOWN)
            return low, round_rational(fraction(ball.upper()), BINARY64, Rounding.UP)
    return value(f, (x,), BINARY64, Rounding.DOWN), value(f, (x,), BINARY64, Rounding.UP)
