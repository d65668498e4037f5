"""The numbers: formats, rounding, sums, elementary functions, intervals. Needs numpy and python-flint only.

Elementary functions, software floats and the calculator load when they are first used: with python-flint they take as
long as numpy does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchlean.floats import bits
from torchlean.floats.directed import (
    add_down,
    add_up,
    div_down,
    div_up,
    mul_down,
    mul_up,
    sqrt_down,
    sqrt_up,
    sub_down,
    sub_up,
)
from torchlean.floats.formats import (
    BFLOAT16,
    BINARY16,
    BINARY32,
    BINARY64,
    CATALOG,
    E4M3FN,
    E5M2,
    FORMATS,
    TF32,
    Format,
    Specials,
    exact,
    format_of,
    next_down,
    next_up,
    ulp,
)
from torchlean.floats.interval import Interval
from torchlean.floats.rounding import (
    Rounding,
    rational,
    round_down,
    round_nearest,
    round_onto,
    round_rational,
    round_up,
)
from torchlean.floats.sums import (
    Execution,
    Order,
    any_order_bound,
    blocked,
    exact_dot,
    execute,
    growth,
    left_fold,
    left_fold_bound,
    pairwise,
    permuted,
    random_order,
    rounded_dot,
    rounded_sum,
    stays_finite,
    strided,
    upper_matmul,
    worst_execution,
)
from torchlean.floats.transforms import fast_two_sum, two_product, two_sum
from torchlean.lazy import lazily

if TYPE_CHECKING:
    from torchlean.floats import calculator, hardware, soft
    from torchlean.floats.elementary import ELEMENTARY, enclosure, rounded
else:
    _HOME = {name: f"torchlean.floats.{name}" for name in ("calculator", "elementary", "hardware", "soft")}
    _HOME.update(dict.fromkeys(("ELEMENTARY", "enclosure", "rounded"), "torchlean.floats.elementary"))
    __getattr__ = lazily(__name__, _HOME)

__all__ = [
    "BFLOAT16",
    "BINARY16",
    "BINARY32",
    "BINARY64",
    "CATALOG",
    "E4M3FN",
    "E5M2",
    "ELEMENTARY",
    "FORMATS",
    "TF32",
    "Execution",
    "Format",
    "Interval",
    "Order",
    "Rounding",
    "Specials",
    "add_down",
    "add_up",
    "any_order_bound",
    "bits",
    "blocked",
    "calculator",
    "div_down",
    "div_up",
    "enclosure",
    "exact",
    "exact_dot",
    "execute",
    "fast_two_sum",
    "format_of",
    "growth",
    "hardware",
    "left_fold",
    "left_fold_bound",
    "mul_down",
    "mul_up",
    "next_down",
    "next_up",
    "pairwise",
    "permuted",
    "random_order",
    "rational",
    "round_down",
    "round_nearest",
    "round_onto",
    "round_rational",
    "round_up",
    "rounded",
    "rounded_dot",
    "rounded_sum",
    "soft",
    "sqrt_down",
    "sqrt_up",
    "stays_finite",
    "strided",
    "sub_down",
    "sub_up",
    "two_product",
    "two_sum",
    "ulp",
    "upper_matmul",
    "worst_execution",
]
