"""Small formats that values are stored in: the grid of each, and rounding onto it.

Source   IEEE 754-2019 (binary16); bfloat16; OCP 8-bit Floating Point Specification 1.0, section 5 (e4m3fn, e5m2)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import UsageError
from torchlean.floats.formats import FORMATS, Format
from torchlean.floats.rounding import odd_float32, round_rational

if TYPE_CHECKING:
    import flint


@dataclass(frozen=True)
class Grid:
    """The finite numbers of a format.

    form      its precision and exponent range
    largest   the largest finite number: below `form.max` where the format gives its last codes to NaN
    infinite  whether there are infinities; without them what is too large becomes NaN
    """

    form: Format
    largest: float
    infinite: bool

    @property
    def last(self) -> float:
        """The largest magnitude that still rounds to `largest`, where there is no infinity: half a step above."""
        return self.largest + 2.0 ** (self.form.emax - self.form.precision)

    def error(self, size: NDArray[np.float64]) -> NDArray[np.float64]:
        """An upper bound of |round(x) - x| for |x| <= size <= largest: half a step."""
        return np.maximum(self.form.unit_roundoff * np.asarray(size, np.float64), self.form.smallest_subnormal / 2)


def _grid(form: Format) -> Grid:
    return Grid(form, form.max, True)


GRIDS: dict[str, Grid] = {name: _grid(form) for name, form in FORMATS.items()}
GRIDS["float8_e4m3fn"] = Grid(Format("float8_e4m3fn", 4, -6, 8), 448.0, False)
GRIDS["float8_e5m2"] = _grid(Format("float8_e5m2", 3, -14, 15))


def grid_of(name: str) -> Grid:
    """The grid of a float format by the numpy name of its dtype. Raises UsageError."""
    if name not in GRIDS:
        raise UsageError(
            "no floating-point grid of this name",
            where="floats.grid_of",
            expected=", ".join(GRIDS),
            got=name,
            fix="name one of these formats",
        )
    return GRIDS[name]


def round_onto(x: NDArray[Any], name: str) -> NDArray[Any]:
    """x with its values rounded once onto a grid, ties to even; the dtype of x, float32 or float64, stays.

    Overflow   infinite, or NaN where the format has no infinity
    """
    x = np.asarray(x)
    with np.errstate(all="ignore"):
        if name.startswith("float8"):
            import ml_dtypes

            narrow = odd_float32(x.astype(np.float64)).astype(getattr(ml_dtypes, name))
        elif name == "bfloat16":
            narrow = odd_float32(x.astype(np.float64)).astype(FORMATS[name].dtype)
        else:
            narrow = x.astype(name)
        return np.asarray(narrow.astype(x.dtype))


def round_rational_onto(q: Fraction | flint.fmpq, name: str) -> float:
    """An exact rational rounded once onto a grid. Overflow as in `round_onto`."""
    grid = grid_of(name)
    found = round_rational(q, grid.form)
    if abs(found) > grid.largest and not grid.infinite:
        return float("nan")
    return found
