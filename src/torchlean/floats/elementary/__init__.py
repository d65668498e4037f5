"""Elementary functions, correctly rounded, and their enclosures over intervals."""

from torchlean.floats.elementary.arb import FUNCTIONS, NAMES, enclosure, rounded

__all__ = ["FUNCTIONS", "NAMES", "enclosure", "rounded"]
