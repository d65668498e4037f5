"""The table of elementary functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import flint
import numpy as np

from torchlean.floats.elementary import arc, balls, exponential, gauss, logarithm, powers, rules, trig
from torchlean.floats.elementary.function import Branches, Function, Monotone, Points, Valley, Wave
from torchlean.floats.elementary.kernel import Kernel
from torchlean.floats.rounding import F64

_K: dict[str, Kernel] = {}
for _module in (exponential, logarithm, powers, trig, arc, gauss):
    _K |= _module.KERNELS
_HALF_PI, _PI = 1.5707963267948968, 3.1415926535897936  # above
_INF = math.inf
_POSITIVE, _UNIT = (0.0, _INF), (-1.0, 1.0)


def _clip(low: float, high: float) -> Callable[[F64], tuple[F64]]:
    return lambda x: (np.clip(x, low, high),)


def _toward_zero(x: F64) -> tuple[F64, F64]:
    """|f(x)| < |x|."""
    return np.minimum(x, 0.0), np.maximum(x, 0.0)


def _from_zero(x: F64) -> tuple[F64, F64]:
    """|f(x)| > |x|."""
    return np.where(x > 0, x, -_INF), np.where(x < 0, x, _INF)


def _around(middle: float, low: float, high: float) -> Callable[[F64], tuple[F64, F64]]:
    """Increasing from low to high, and `middle` at 0."""
    return lambda x: (np.where(x > 0, middle, low), np.where(x < 0, middle, high))


def _gate(x: F64) -> tuple[F64, F64]:
    """x times an increasing function from 0 to 1 that is 1/2 at 0: above x / 2, below x and 0."""
    return x / 2, np.maximum(x, 0.0)


def _sin_between(x: F64) -> tuple[F64, F64]:
    """|sin x| < |x|, and 1; of the sign of x only up to pi."""
    size = np.minimum(np.abs(x), 1.0)
    return -size, size


def _tan_between(x: F64) -> tuple[F64, F64]:
    """|tan x| > |x| before the first pole."""
    low, high = _from_zero(x)
    near = np.abs(x) < 1.5
    return np.where(near, low, -_INF), np.where(near, high, _INF)


def _pow_between(x: F64, y: F64) -> tuple[F64, F64]:
    """|x|^y against 1."""
    size = np.abs(x)
    grows = (size > 1) == (y > 0)
    half = y * 0.5
    negative = (x < 0) & (np.floor(half) != half)
    low, high = np.where(grows, 1.0, 0.0), np.where(grows, _INF, 1.0)
    low, high = np.where(size == 1, -_INF, low), np.where(size == 1, _INF, high)
    return np.where(negative, -high, low), np.where(negative, -low, high)


# What saturates does so in binary64, hence in every format here: 2^-1075 > e^-746, e^710 > 2^1024, e^-38 < 2^-54,
# 1 - tanh 20 < 2^-54, 1 - erf 6 < 2^-55, |gelu(-40)| < e^-746, 760 e^-760 < e^-746.
FUNCTIONS: dict[str, Function] = {
    f.name: f
    for f in (
        Function(
            "exp", _K["exp"], flint.arb.exp, Points({0.0: 1.0, -_INF: 0.0, _INF: _INF}),
            alike=_clip(-746, 710), between=_around(1.0, 0.0, _INF), low=0.0,
        ),
        Function(
            "exp2", _K["exp2"], balls.exp2, Points({-_INF: 0.0, _INF: _INF}, exact=rules.exact_exp2),
            alike=_clip(-1076, 1025), between=_around(1.0, 0.0, _INF), low=0.0,
        ),
        Function(
            "expm1", _K["expm1"], flint.arb.expm1, Points({-_INF: -1.0, _INF: _INF}, keep_zero=True), zeros=True,
            alike=_clip(-38, 710), between=lambda x: (np.maximum(x, -1.0), np.where(x > 0, _INF, 0.0)), low=-1.0,
        ),
        Function(
            "log", _K["log"], flint.arb.log, Points({0.0: -_INF, 1.0: 0.0, _INF: _INF}, low=0.0),
            plain=_POSITIVE, domain=_POSITIVE,
        ),
        Function(
            "log1p", _K["log1p"], flint.arb.log1p, Points({-1.0: -_INF, _INF: _INF}, keep_zero=True, low=-1.0),
            plain=(-1.0, _INF), zeros=True, between=lambda x: (np.where(x > 0, 0.0, -_INF), x), domain=(-1.0, _INF),
        ),
        Function(
            "log2", _K["log2"], balls.log2, Points({0.0: -_INF, _INF: _INF}, low=0.0, exact=rules.exact_log2),
            plain=_POSITIVE, domain=_POSITIVE,
        ),
        Function(
            "log10", _K["log10"], balls.log10, Points({0.0: -_INF, _INF: _INF}, low=0.0, exact=rules.exact_log10),
            plain=_POSITIVE, domain=_POSITIVE,
        ),
        Function(
            "sinh", _K["sinh"], flint.arb.sinh, Points({-_INF: -_INF, _INF: _INF}, keep_zero=True), zeros=True,
            alike=_clip(-711, 711), between=_from_zero,
        ),
        Function(
            "cosh", _K["cosh"], flint.arb.cosh, Points({0.0: 1.0, -_INF: _INF, _INF: _INF}),
            alike=_clip(-711, 711), between=lambda x: (np.ones_like(x), np.full_like(x, _INF)), low=1.0,
            shape=Valley(0.0, 0.0, 1.0),
        ),
        Function(
            "tanh", _K["tanh"], flint.arb.tanh, Points({-_INF: -1.0, _INF: 1.0}, keep_zero=True), zeros=True,
            alike=_clip(-20, 20), between=lambda x: _toward_zero(np.clip(x, -1.0, 1.0)), low=-1.0, high=1.0,
        ),
        Function(
            "asinh", _K["asinh"], flint.arb.asinh, Points({-_INF: -_INF, _INF: _INF}, keep_zero=True), zeros=True,
            between=_toward_zero,
        ),
        Function(
            "acosh", _K["acosh"], flint.arb.acosh, Points({1.0: 0.0, _INF: _INF}, low=1.0),
            plain=(1.0, _INF), low=0.0, domain=(1.0, _INF),
        ),
        Function(
            "atanh", _K["atanh"], flint.arb.atanh, Points({-1.0: -_INF, 1.0: _INF}, keep_zero=True, low=-1.0, high=1.0),
            plain=(-1.0, 1.0), zeros=True, between=_from_zero, domain=(-1.0, 1.0),
        ),
        Function(
            "sigmoid", _K["sigmoid"], balls.sigmoid, Points({0.0: 0.5, -_INF: 0.0, _INF: 1.0}),
            alike=_clip(-746, 38), between=_around(0.5, 0.0, 1.0), low=0.0, high=1.0,
        ),
        Function(
            "silu", _K["silu"], balls.silu, Points({-_INF: -0.0, _INF: _INF}, keep_zero=True),
            zeros=True, alike=_clip(-760, _INF), between=_gate, low=-0.2784645427610738,
            shape=Valley(-1.2784645427610740, -1.2784645427610736, -0.2784645427610738),
        ),
        Function(
            "softplus", _K["softplus"], balls.softplus, Points({-_INF: 0.0, _INF: _INF}),
            alike=_clip(-746, _INF), between=lambda x: (np.maximum(x, 0.0), np.full_like(x, _INF)), low=0.0,
        ),
        Function(
            "rsqrt", _K["rsqrt"], flint.arb.rsqrt, rules.rsqrt,
            plain=_POSITIVE, low=0.0, domain=_POSITIVE, shape=Monotone(False),
        ),
        Function(
            "cbrt", _K["cbrt"], balls.cbrt, Points({-_INF: -_INF, _INF: _INF}, keep_zero=True, exact=rules.exact_cbrt),
            zeros=True,
        ),
        Function(
            "hypot", _K["hypot"], balls.hypot, rules.hypot, arity=2, low=0.0,
            between=lambda x, y: (np.maximum(np.abs(x), np.abs(y)), np.full_like(x, _INF)),
        ),
        Function("sqrt", _K["sqrt"], flint.arb.sqrt,
            Points({_INF: _INF}, keep_zero=True, low=0.0, exact=rules.exact_sqrt),
            plain=_POSITIVE, low=0.0, domain=_POSITIVE,
        ),
        Function(
            "sin", _K["sin"], flint.arb.sin, Points({-_INF: math.nan, _INF: math.nan}, keep_zero=True), zeros=True,
            between=_sin_between, low=-1.0, high=1.0, shape=Wave(0.5),
        ),
        Function(
            "cos", _K["cos"], flint.arb.cos, Points({0.0: 1.0, -_INF: math.nan, _INF: math.nan}),
            between=lambda x: (np.full_like(x, -1.0), np.ones_like(x)), low=-1.0, high=1.0, shape=Wave(0.0),
        ),
        Function(
            "tan", _K["tan"], flint.arb.tan, Points({-_INF: math.nan, _INF: math.nan}, keep_zero=True), zeros=True,
            between=_tan_between, shape=Branches(),
        ),
        Function(
            "asin", _K["asin"], flint.arb.asin, Points({}, keep_zero=True, low=-1.0, high=1.0),
            plain=_UNIT, zeros=True, between=_from_zero, low=-_HALF_PI, high=_HALF_PI, domain=_UNIT,
        ),
        Function(
            "acos", _K["acos"], flint.arb.acos, Points({1.0: 0.0}, low=-1.0, high=1.0),
            plain=_UNIT, low=0.0, high=_PI, domain=_UNIT, shape=Monotone(False),
        ),
        Function(
            "atan", _K["atan"], flint.arb.atan, Points({}, keep_zero=True), zeros=True,
            alike=_clip(-(2.0**60), 2.0**60), between=_toward_zero, low=-_HALF_PI, high=_HALF_PI,
        ),
        Function(
            "atan2", _K["atan2"], flint.arb.atan2, rules.atan2, arity=2,
            alike=rules.atan2_alike, between=rules.atan2_between,
        ),
        Function(
            "erf", _K["erf"], flint.arb.erf, Points({-_INF: -1.0, _INF: 1.0}, keep_zero=True), zeros=True,
            alike=_clip(-6, 6), between=_around(0.0, -1.0, 1.0), low=-1.0, high=1.0,
        ),
        Function(
            "gelu", _K["gelu"], balls.gelu, Points({-_INF: -0.0, _INF: _INF}, keep_zero=True), zeros=True,
            alike=_clip(-40, _INF), between=_gate, low=-0.16997120747990369,
            shape=Valley(-0.75179152469356457, -0.75179152469356435, -0.16997120747990369),
        ),
        Function("pow", _K["pow"], balls.pow, rules.pow, arity=2, between=_pow_between),
    )
}  # fmt: skip
ELEMENTARY = tuple(FUNCTIONS)
