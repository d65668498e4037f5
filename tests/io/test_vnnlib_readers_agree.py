"""The checker's reader was written without a look at this one: both must give every file one meaning."""

import gzip
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from torchlean.bounds.claim import forall
from torchlean.bounds.property import Inequality, Violation
from torchlean.bounds.region import Box, box
from torchlean.io.vnnlib import read_vnnlib
from torchlean.io.vnnlib_write import write_vnnlib
from torchlean_check.vnnlib_reader import Property, read_property

BENCHMARKS = Path(__file__).resolve().parents[2].parent / "shared" / "vnncomp"
SETS = sorted(p.name for p in BENCHMARKS.iterdir()) if BENCHMARKS.exists() else []
Meaning = list[tuple[tuple[Fraction, ...], tuple[Fraction, ...], Counter[object]]]


def key(x: object, y: object, constant: Fraction, strict: bool) -> tuple[object, ...]:
    return tuple(sorted(dict(x).items())), tuple(sorted(dict(y).items())), constant, strict  # type: ignore[call-overload]


def ours(violation: Violation) -> Meaning:
    """Strict bounds of one input are left out: the checker takes the closed box, which is larger."""

    def kept(g: Inequality) -> bool:
        return bool(g.y) or len(g.x) != 1

    def said(k: int) -> object:
        return frozenset(key(g.x, g.y, g.constant, g.strict) for g in violation.clauses[k].inequalities if kept(g))

    return [(b.lo, b.hi, Counter(said(k) for k in indices)) for b, indices in violation.regions()]


def theirs(read: Property) -> Meaning:
    """Regions whose boxes turn out equal are counted together."""
    merged: Meaning = []
    for r in read.regions:
        said = Counter(frozenset(key(g.x, g.y, g.constant, g.strict) for g in clause) for clause in r.clauses)
        same = [m for m in merged if m[:2] == (r.exact_lo, r.exact_hi)]
        if same:
            same[0][2].update(said)
        else:
            merged.append((r.exact_lo, r.exact_hi, said))
    return merged


def agree(raw: bytes) -> None:
    mine, other = read_vnnlib(raw), read_property(raw)
    assert (mine.inputs, mine.outputs) == (other.inputs, other.outputs)
    assert ours(mine) == theirs(other)
    for region in other.regions:
        lo, hi = Box(region.exact_lo, region.exact_hi, (other.inputs,)).outer64()
        assert (lo == region.lo).all() and (hi == region.hi).all()


@pytest.mark.skipif(not SETS, reason="the benchmark files are not here")
@pytest.mark.parametrize("name", SETS)
def test_on_benchmark_files(name: str) -> None:
    for path in sorted(BENCHMARKS.glob(f"{name}/vnnlib/**/*.gz"))[:: 1 if name == "acasxu" else 40]:
        raw = gzip.decompress(path.read_bytes())
        agree(raw)


CLAIMS = {
    "interval": lambda y: (y[0] >= 15.0) & (y[0] <= 32),
    "others": lambda y: y[1] > y.others,
    "linear": lambda y: (y[0] - 2 * y[1] + 3 < y[2]) | (y[0] >= "0.1"),
    "cases of inputs": lambda x, y: ((x[0] > "0.5") | (y[0] < 1)) & ((x[1] <= 0) | (y[0] <= x[1] - x[0])),
    "always": lambda y: y[0] <= y[0],
}


@pytest.mark.parametrize("name", CLAIMS)
def test_on_what_is_written_here(name: str) -> None:
    violation = forall(box([0.1, "0.3"], relative=0.75), CLAIMS[name]).violation(3)
    agree(write_vnnlib(violation).encode())
