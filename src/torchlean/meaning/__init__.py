"""Number systems: the readings of one program's numbers."""

from torchlean.meaning.float_system import Float
from torchlean.meaning.interval_float import IntervalFloat
from torchlean.meaning.interval_system import IntervalReal
from torchlean.meaning.ranges import Ranges
from torchlean.meaning.real_system import Real, Reals
from torchlean.meaning.show import cells, to_numpy
from torchlean.meaning.soft_system import SoftArray, SoftFloat
from torchlean.meaning.system import NumberSystem, fold_dot

__all__ = [
    "Float",
    "IntervalFloat",
    "IntervalReal",
    "NumberSystem",
    "Ranges",
    "Real",
    "Reals",
    "SoftArray",
    "SoftFloat",
    "cells",
    "fold_dot",
    "to_numpy",
]
