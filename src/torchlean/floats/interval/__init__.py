"""Intervals over binary32 and binary64, rounded outward without the processor's rounding mode."""

from torchlean.floats.interval.balls import from_arb, to_arb
from torchlean.floats.interval.carrier import Interval, around, enclose, point
from torchlean.floats.interval.division import quotients
from torchlean.floats.interval.functions import apply

__all__ = ["Interval", "apply", "around", "enclose", "from_arb", "point", "quotients", "to_arb"]
