"""IEEE 754 on one element at a time, slowly, from the text of the standard: whole numbers, fractions, lists of numbers.

Nothing here is shared with the package but the names of formats, directions and flags. A format's numbers are listed
with their values; rounding looks for the neighbours in that list; overflow and tininess are read off the result that
an exponent range without end would have given.
"""

import bisect
from fractions import Fraction
from functools import cache
from math import gcd, isqrt

import numpy as np

from torchlean.floats import E4M3FN, E5M2, Format, Rounding
from torchlean.floats.soft import Flag, Overflow, Tininess

T132 = Format.custom("1-3-2", 3, 3)
T143 = Format.custom("1-4-3", 4, 4)
TOYS = (T132, T143, E4M3FN, E5M2)
MODES = tuple(Rounding)
INVALID, INEXACT = int(Flag.INVALID), int(Flag.INEXACT)
NAN, INF = "nan", "inf"


class Table:
    """A format's patterns: sign[p], and value[p] in units of the smallest subnormal, or NAN, or INF (3.4)."""

    def __init__(self, fmt):
        self.fmt = fmt
        exponents = fmt.emax - fmt.emin + (3 if fmt.has_infinity else 2)
        self.fraction_bits = f = fmt.precision - 1
        self.width = 1 + (exponents - 1).bit_length() + f
        self.minus = 1 << (self.width - 1)
        self.units = 1 << (f - fmt.emin)  # in 1
        self.sign, self.value = [], []
        for pattern in range(1 << self.width):
            exponent, fraction = (pattern >> f) % exponents, pattern % (1 << f)
            if exponent == exponents - 1 and fmt.has_infinity:
                value = NAN if fraction else INF
            elif exponent == exponents - 1 and fraction == (1 << f) - 1:
                value = NAN
            else:
                value = fraction if exponent == 0 else ((1 << f) + fraction) << (exponent - 1)
            self.sign.append(pattern >> (self.width - 1))
            self.value.append(value)
        self.numbers = [v for v in self.value[: self.minus] if not isinstance(v, str)]
        assert self.numbers == sorted(self.numbers)
        self.largest = len(self.numbers) - 1
        self.infinity = self.largest + 1
        self.nan = (exponents - 1) << f | 1 << (f - 1) if fmt.has_infinity else self.minus - 1

    def signed(self, pattern, negative):
        return pattern | (self.minus if negative else 0)

    def infinite(self, negative):
        return ("is", self.signed(self.infinity, negative), 0)

    def invalid(self):
        return ("is", self.nan, INVALID)

    def first_nan(self, operands, flags=0):
        """The first NaN, quieted, as a key; None where there is none."""
        nans = [x for x in operands if self.value[x] is NAN]
        if not nans:
            return None
        quiet = 1 << (self.fraction_bits - 1)
        signaling = self.fmt.has_infinity and any(not x & quiet for x in nans)
        return ("is", nans[0] | quiet, flags | (INVALID if signaling else 0))


table = cache(Table)

# The exact result of an operation, as a key:
#   ("is", pattern, flags)   ("zero", sign, or None where the direction decides)   ("pole", sign)
#   ("real", n, d)           n / d in units of the smallest subnormal


def exact_add(t, a, b, minus=0):
    va, vb, sa, sb = t.value[a], t.value[b], t.sign[a], t.sign[b] ^ minus
    if va is NAN or vb is NAN:
        return t.first_nan((a, b))
    if va is INF or vb is INF:
        if va is vb and sa != sb:
            return t.invalid()
        return t.infinite(sa if va is INF else sb)
    n = (-va if sa else va) + (-vb if sb else vb)
    return ("real", n, 1) if n else ("zero", sa if sa == sb else None)


def exact_sub(t, a, b):
    return exact_add(t, a, b, minus=1)


def exact_mul(t, a, b):
    va, vb, sign = t.value[a], t.value[b], t.sign[a] ^ t.sign[b]
    if va is NAN or vb is NAN:
        return t.first_nan((a, b))
    if va is INF or vb is INF:
        return t.invalid() if va == 0 or vb == 0 else t.infinite(sign)
    n = va * vb
    return ("real", -n if sign else n, t.units) if n else ("zero", sign)


