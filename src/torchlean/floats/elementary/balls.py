"""The functions as Arb balls, for arguments that no rule settles. Each is accurate relative to its result.

silu, softplus and gelu approach x. Far out their balls hold a value that lies on the same side of x as the function's,
and closer to x than any number or midpoint of a format: no precision would show the function's own distance.
"""

from __future__ import annotations

import flint


def sigmoid(x: flint.arb) -> flint.arb:
    if x <= 0:  # e^x / (1 + e^x): no overflow, and full relative accuracy where the result is tiny
        power = x.exp()
        return power / (1 + power)
    return 1 / (1 + (-x).exp())


def silu(x: flint.arb) -> flint.arb:
    return x * sigmoid(x if x < 64 else flint.arb(64))  # e^-64 < 2^-92


def softplus(x: flint.arb) -> flint.arb:
    return x.exp().log1p() if x <= 0 else x + (-x if x < 64 else flint.arb(-64)).exp().log1p()


def gelu(x: flint.arb) -> flint.arb:
    return x * (-(x if x < 12 else flint.arb(12)) / flint.arb(2).sqrt()).erfc() / 2  # 1 - Phi(12) < 2^-108


def exp2(x: flint.arb) -> flint.arb:
    return flint.arb(2) ** x


def log2(x: flint.arb) -> flint.arb:
    return x.log() / flint.arb.const_log2()


def log10(x: flint.arb) -> flint.arb:
    return x.log() / flint.arb.const_log10()


def cbrt(x: flint.arb) -> flint.arb:
    return x.root(3) if x >= 0 else -(-x).root(3)


def hypot(x: flint.arb, y: flint.arb) -> flint.arb:
    """Without radius where the root is exact, once the precision holds the squares."""
    return (x * x + y * y).sqrt()


_BEYOND = 800  # e^800 and e^-800 round as anything farther out, in every format


def pow(x: flint.arb, y: flint.arb) -> flint.arb:
    """Without radius where the power is exact: a root is taken as long as it is exact and y is not whole."""
    size = abs(x)
    sign = -1 if x < 0 and not (y / 2).is_integer() else 1
    exponent = y * size.log()
    if abs(exponent) > _BEYOND:
        return sign * flint.arb(_BEYOND if exponent > 0 else -_BEYOND).exp()
    while not y.is_integer():
        root = size.sqrt()
        if not root.is_exact():
            break
        size, y = root, y * 2
    return sign * size**y
