"""SoftFloat: IEEE 754-2019 arithmetic on bit patterns, for every format and direction, by integers alone.

An operation takes arrays of patterns (`Format.storage`), the format, a `Rounding` and `Rules`; it returns
`Result(bits, flags)`: patterns, and each element's exceptions. `encode` and `decode` lead in and out.
"""

from torchlean.floats.soft.arithmetic import add, div, mul, sqrt, sub
from torchlean.floats.soft.compare import Extremum, Predicate, compare, extremum, maximum, minimum, total_order
from torchlean.floats.soft.convert import convert, decode, encode, from_integer, round_to_integral, to_integer
from torchlean.floats.soft.fused import fma, remainder
from torchlean.floats.soft.rules import DEFAULT, Flag, NaNRule, Overflow, Result, Rules, Tininess

__all__ = [
    "DEFAULT",
    "Extremum",
    "Flag",
    "NaNRule",
    "Overflow",
    "Predicate",
    "Result",
    "Rules",
    "Tininess",
    "add",
    "compare",
    "convert",
    "decode",
    "div",
    "encode",
    "extremum",
    "fma",
    "from_integer",
    "maximum",
    "minimum",
    "mul",
    "remainder",
    "round_to_integral",
    "sqrt",
    "sub",
    "to_integer",
    "total_order",
]
