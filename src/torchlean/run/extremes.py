"""Inputs that executors are held on: random ones of several magnitudes, and the ends of the number line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from torchlean.floats import format_of
from torchlean.ir import DType, TensorType
from torchlean.ir.types import numpy_dtype

SCALES = (("zeros", 0.0), ("standard normal", 1.0), ("normal x 1e3", 1e3), ("normal x 1e-40", 1e-40))


def random_inputs(types: Mapping[str, TensorType], seed: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(label, arrays): normal floats times 0, 1, 1e3, 1e-40. Integers and bools are 0, which every index may be.

    types   with sizes, no symbols
    """
    rng = np.random.default_rng(seed)
    for label, scale in SCALES:

        def normal(t: TensorType, scale: float = scale) -> np.ndarray:
            return np.asarray(scale * rng.standard_normal(t.sizes))

        yield label, {n: _draw(t, normal) for n, t in types.items()}


def extreme_inputs(types: Mapping[str, TensorType], seed: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(label, arrays): standard normal, with about a quarter of the entries replaced by signed zeros and subnormals, by
    the largest numbers, by infinities, or by NaN.
    """
    rng = np.random.default_rng(seed)
    for label in ("signed zeros and subnormals", "largest numbers", "infinities", "NaN"):

        def mixed(t: TensorType, label: str = label) -> np.ndarray:
            extremes = _extremes(label, t.dtype)
            chosen = rng.random(t.sizes) < (0.75 if len(extremes) > 2 else 0.25)
            return np.where(chosen, rng.choice(extremes, t.sizes), rng.standard_normal(t.sizes))

        yield label, {n: _draw(t, mixed) for n, t in types.items()}


def _draw(t: TensorType, draw: Callable[[TensorType], np.ndarray]) -> np.ndarray:
    if t.dtype.kind != "float":
        return np.zeros(t.sizes, t.dtype.numpy)
    with np.errstate(over="ignore"):
        return np.asarray(draw(t)).astype(numpy_dtype(t.dtype.numpy))


def _extremes(label: str, dtype: DType) -> np.ndarray:
    """The special numbers of a dtype, as float64, in which each is exact."""
    fmt = format_of(dtype.numpy)
    normal, least, largest = fmt.smallest_normal, fmt.smallest_subnormal, fmt.max
    halves = {
        "signed zeros and subnormals": (0.0, least, normal - least, normal),
        "largest numbers": (largest, largest / 2, largest / 2**10),
        "infinities": (np.inf,),
        "NaN": (np.nan,),
    }[label]
    return np.array([s * v for v in halves for s in (1.0, -1.0)])
