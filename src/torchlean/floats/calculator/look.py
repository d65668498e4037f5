"""One number in one format: its bits, its neighbours, and what the rounding cost."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import flint
import numpy as np

from torchlean.errors import UsageError
from torchlean.floats import bits as patterns
from torchlean.floats import soft
from torchlean.floats.bits import Class
from torchlean.floats.calculator.number import Exact, decimal_text, exactly, spacing
from torchlean.floats.formats import BINARY32, Format
from torchlean.floats.rounding import Rounding
from torchlean.floats.soft import Flag, Overflow, Rules
from torchlean.floats.soft.rules import DEFAULT
from torchlean.frozen import frozen


@frozen
class Look:
    """A number of a format, and the exact value that it was rounded from.

    bits    the pattern
    flags   raised by the conversion
    exact   a rational, or -0, an infinity or NaN as a float
    """

    format: Format
    bits: int
    flags: Flag
    exact: Exact

    @property
    def fields(self) -> tuple[str, str, str]:
        """Sign, biased exponent and fraction, in binary."""
        text = f"{self.bits:0{self.format.width}b}"
        return text[0], text[1 : 1 + self.format.exponent_bits], text[1 + self.format.exponent_bits :]

    @property
    def pattern(self) -> str:
        return pattern_text(self.bits, self.format)

    @property
    def hex_text(self) -> str:
        """As C's %a."""
        return str(patterns.hex_text(self._array, self.format))

    @property
    def value(self) -> float:
        """The number itself, exactly."""
        return float(soft.decode(self._array, self.format))

    @property
    def decimal(self) -> str:
        """The number in decimal, all its digits; -0, inf, nan."""
        if not np.isfinite(self.value):
            return "nan" if np.isnan(self.value) else str(self.value)
        return str(Decimal(self.value)).replace("E", "e")

    @property
    def kind(self) -> Class:
        return Class(int(patterns.classify(self._array, self.format)))

    @property
    def below(self) -> Look | None:
        """The next number on that side, exact in itself; None of a NaN, and beyond the last."""
        return self._neighbour(int(patterns.next_down(self._array, self.format)))

    @property
    def above(self) -> Look | None:
        return self._neighbour(int(patterns.next_up(self._array, self.format)))

    @property
    def ulp(self) -> float | None:
        """Distance to the next number of larger magnitude; None of infinities and NaN."""
        return float(patterns.ulp(self._array, self.format)) if np.isfinite(self.value) else None

    @property
    def error(self) -> flint.fmpq | None:
        """number - exact value; None where one of them is not finite."""
        if not np.isfinite(self.value):
            return None
        if isinstance(self.exact, float):
            return flint.fmpq(0) if self.exact == 0 else None
        return flint.fmpq(*self.value.as_integer_ratio()) - self.exact

    @property
    def relative_error(self) -> flint.fmpq | None:
        """error / abs(exact value); None at 0."""
        if self.error is None or isinstance(self.exact, float) or self.exact == 0:
            return None
        return self.error / abs(self.exact)

    @property
    def error_in_ulps(self) -> flint.fmpq | None:
        """error in ulps of the exact value: at most a half to nearest."""
        if self.error is None or isinstance(self.exact, float):
            return self.error
        return self.error / spacing(self.exact, self.format)

    @property
    def _array(self) -> patterns.Bits:
        return np.array(self.bits, self.format.storage)

    def _neighbour(self, bits: int) -> Look | None:
        if bits == self.bits or np.isnan(self.value):
            return None
        found = Look(self.format, bits, Flag(0), 0.0)
        return None if np.isnan(found.value) else Look(self.format, bits, Flag(0), exactly(found.value))


def look(
    value: str | float | Fraction | flint.fmpq,
    fmt: Format = BINARY32,
    mode: Rounding = Rounding.NEAREST,
    rules: Rules = DEFAULT,
) -> Look:
    """A value rounded once into the format.

    value   a Python number, a FLINT rational, or a text that `read_number` reads: "0.1" is one tenth, 0.1 a binary64
            number
    Raises  UsageError for another text, and for a format without infinity whose overflow is not stated
    """
    exact = exactly(value)
    bits, flags = soft.encode(exact, fmt, mode, rules)
    return Look(fmt, int(bits), Flag(int(flags)), exact)


def look_at_pattern(
    pattern: int, source: Format, fmt: Format, mode: Rounding = Rounding.NEAREST, rules: Rules = DEFAULT
) -> Look:
    """The number of a bit pattern of one format, converted into another; a NaN keeps what fits of its payload.

    In its own format nothing is converted, so that a signaling NaN is shown as it is.
    Raises   UsageError where the pattern is wider than its format
    """
    if not 0 <= pattern < 1 << source.width:
        raise UsageError(
            "a bit pattern is wider than its format",
            where=f"a pattern of {source}",
            expected=f"0 to {(1 << source.width) - 1:#x}, {source.width} bits",
            got=hex(pattern),
            fix="name the format that it belongs to",
        )
    given = np.array(pattern, source.storage)
    exact = exactly(float(soft.decode(given, source)))
    if fmt == source:
        return Look(fmt, pattern, Flag(0), exact)
    bits, flags = soft.convert(given, source, fmt, mode, rules)
    return Look(fmt, int(bits), Flag(int(flags)), exact)


def pattern_text(pattern: int, fmt: Format) -> str:
    """A pattern in hexadecimal, leading zeros included."""
    return f"{pattern:#0{2 + -(-fmt.width // 4)}x}"


def shortest(pattern: int, fmt: Format) -> str:
    """The decimal with the fewest digits that rounds to nearest to this number of the format; inf, nan."""
    found = Look(fmt, pattern, Flag(0), 0.0)
    if not np.isfinite(found.value) or found.value == 0:
        return found.decimal
    exact = flint.fmpq(*found.value.as_integer_ratio())
    texts = (decimal_text(exact, digits) for digits in range(1, 18))  # 17 suffice for binary64
    rules = Rules(overflow=Overflow.SPECIAL)
    return next(text for text in texts if look(text, fmt, rules=rules).bits == pattern)
