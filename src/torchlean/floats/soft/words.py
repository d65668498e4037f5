"""Whole-number arithmetic on int64 arrays that numpy does not have: lengths, sticky shifts, and 124-bit products.

Words are nonnegative unless said otherwise. A sticky ("jamming") right shift ors what it drops into the last bit, so
that a later rounding sees whether the value was exact (Hauser, Berkeley SoftFloat).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Word: TypeAlias = NDArray[np.int64]


SINGLE = 29  # the largest precision whose products, with room to add, fit one word


def bit_length(x: NDArray[np.int64] | NDArray[np.uint64]) -> Word:
    """The number of bits of each word; 0 for 0. The leading bit is smeared downwards, and the ones are counted."""
    smeared = x | (x >> 1)
    for step in (2, 4, 8, 16, 32):
        smeared |= smeared >> step
    return np.bitwise_count(smeared).astype(np.int64)


def shift_right_sticky(x: Word, n: Word) -> Word:
    """x >> n for 0 <= n <= 62, its last bit set where a bit was lost."""
    shifted = x >> n
    return shifted | ((shifted << n) != x)


class Single:
    """Numbers of one word: exact products of formats of at most SINGLE bits.

    A significand (leading bit 61) enters as `widened`, two bits lower; a product's leading bit is 59 or 60.
    """

    def __init__(self, word: Word) -> None:
        self.word = word

    @classmethod
    def product(cls, a: Word, b: Word) -> Single:
        """a b 2^-63, exact: the words' low 32 bits are zero."""
        return cls((a >> 31) * (b >> 32))

    @classmethod
    def widened(cls, a: Word) -> Single:
        """a 2^-2, exact: on the scale of the products."""
        return cls(a >> 2)

    def shifted(self, n: Word) -> Single:
        """Shifted right by n >= 0, sticky; everything beyond the word leaves the sticky bit."""
        return Single(shift_right_sticky(self.word, np.minimum(n, 62)))

    def plus(self, other: Single, opposite: Word) -> tuple[Word, Single]:
        """(1 where the sum is negative, its magnitude); `opposite` is 1 where other counts negative."""
        total = self.word + ((other.word ^ -opposite) + opposite)
        mask = total >> 63
        return -mask, Single((total ^ mask) - mask)

    def collapsed(self) -> Word:
        """One word, sticky."""
        return self.word

    def normalised(self) -> tuple[Word, Word]:
        """(one sticky word with its leading bit at 61, the left shift that put it there); 0 stays 0."""
        shift = 62 - bit_length(self.word)
        return self.word << shift, shift


_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


class Double:
    """Numbers of two words, high 2^64 + low: exact products of binary64 significands. The same places as `Single`.

    high is int64, low uint64; numpy gives 0 for a shift by 64.
    """

    def __init__(self, high: Word, low: NDArray[np.uint64]) -> None:
        self.high, self.low = high, low

    @classmethod
    def product(cls, a: Word, b: Word) -> Double:
        """2 a b: high is below 2^61."""
        x, y = a.view(np.uint64) << np.uint64(1), b.view(np.uint64)
        x1, x0, y1, y0 = x >> _32, x & _LOW, y >> _32, y & _LOW
        middle = x1 * y0 + ((x0 * y0) >> _32)  # below 2^63 + 2^32
        cross = x0 * y1 + (middle & _LOW)
        high = x1 * y1 + (middle >> _32) + (cross >> _32)
        return cls(high.view(np.int64), x * y)

    @classmethod
    def widened(cls, a: Word) -> Double:
        """a 2^62, exact where the last two bits are zero."""
        return cls(a >> 2, np.zeros(a.shape, np.uint64))

    def shifted(self, n: Word) -> Double:
        """Shifted right by n >= 0, sticky; everything beyond the words leaves the sticky bit."""
        n = np.minimum(n, 126)
        whole = -(n >> 6)  # all ones where a whole word moves
        lost = self.low & whole.view(np.uint64)
        low = np.where(whole != 0, self.high.view(np.uint64), self.low)
        high = self.high & ~whole
        near = n & 63
        right = near.view(np.uint64)
        moved = low >> right
        lost |= low ^ (moved << right)
        moved |= high.view(np.uint64) << (np.uint64(64) - right)
        return Double(high >> near, moved | (lost != 0))

    def plus(self, other: Double, opposite: Word) -> tuple[Word, Double]:
        """(1 where the sum is negative, its magnitude); `opposite` is 1 where other counts negative."""
        high, low = _negated(other.high, other.low, opposite)
        total = self.low + low
        top = self.high + high + (total < low)
        negative = (top >> 63) & 1
        return negative, Double(*_negated(top, total, negative))

    def collapsed(self) -> Word:
        """The high word, sticky."""
        return self.high | (self.low != 0)

    def normalised(self) -> tuple[Word, Word]:
        """(one sticky word with its leading bit at 61, the left shift that put it there); 0 stays 0.

        A sum that is not 0 is at least 4: products and shifted significands have zeros at their end wherever a sum
        cancels.
        """
        empty = self.high == 0
        high = np.where(empty, (self.low >> np.uint64(2)).view(np.int64), self.high)
        low = np.where(empty, self.low << np.uint64(62), self.low)
        shift = 62 - bit_length(high)
        left = shift.view(np.uint64)
        word = (high << shift) | (low >> (np.uint64(64) - left)).view(np.int64) | ((low << left) != 0)
        return word, shift + 62 * empty


def _negated(high: Word, low: NDArray[np.uint64], where: Word) -> tuple[Word, NDArray[np.uint64]]:
    """Two's complement where 1."""
    mask = -where
    flipped = (low ^ mask.view(np.uint64)) + where.view(np.uint64)
    return (high ^ mask) + (where & (flipped == 0)), flipped
