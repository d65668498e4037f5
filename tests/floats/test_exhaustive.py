"""bench/exhaustive.py: each way of knowing a result, that a wrong result is counted, and that a run resumes."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from torchlean import floats
from torchlean.errors import FileError
from torchlean.floats import Rounding

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def exhaustive(monkeypatch):
    pytest.importorskip("gmpy2", reason="MPFR is the oracle")
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("exhaustive")


def pattern(x):
    return int(np.float32(x).view(np.uint32))


@pytest.mark.parametrize(
    ("name", "at", "way"),
    [("exp", 1.0, "run"), ("exp", 100.0, "constant"), ("exp", np.nan, "undefined"), ("log", -2.0, "undefined"),
     ("tanh", 2.0**-20, "itself"), ("sigmoid", -200.0, "constant"), ("exp", np.inf, "run")],
)  # fmt: skip
def test_ways_of_knowing(exhaustive, name, at, way):
    first = pattern(at) + (exhaustive.BLOCK if np.isnan(at) else 0)
    found = exhaustive.Found()
    exhaustive.block(name, first // exhaustive.BLOCK * exhaustive.BLOCK, [Rounding.NEAREST], found)
    assert getattr(found, way) == exhaustive.BLOCK
    assert found.differences == found.outside_band == 0
    if way == "run" and np.isfinite(at):
        assert 0 < found.error < 2.0**-52
        assert found.hardest < 1e-3


@pytest.mark.parametrize(("name", "at"), [("exp", 1.0), ("exp", 100.0), ("log", -2.0), ("tanh", 2.0**-20)])
def test_a_wrong_result_is_counted(exhaustive, monkeypatch, name, at):
    def wrong(name, x, mode):
        right = floats.elementary.rounded(name, x, mode)
        right[7] = 0.25
        return right

    monkeypatch.setattr(exhaustive.floats, "rounded", wrong)
    found = exhaustive.Found()
    exhaustive.block(name, pattern(at), [Rounding.NEAREST], found)
    assert found.differences == len(found.examples) == 1


def test_a_state_resumes_and_refuses_other_code(exhaustive, monkeypatch, tmp_path):
    state = exhaustive.State.open(tmp_path, "exp", False)
    state.add(3, exhaustive.asdict(exhaustive.Found(run=5, error=0.5, error_at="0x1p0")))
    state.write()
    again = exhaustive.State.open(tmp_path, "exp", False)
    again.add(4, exhaustive.asdict(exhaustive.Found(run=2, error=0.25, error_at="0x1p1")))
    total = again.total()
    assert (sorted(again.done), total.run, total.error, total.error_at) == ([3, 4], 7, 0.5, "0x1p0")
    monkeypatch.setattr(exhaustive, "digest", lambda: "other")
    with pytest.raises(FileError, match="belongs to other code"):
        exhaustive.State.open(tmp_path, "exp", False)
