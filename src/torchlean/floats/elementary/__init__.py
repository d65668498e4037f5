"""Elementary functions, correctly rounded, and their enclosures over intervals."""

from torchlean.floats.elementary.decide import rounded
from torchlean.floats.elementary.enclose import enclosure
from torchlean.floats.elementary.table import ELEMENTARY, FUNCTIONS

__all__ = ["ELEMENTARY", "FUNCTIONS", "enclosure", "rounded"]
