"""VNN-LIB 2.0: queries about one or several networks, read exactly and brought to one network and one violation."""

from torchlean.io.query.compose import Part, compose
from torchlean.io.query.equalities import merge_equal_inputs
from torchlean.io.query.form import Network, Query, Variable
from torchlean.io.query.implied import with_decimal_boxes
from torchlean.io.query.reader import read_query

__all__ = [
    "Network",
    "Part",
    "Query",
    "Variable",
    "compose",
    "merge_equal_inputs",
    "read_query",
    "with_decimal_boxes",
]
