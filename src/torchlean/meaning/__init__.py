"""Number systems: the readings of one program's numbers. A name loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchlean.lazy import lazily

if TYPE_CHECKING:
    from torchlean.meaning.float_system import Float
    from torchlean.meaning.interval_float import IntervalFloat
    from torchlean.meaning.interval_system import IntervalReal
    from torchlean.meaning.ranges import Ranges
    from torchlean.meaning.real_system import Real, Reals
    from torchlean.meaning.show import cells, to_numpy
    from torchlean.meaning.soft_system import SoftArray, SoftFloat
    from torchlean.meaning.system import NumberSystem, fold_dot
else:
    _NAMES = {
        "float_system": ("Float",),
        "interval_float": ("IntervalFloat",),
        "interval_system": ("IntervalReal",),
        "ranges": ("Ranges",),
        "real_system": ("Real", "Reals"),
        "show": ("cells", "to_numpy"),
        "soft_system": ("SoftArray", "SoftFloat"),
        "system": ("NumberSystem", "fold_dot"),
    }
    _HOME = {name: f"torchlean.meaning.{module}" for module, names in _NAMES.items() for name in names}
    __getattr__ = lazily(__name__, _HOME)

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
