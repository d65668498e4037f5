"""Rounding-error analysis: how far each node's float values are from the real ones; `tl.rounding(program, region)`."""

from torchlean.callable_module import make_callable
from torchlean.rounding.analysis import NodeError, Table, analyse
from torchlean.rounding.twin import Twin

__all__ = ["NodeError", "Table", "Twin", "analyse"]
make_callable(__name__, analyse)
