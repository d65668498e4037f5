"""Where an attack may go: float32 points of boxes and balls, the steps between them, and the way back inside.

Points of a ball are kept a little inside of it, so that rounding to float32 seldom leads out; the attack's answer is
held against the exact region all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.balls import Ball
from torchlean.bounds.region import Box

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

INNER = 1 - 2.0**-18  # of the radius
TOP = 0.1  # the share of coordinates that a step over an L1 ball moves


@dataclass(frozen=True)
class Inside:
    """A batch of regions of one norm. Shapes: lo, hi [B, *s]; center [B, n], radius [B]: None where they are boxes"""

    lo: F32
    hi: F32
    norm: int | None
    center: F64 | None
    radius: F64 | None

    @staticmethod
    def of(regions: Sequence[Box | Ball], shape: tuple[int, ...]) -> Inside:
        boxes = [r.box if isinstance(r, Ball) else r for r in regions]
        lo, hi = (np.stack([b.floats32()[side].reshape(shape) for b in boxes]) for side in (0, 1))
        balls = [r for r in regions if isinstance(r, Ball)]
        if not balls:
            return Inside(lo, hi, None, None, None)
        assert len(balls) == len(regions) and len({b.norm for b in balls}) == 1
        center = np.array([[float(c) for c in b.center] for b in balls])
        return Inside(lo, hi, balls[0].norm, center, np.array([float(b.radius) for b in balls]) * INNER)

    def middle(self) -> F32:
        return self.at(np.full(self.lo.shape, 0.5, np.float32))

    def at(self, t: F32) -> F32:
        """The point at shares t in [0, 1] of the box, moved into the ball."""
        return self._back(self.lo + (self.hi - self.lo) * t)

    def step(self, x: F32, slope: F32, size: np.float32) -> F32:
        """A step uphill whose length is a share of the region."""
        if self.radius is None or self.norm is None:
            return self._back(x + size * (self.hi - self.lo) * np.sign(slope))
        flat = slope.reshape(len(x), -1).astype(np.float64)
        if self.norm == 1:  # half along the steepest coordinate, half along the steep ones
            steep = np.abs(flat)
            most, some = steep.max(axis=1, keepdims=True), np.quantile(steep, 1 - TOP, axis=1, keepdims=True)
            way = (_unit(np.sign(flat) * (steep >= least), 1) for least in (most, some))
            flat = np.add(*way) / 2
        move = 2 * size * self.radius[:, None] * _unit(flat, self.norm)
        return self._back(x + move.reshape(x.shape))

    def _back(self, x: NDArray[np.floating]) -> F32:
        """Into the ball, then into the box: that only brings a coordinate nearer to the center's."""
        if self.center is not None and self.radius is not None:
            away = x.reshape(len(x), -1).astype(np.float64) - self.center
            if self.norm == 2:
                length = np.linalg.norm(away, axis=1)
                away *= np.minimum(1.0, self.radius / np.where(length > 0, length, 1.0))[:, None]
            else:
                away = into_l1(away, self.radius)
            x = (self.center + away).reshape(x.shape)
        moved: F32 = x.astype(np.float32).clip(self.lo, self.hi)
        return moved


def _unit(direction: F64, norm: int) -> F64:
    """Each row over its length; 0 stays 0."""
    length = np.linalg.norm(direction, norm, axis=1, keepdims=True)
    return direction / np.where(length > 0, length, 1.0)


def into_l1(away: F64, radius: F64) -> F64:
    """The nearest points of L1 balls around 0, by a threshold on the sizes. Shapes: [B, n], [B] -> [B, n]

    Source   Duchi et al. 2008, ICML, doi:10.1145/1390156.1390191, figure 1
    """
    size = np.abs(away)
    falling = -np.sort(-size, axis=1)
    excess = np.cumsum(falling, axis=1) - radius[:, None]
    count = np.arange(1, away.shape[1] + 1)
    last = np.maximum((falling * count > excess).sum(axis=1), 1) - 1
    threshold = excess[np.arange(len(away)), last] / (last + 1)
    return np.sign(away) * np.maximum(size - np.maximum(threshold, 0.0)[:, None], 0.0)
