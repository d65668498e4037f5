"""VNN-LIB 1.0: properties as files that state the violation."""

from __future__ import annotations

import os

from torchlean.bounds.property import Violation


def read_vnnlib(source: str | os.PathLike[str] | bytes) -> Violation:
    """The violation that a VNN-LIB 1.0 file (path, plain or gzip; or its bytes) states."""
    raise NotImplementedError


def write_vnnlib(violation: Violation) -> str:
    """VNN-LIB 1.0 text of a violation, with exact decimals; reading it gives the violation back."""
    raise NotImplementedError
