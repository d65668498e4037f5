"""The oracle of the elementary functions, which the benchmarks share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mpfr():
    """bench/mpfr.py: exact values rounded to odd."""
    pytest.importorskip("gmpy2", reason="MPFR is the oracle")
    path = Path(__file__).resolve().parents[2] / "bench" / "mpfr.py"
    spec = importlib.util.spec_from_file_location("mpfr", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
