"""One-word and two-word arithmetic against Python's whole numbers."""

import numpy as np
import pytest

from torchlean.floats.soft.words import Double, Single, bit_length, shift_right_sticky

RNG = np.random.default_rng(21)


def whole(x):
    """The Python integers of a Single or Double."""
    if isinstance(x, Single):
        return x.word.tolist()
    return [(h << 64) + low for h, low in zip(x.high.tolist(), x.low.tolist(), strict=True)]


def significands(low_zeros, count=400):
    """Leading bit 61, the last bits zero; few bits set in half of them; and zero."""
    few = (1 << RNG.integers(0, 61, count)) | (1 << RNG.integers(0, 61, count))
    words = (1 << 61) | np.where(np.arange(count) % 2, few, RNG.integers(0, 1 << 61, count))
    return np.append((words >> low_zeros) << low_zeros, 0)


def sticky(n, shift):
    return (n >> shift) | (n & ((1 << shift) - 1) != 0)


def test_bit_length():
    x = np.array([0, 1, 2, 3, 2**61, 2**62 - 1, 2**63 - 1, *(2**k for k in range(63))])
    assert bit_length(x).tolist() == [v.bit_length() for v in x.tolist()]
    unsigned = np.array([2**64 - 1, 2**63, 0], np.uint64)
    assert bit_length(unsigned).tolist() == [64, 64, 0]


def test_sticky_shift():
    x, n = significands(0), RNG.integers(0, 63, 401)
    got = shift_right_sticky(x, n).tolist()
    assert got == [sticky(v, s) for v, s in zip(x.tolist(), n.tolist(), strict=True)]


@pytest.mark.parametrize(("words", "zeros", "unit"), [(Single, 33, 2**63), (Double, 9, 2)])
def test_products_shifts_and_sums(words, zeros, unit):
    a, b, c = (significands(zeros) for _ in range(3))
    scale = {Single: lambda v: v // unit, Double: lambda v: v * unit}[words]
    product, addend = words.product(a, b), words.widened(c)
    exact = [scale(x * y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert whole(product) == exact
    assert whole(addend) == [v // 4 if words is Single else v // 4 << 64 for v in c.tolist()]
    n = np.append(RNG.integers(0, 140, 400), 63)
    shifted = product.shifted(n)
    limit = 62 if words is Single else 126
    assert whole(shifted) == [sticky(v, min(s, limit)) for v, s in zip(exact, n.tolist(), strict=True)]
    opposite = RNG.integers(0, 2, 401)
    negative, total = shifted.plus(addend, opposite)
    sums = [p - q if o else p + q for p, q, o in zip(whole(shifted), whole(addend), opposite.tolist(), strict=True)]
    assert negative.tolist() == [int(v < 0) for v in sums]
    assert whole(total) == [abs(v) for v in sums]
    collapsed = total.collapsed().tolist()
    assert collapsed == [abs(v) if words is Single else sticky(abs(v), 64) for v in sums]


@pytest.mark.parametrize(("words", "zeros"), [(Single, 33), (Double, 9)])
def test_sums_are_normalised(words, zeros):
    a, b = significands(zeros), significands(zeros)
    n = RNG.integers(0, 30, 401)
    _, total = words.product(a, b).shifted(n).plus(words.widened(b).shifted(n // 2), np.ones_like(n))
    word, shift = total.normalised()
    for value, w, s in zip(whole(total), word.tolist(), shift.tolist(), strict=True):
        place = value << s if words is Single else sticky(value << s, 64)
        assert w == place and (value == 0 or w >> 61 == 1)


def test_a_sum_of_low_words_is_normalised():
    low = Double(np.zeros(4, np.int64), np.array([4, 2**20 + 3, 2**64 - 1, 0], np.uint64))
    word, shift = low.normalised()
    assert word.tolist() == [1 << 61, ((2**20 + 3) << 41), sticky(2**64 - 1, 2), 0]
    assert shift[:3].tolist() == [64 + 61 - 2, 64 + 61 - 20, 64 - 2]
