"""L2 and L1 balls, with exact bounds.

`ball(center, eps, norm=2)` is all real x with |x - center|_2 <= eps; numbers are read as those of a box. In the maximum
norm a ball is a box, and `ball` gives one.

Source   SEMANTICS.md, section 2 (the float hull of a ball: its points moved by one ulp per input)
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

from numpy.typing import NDArray

from torchlean.bounds.exact import Number, exact, exact_values, show
from torchlean.bounds.property import Inequality, inequality
from torchlean.bounds.region import Box, Membership, _as_float32, box
from torchlean.errors import DataError, Unsupported, UsageError
from torchlean.frozen import frozen

FACETS = 64  # an L1 ball is stated by its facets, 2^n of them, up to so many: six inputs


@frozen
class Ball:
    """All real x of `box` with |x - center|_norm <= radius; closed, bounded and never empty: the center is in it.

    norm     1 or 2
    box      the smallest box around the ball, cut with the domain where there is one
    """

    center: tuple[Fraction, ...]
    radius: Fraction
    norm: int
    box: Box

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.center)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.box.shape

    def contains_exact(self, x: Any) -> bool:
        """Whether the real point x, read exactly, is in the region. NaN and infinities never are.

        Shapes   x: `shape`, or [size]
        """
        if not self.box.contains_exact(x):
            return False
        point, _ = exact_values(x, "x")
        away = [abs(v - c) for v, c in zip(point, self.center, strict=True)]
        if self.norm == 1:
            return sum(away, Fraction(0)) <= self.radius
        return sum((a * a for a in away), Fraction(0)) <= self.radius * self.radius

    def membership(self, x: NDArray[Any]) -> Membership:
        """EXACT where the float32 point x is in the region, else OUTSIDE. Errors as `Box.membership`."""
        point = _as_float32(x, self.box).ravel()
        return Membership.EXACT if self.contains_exact(point) else Membership.OUTSIDE

    def facets(self) -> list[Inequality]:
        """The L1 ball as inequalities s . (x - center) <= radius, one for each choice of signs s.

        Raises   Unsupported for an L2 ball, which no finite number of them gives, and for too many inputs
        """
        moving = [i for i in range(self.size) if self.box.lo[i] < self.box.hi[i]]
        if self.norm == 2 or 2 ** len(moving) > FACETS:
            raise Unsupported(
                "no linear inequalities state this ball, so no certificate can be about it",
                where="a property of a ball",
                expected=f"an L1 ball of at most {FACETS.bit_length() - 1} inputs, or a box",
                got="an L2 ball" if self.norm == 2 else f"an L1 ball of {len(moving)} inputs",
                fix="tl.bounds(program, ball, 'CROWN') bounds it without a certificate; a proof for box(center, eps), "
                "which encloses it, holds for it",
            )
        found = []
        for signs in product((1, -1), repeat=len(moving)):
            terms = {i: Fraction(s) for i, s in zip(moving, signs, strict=True)}
            offset = sum((s * self.center[i] for i, s in terms.items()), Fraction(0))
            found.append(inequality(terms, {}, -offset - self.radius))
        return found


def ball(center: Any, eps: Any, norm: Any = 2, *, clip: tuple[Number, Number] | None = None) -> Ball | Box:
    """All x with |x - center| <= eps in the L2 norm, the L1 norm (norm=1) or the maximum norm (norm="inf": a box).

    clip     (0, 1): cut with [0, 1] in every coordinate
    Shapes   center: any; eps: one number
    Errors   UsageError for another norm; DataError for NaN, infinity, a negative radius, a center outside `clip`;
             ShapeError for shapes
    """
    name = str(norm).lower().removeprefix("l").removesuffix(".0")
    if name not in ("1", "2", "inf") or isinstance(norm, bool):
        raise UsageError("no such norm", where="ball", expected='1, 2 or "inf"', got=repr(norm), fix="norm=2")
    radius = exact(eps, "eps")
    hull = box(center, radius, clip=clip)
    if name == "inf":
        return hull
    middle, _ = exact_values(center, "center")
    for i, (lo, c, hi) in enumerate(zip(hull.lo, middle, hull.hi, strict=True)):
        if not lo <= c <= hi:
            raise DataError("the center of a ball must lie in what it is cut with", where=f"center[{i}]",
                            expected=f"a value in [{show(exact(clip[0], 'clip'))}, {show(exact(clip[1], 'clip'))}]"
                            if clip is not None else "", got=show(c), fix="correct clip, or the center")  # fmt: skip
    return Ball(tuple(middle), radius, int(name), hull)