def exact_div(t, a, b):
    va, vb, sign = t.value[a], t.value[b], t.sign[a] ^ t.sign[b]
    if va is NAN or vb is NAN:
        return t.first_nan((a, b))
    if va is INF:
        return t.invalid() if vb is INF else t.infinite(sign)
    if vb is INF:
        return ("zero", sign)
    if vb == 0:
        return t.invalid() if va == 0 else ("pole", sign)
    n, common = va * t.units, gcd(va * t.units, vb)
    return ("real", (-n if sign else n) // common, vb // common) if va else ("zero", sign)


def exact_remainder(t, a, b):
    va, vb = t.value[a], t.value[b]
    if va is NAN or vb is NAN:
        return t.first_nan((a, b))
    if va is INF or vb == 0:
        return t.invalid()
    if vb is INF:
        return ("is", a, 0)
    x, y = -va if t.sign[a] else va, -vb if t.sign[b] else vb
    r = x - round(Fraction(x, y)) * y  # round takes ties to even
    return ("real", r, 1) if r else ("zero", t.sign[a])


def exact_fma(t, a, b, c):
    va, vb, vc, sign, sc = t.value[a], t.value[b], t.value[c], t.sign[a] ^ t.sign[b], t.sign[c]
    clash = (va is INF and vb == 0) or (va == 0 and vb is INF)
    if NAN in (va, vb, vc):
        return t.first_nan((a, b, c), INVALID if clash else 0)
    if clash:
        return t.invalid()
    if va is INF or vb is INF:
        return t.invalid() if vc is INF and sc != sign else t.infinite(sign)
    if vc is INF:
        return ("is", c, 0)
    p, q = va * vb, vc * t.units
    n = (-p if sign else p) + (-q if sc else q)
    return ("real", n, t.units) if n else ("zero", sign if sign == sc else None)


def exact_sqrt(t, a):
    value = t.value[a]
    if value is NAN:
        return t.first_nan((a,))
    if value == 0:
        return ("is", a, 0)
    if t.sign[a]:
        return t.invalid()
    if value is INF:
        return ("is", a, 0)
    # In units: sqrt(value units), itself where that is whole, else a number between the same 40-bit neighbours.
    scale = 1 << 40
    r = isqrt(value * t.units * scale * scale)
    return ("real", r, scale) if r * r == value * t.units * scale * scale else ("real", 2 * r + 1, 2 * scale)


EXACT = {"add": exact_add, "sub": exact_sub, "mul": exact_mul, "div": exact_div, "remainder": exact_remainder,
         "fma": exact_fma, "sqrt": exact_sqrt}  # fmt: skip


def pick(twice, low, high, low_is_even, negative, mode):
    """The neighbour of a magnitude that a direction takes; twice = (2 n, d) for n / d between low and high."""
    if mode is Rounding.TO_ODD:
        return high if low_is_even else low
    if mode in (Rounding.NEAREST, Rounding.NEAREST_AWAY):
        n, d = twice
        middle = (low + high) * d
        if n == middle:
            return high if mode is Rounding.NEAREST_AWAY or not low_is_even else low
        return low if n < middle else high
    return high if mode is (Rounding.DOWN if negative else Rounding.UP) else low


def unbounded(n, d, precision, negative, mode):
    """(m, e): n / d > 0 rounded to m 2^e with m of that precision, whatever e."""
    e = n.bit_length() - d.bit_length() - precision
    e += n << max(-e, 0) >= d << precision + max(e, 0)
    n, d = (n, d << e) if e >= 0 else (n << -e, d)
    m, rest = divmod(n, d)
    return (pick((2 * n, d), m, m + 1, m % 2 == 0, negative, mode) if rest else m), e


def exceeds(m, e, limit):
    """m 2^e > limit."""
    return m << e > limit if e >= 0 else m > limit << -e


def below(m, e, limit):
    """m 2^e < limit."""
    return m << e < limit if e >= 0 else m < limit << -e


def settle(t, n, d, mode, tininess=Tininess.AFTER, overflow=Overflow.SPECIAL):
    """(pattern, flags) of an exact result n / d != 0, in the table's unit."""
    negative, n = n < 0, abs(n)
    m, e = unbounded(n, d, t.fmt.precision, negative, mode)
    if exceeds(m, e, t.numbers[-1]):
        keeps = mode in (Rounding.TOWARD_ZERO, Rounding.TO_ODD) or mode is (Rounding.UP if negative else Rounding.DOWN)
        top = t.largest if keeps or overflow is Overflow.SATURATE else t.infinity
        return t.signed(top, negative), int(Flag.OVERFLOW | Flag.INEXACT)  # past a largest number without infinity: NaN
    whole, rest = divmod(n, d)
    place = bisect.bisect_right(t.numbers, whole) - 1
    if t.numbers[place] == whole and not rest:
        return t.signed(place, negative), 0
    if place == t.largest:  # above the largest number, and yet rounded to it
        return t.signed(place, negative), INEXACT
    low, high = t.numbers[place : place + 2]
    found = pick((2 * n, d), low, high, place % 2 == 0, negative, mode)
    normal = 1 << t.fraction_bits
    tiny = n < normal * d if tininess is Tininess.BEFORE else below(m, e, normal)
    return t.signed(place + (found == high), negative), INEXACT | (int(Flag.UNDERFLOW) if tiny else 0)


class Outcomes:
    """The exact results of an operation over arrays of operands, rounded as often as asked."""

    def __init__(self, name, fmt, *operands):
        self.table, known, exact = table(fmt), {}, EXACT[name]
        rows = zip(*(x.tolist() for x in operands), strict=True)
        self.places = np.array([known.setdefault(exact(self.table, *row), len(known)) for row in rows])
        self.keys = list(known)

    def rounded(self, mode, tininess=Tininess.AFTER, overflow=Overflow.SPECIAL):
        """(patterns, flags) as arrays."""
        found = np.array([self._one(key, mode, tininess, overflow) for key in self.keys])[self.places]
        return found[:, 0].astype(self.table.fmt.storage), found[:, 1].astype(np.uint8)

    def _one(self, key, mode, tininess, overflow):
        t, (kind, *rest) = self.table, key
        if kind == "is":
            return tuple(rest)
        if kind == "zero":
            return t.signed(0, mode is Rounding.DOWN if rest[0] is None else rest[0]), 0
        if kind == "pole":
            top = t.largest if overflow is Overflow.SATURATE else t.infinity
            return t.signed(top, rest[0]), int(Flag.DIVIDE_BY_ZERO)
        return settle(t, *rest, mode, tininess, overflow)


def all_patterns(fmt):
    return np.arange(1 << table(fmt).width).astype(fmt.storage)


def all_tuples(fmt, count):
    """Every tuple of patterns, as one array for each place."""
    return [x.ravel() for x in np.meshgrid(*[all_patterns(fmt)] * count, indexing="ij")]
