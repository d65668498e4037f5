"""A value of each number system in print: the cells of a side-by-side table."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from math import isfinite
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from torchlean.meaning.dtypes import kind_of, numpy_dtype
from torchlean.meaning.ranges import Ranges
from torchlean.meaning.real_system import Reals
from torchlean.meaning.soft_system import SoftArray


def to_numpy(x: Any) -> NDArray[Any]:
    """A plain array: Float as it is; Real near to it in its dtype; ranges as float64 [*s, 2], NaN where possible.

    SoftFloat in the dtype of its format where programs compute in it, else in float64: exactly.
    """
    if isinstance(x, Ranges):
        pair = np.stack([x.lo.astype(np.float64), x.hi.astype(np.float64)], axis=-1)
        return np.where(x.nan[..., None], np.nan, pair)
    if isinstance(x, Reals):
        flat = [float(flint.arb(v)) if not isinstance(v, flint.arb) else float(v) for v in x.values.ravel().tolist()]
        with np.errstate(all="ignore"):
            return np.asarray(flat, np.float64).reshape(x.shape).astype(numpy_dtype(x.dtype))
    return x.numpy() if isinstance(x, SoftArray) else np.asarray(x)


def cells(x: Any, digits: int = 9) -> list[str]:
    """One string per element, row-major.

    Float    the shortest decimal that reads back         Real    exact where short (1/3), else `digits` digits; a ball
    Ranges   [lo, hi] rounded outward, and "or nan"                shows its radius
    """
    if isinstance(x, Ranges):
        if kind_of(x.dtype) == "bool":
            names = {(0, 0): "false", (1, 1): "true", (0, 1): "true or false"}
            return [names[int(a), int(b)] for a, b in zip(x.lo.ravel(), x.hi.ravel(), strict=True)]
        ends = zip(x.lo.ravel().tolist(), x.hi.ravel().tolist(), x.nan.ravel().tolist(), strict=True)
        return [
            (f"{a:.{digits}g}" if a == b else f"[{outward(a, digits, down=True)}, {outward(b, digits)}]")
            + (" or nan" if n else "")
            for a, b, n in ends
        ]
    if isinstance(x, Reals):
        return [_real(v, digits) for v in x.values.ravel().tolist()]
    return [str(v) for v in to_numpy(x).ravel()]


def outward(x: float, digits: int, *, down: bool = False) -> str:
    """x in `digits` significant digits: the nearest such decimal at or above it (`down`: at or below)."""
    if not isfinite(x):
        return str(x)
    rounding = ROUND_FLOOR if down else ROUND_CEILING
    near = Context(prec=digits, rounding=rounding, Emin=-999999, Emax=999999).create_decimal(Decimal(x))
    return f"{near:.{digits}g}"


def _real(x: Any, digits: int) -> str:
    if isinstance(x, flint.arb):
        return str(x.str(digits))
    exact = str(x)
    return exact if len(exact) <= digits + 6 else str(flint.arb(x).str(digits, radius=False))
