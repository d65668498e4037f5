"""What an expression is over the real numbers: a rational where it is one, else an enclosure by Arb."""

from __future__ import annotations

import math
from collections.abc import Callable

import flint
import numpy as np

from torchlean.floats import soft
from torchlean.floats.calculator.number import power_of_two
from torchlean.floats.calculator.syntax import Call, Expression, Number
from torchlean.floats.elementary import FUNCTIONS
from torchlean.floats.formats import BINARY64
from torchlean.frozen import frozen

_START, _LIMIT, _ACCURACY = 256, 1 << 14, 200  # bits
_TINY, _FAR = -1400, 1 << 16  # below 2^_TINY a value counts as its sign; beyond 2^_FAR it is not written down


@frozen
class Real:
    """lower <= the exact value <= upper: equal where it is rational, else 200 bits apart or within 2^-1400 of 0."""

    lower: flint.fmpq
    upper: flint.fmpq

    @property
    def middle(self) -> flint.fmpq:
        return (self.lower + self.upper) / 2

    @property
    def is_exact(self) -> bool:
        return bool(self.lower == self.upper)


class _Undefined(Exception):
    """Over the reals there is no such value."""


def real_value(expression: Expression) -> Real | str:
    """The exact value; where there is none, the reason in words.

    There is none of x / 0, sqrt(-1), infinities and NaN; none is found where 16384 bits do not tell a divisor or the
    end of a domain from the value beside it.
    """
    bits = _START
    try:
        while bits <= _LIMIT:
            with flint.ctx.workprec(bits):
                found = _at(expression)
                if isinstance(found, flint.fmpq):
                    return Real(found, found)
                if found.is_finite():
                    if abs(found) > _power(_FAR):
                        return f"its magnitude is above 2^{_FAR}"
                    if abs(found) < _power(_TINY):
                        limit = power_of_two(_TINY)
                        return Real(limit * (0 if found > 0 else -1), limit * (0 if found < 0 else 1))
                    if found.rel_accuracy_bits() >= _ACCURACY:
                        return Real(_rational(found.lower()), _rational(found.upper()))
            bits *= 2
    except _Undefined as reason:
        return str(reason)
    return f"{_LIMIT} bits do not decide it"


def _power(n: int) -> flint.arb:
    return flint.arb(2) ** n


def _rational(end: flint.arb) -> flint.fmpq:
    mantissa, exponent = end.man_exp()
    return flint.fmpq(mantissa, 1) * power_of_two(int(exponent))


def _at(node: Expression) -> flint.fmpq | flint.arb:
    """The value at the working precision. Rationals stay exact."""
    if isinstance(node, Number):
        if isinstance(node.value, float):
            raise _Undefined(f"{node.text} is no real number")
        return node.value
    x = [_at(a) for a in node.arguments]
    if any(isinstance(a, flint.arb) for a in x):
        x = [flint.arb(a) for a in x]
    if node.name in _BASIC:
        return _BASIC[node.name](*x)
    return _function(node, x)


def _divide(a: flint.fmpq | flint.arb, b: flint.fmpq | flint.arb) -> flint.fmpq | flint.arb:
    if b == 0:
        raise _Undefined("a division by zero")
    return a / b


def _least(a: flint.fmpq | flint.arb, b: flint.fmpq | flint.arb) -> flint.fmpq | flint.arb:
    return min(a, b) if isinstance(a, flint.fmpq) else a.min(b)


def _most(a: flint.fmpq | flint.arb, b: flint.fmpq | flint.arb) -> flint.fmpq | flint.arb:
    return max(a, b) if isinstance(a, flint.fmpq) else a.max(b)


_BASIC: dict[str, Callable[..., flint.fmpq | flint.arb]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "neg": lambda a: -a,
    "fma": lambda a, b, c: a * b + c,
    "min": _least,
    "max": _most,
}


def _function(node: Call, x: list[flint.fmpq | flint.arb]) -> flint.fmpq | flint.arb:
    f = FUNCTIONS[node.name]
    if node.name == "sqrt" and isinstance(x[0], flint.fmpq) and x[0] >= 0:
        p, q = math.isqrt(int(x[0].numerator)), math.isqrt(int(x[0].denominator))
        if flint.fmpq(p * p, q * q) == x[0]:
            return flint.fmpq(p, q)
    if f.arity == 1 and (flint.arb(x[0]) < f.domain[0] or flint.arb(x[0]) > f.domain[1]):
        raise _Undefined(f"outside of the domain of {f.name}")
    exact = [_as_float(a) for a in x]
    if all(a is not None for a in exact):
        with np.errstate(all="ignore"):
            values, settled = f.rule(*(np.array([a]) for a in exact))
        if settled[0]:
            if not math.isfinite(values[0]):
                raise _Undefined(f"{f.name} has no value there")
            return flint.fmpq(*float(values[0]).as_integer_ratio())
    return _BALLS.get(f.name, f.ball)(*map(flint.arb, x))


def _as_float(x: flint.fmpq | flint.arb) -> float | None:
    """x as a float64, where it is one."""
    if not isinstance(x, flint.fmpq):
        return None
    bits, flags = soft.encode([x], BINARY64)
    return None if flags[0] else float(soft.decode(bits, BINARY64)[0])


def _silu(x: flint.arb) -> flint.arb:
    return x * FUNCTIONS["sigmoid"].ball(x)


def _softplus(x: flint.arb) -> flint.arb:
    return x.exp().log1p() if x <= 0 else x + (-x).exp().log1p()


def _gelu(x: flint.arb) -> flint.arb:
    return x * (-x / flint.arb(2).sqrt()).erfc() / 2


# FUNCTIONS' balls of these four serve rounding only: far out they hold a value that rounds as the function's does.
_BALLS: dict[str, Callable[..., flint.arb]] = {
    "silu": _silu, "softplus": _softplus, "gelu": _gelu, "pow": lambda x, y: x**y
}  # fmt: skip
