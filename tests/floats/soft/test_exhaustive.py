"""Every pair of small formats: every operation, direction and flag, against the slow oracle."""

import numpy as np
import pytest
from oracle import E4M3FN, MODES, T132, T143, TOYS, Outcomes, all_tuples

from torchlean.floats import soft
from torchlean.floats.soft import Overflow, Rules, Tininess

toys = pytest.mark.parametrize("fmt", TOYS, ids=str)
OPERANDS = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3}


def same(got, want, what):
    for name, found, expected in zip(("bits", "flags"), got, want, strict=True):
        assert found.dtype == expected.dtype
        wrong = np.flatnonzero(found != expected)
        assert wrong.size == 0, f"{what}: {name} differ at {wrong[:5]}: {found[wrong[:5]]} for {expected[wrong[:5]]}"


@toys
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "sqrt"])
def test_every_pair_in_every_direction(name, fmt):
    operands = all_tuples(fmt, OPERANDS[name])
    outcomes = Outcomes(name, fmt, *operands)
    for mode in MODES:
        got = getattr(soft, name)(*operands, fmt, mode, Rules(overflow=Overflow.SPECIAL))
        same(got, outcomes.rounded(mode), mode)


@pytest.mark.parametrize("name", OPERANDS)
def test_tininess_before_rounding_and_saturation(name):
    for fmt in TOYS if name in ("add", "mul") else (T132,):
        operands = all_tuples(fmt, OPERANDS[name])
        outcomes = Outcomes(name, fmt, *operands)
        for mode in MODES:
            choice = Tininess.BEFORE, Overflow.SATURATE
            got = getattr(soft, name)(*operands, fmt, mode, Rules(tininess=choice[0], overflow=choice[1]))
            same(got, outcomes.rounded(mode, *choice), mode)


def test_every_triple_of_fma():
    operands = all_tuples(T132, 3)
    outcomes = Outcomes("fma", T132, *operands)
    for mode in MODES:
        same(soft.fma(*operands, T132, mode), outcomes.rounded(mode), mode)


@pytest.mark.parametrize("fmt", [T143, E4M3FN], ids=str)
def test_many_triples_of_fma(fmt):
    rng = np.random.default_rng(1)
    operands = [rng.integers(0, 256, 60_000, dtype=np.uint8) for _ in range(3)]
    outcomes = Outcomes("fma", fmt, *operands)
    for mode in MODES:
        same(soft.fma(*operands, fmt, mode, Rules(overflow=Overflow.SPECIAL)), outcomes.rounded(mode), mode)


@toys
def test_every_remainder(fmt):
    operands = all_tuples(fmt, 2)
    want = Outcomes("remainder", fmt, *operands).rounded(MODES[0])
    assert not (want[1] & 15).any()
    same(soft.remainder(*operands, fmt), want, "remainder")
