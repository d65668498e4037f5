"""An affine quantizer: the real number (code - zero_point) scale for each integer code of a range.

Law      |round(x) - x| <= scale / 2 where lo - 1/2 <= x / scale + zero_point <= hi + 1/2, up to the float32 rounding of
         that quotient; beyond, the nearest end of the range. 0 is a number of the grid. Codes are fixed points.
Source   Jacob et al. 2018, arXiv:1712.05877, section 2.1
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from torchlean import ops
from torchlean.errors import DataError, ShapeError
from torchlean.meaning import Float
from torchlean.ops.quantize import CODES

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Scale and zero point, for a whole tensor or for each index of one axis.

    scale        float32, [] or [n]: finite and at least 2^-126
    zero_point   int8 or uint8 of the same shape: the code of 0
    lo, hi       the smallest and largest code, lo <= zero_point <= hi
    axis         of the channels, counted from the end; None for one scale
    Raises       DataError for a scale or a code that cannot be; ShapeError for shapes
    """

    scale: F32
    zero_point: NDArray[np.integer]
    lo: int
    hi: int
    axis: int | None = None

    def __post_init__(self) -> None:
        scale, zero = np.asarray(self.scale), np.asarray(self.zero_point)
        if scale.dtype != np.float32 or zero.dtype.name not in ("int8", "uint8"):
            raise _bad("scale and zero point have the wrong dtypes", "float32, and int8 or uint8",
                       f"{scale.dtype}, {zero.dtype}", "np.float32(scale), np.int8(zero_point)")  # fmt: skip
        rank = 0 if self.axis is None else 1
        if scale.ndim != rank or scale.shape != zero.shape or (self.axis is not None and self.axis >= 0):
            raise ShapeError(
                "scale and zero point must have one entry, or one for each index of an axis",
                where="Quantizer",
                expected="two scalars with axis=None, or two vectors of one length with axis=-1, -2, ...",
                got=f"scale {list(scale.shape)}, zero point {list(zero.shape)}, axis {self.axis}",
                fix="count the axis from the end",
            )
        if not (np.isfinite(scale) & (scale >= np.finfo(np.float32).smallest_normal)).all():
            worst = scale.ravel()[np.flatnonzero(~(scale.ravel() >= 2.0**-126) | ~np.isfinite(scale.ravel()))[0]]
            raise _bad("a scale must be a positive number", "finite, at least 2^-126", repr(float(worst)),
                       "calibrate(array) chooses one")  # fmt: skip
        least, most = CODES["u8" if zero.dtype == np.uint8 else "i8"]
        if not least <= self.lo < self.hi <= most:
            raise _bad("the range of codes must be within the dtype's", f"{least} <= lo < hi <= {most}",
                       f"lo={self.lo}, hi={self.hi}", "lo=-128, hi=127 for int8; lo=-8, hi=7 for int4")  # fmt: skip
        if ((zero < self.lo) | (zero > self.hi)).any():
            raise _bad("a zero point is out of range", f"{self.lo} to {self.hi}: 0 must have a code",
                       f"{int(zero.min())} to {int(zero.max())}", "move it into the range of codes")  # fmt: skip
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero)

    @cached_property
    def bits(self) -> int:
        """Of a code."""
        return (self.hi - self.lo).bit_length()

    @property
    def symmetric(self) -> bool:
        """Whether 0 has the code 0 and the range is as wide on both sides of it."""
        return self.lo == -self.hi and not self.zero_point.any()

    @property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smallest and the largest number, exactly. Shapes: those of `scale`"""
        wide, zero = self.scale.astype(np.float64), self.zero_point.astype(np.float64)
        return (self.lo - zero) * wide, (self.hi - zero) * wide

    def codes(self, x: F32) -> NDArray[np.integer]:
        """The code of each value. NaN gets the code 0, infinities saturate. Raises ShapeError.

        Shapes   x: [*s] float32 -> [*s] of zero_point's dtype
        """
        rule = ops.ALL["quantize"].rule("meaning")
        codes: NDArray[np.integer] = rule(
            Float(), self._fitted(x), self.scale, self.zero_point, lo=self.lo, hi=self.hi, axis=self.axis
        )
        return codes

    def values(self, codes: NDArray[np.integer]) -> F32:
        """The number of each code: rounded once, and exact where the scale has at most 16 significant bits."""
        rule = ops.ALL["dequantize"].rule("meaning")
        found: F32 = rule(Float(), self._fitted(codes), self.scale, self.zero_point, axis=self.axis)
        return found

    def round(self, x: F32) -> F32:
        """The number of the grid that stands for x."""
        return self.values(self.codes(x))

    def _fitted(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        x = np.asarray(x)
        if self.axis is not None and (x.ndim < -self.axis or x.shape[self.axis] != self.scale.size):
            raise ShapeError(
                "the array does not have the quantizer's channels",
                where="Quantizer",
                expected=f"{self.scale.size} along axis {self.axis}",
                got=str(list(x.shape)),
                fix="calibrate a quantizer from this array",
            )
        return x


def _bad(what: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(what, where="Quantizer", expected=expected, got=got, fix=fix)
