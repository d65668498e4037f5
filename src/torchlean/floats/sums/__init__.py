"""Sums and dot products: orders as data, their executions, exact values, and bounds that hold for any or for one."""

from torchlean.floats.sums.bounds import any_order_bound, growth, stays_finite, upper_matmul
from torchlean.floats.sums.exact import exact_dot, rounded_dot, rounded_sum
from torchlean.floats.sums.executions import Execution, execute
from torchlean.floats.sums.orders import Order, blocked, left_fold, pairwise, permuted, random_order, strided
from torchlean.floats.sums.running import left_fold_bound
from torchlean.floats.sums.search import worst_execution

__all__ = [
    "Execution",
    "Order",
    "any_order_bound",
    "blocked",
    "exact_dot",
    "execute",
    "growth",
    "left_fold",
    "left_fold_bound",
    "pairwise",
    "permuted",
    "random_order",
    "rounded_dot",
    "rounded_sum",
    "stays_finite",
    "strided",
    "upper_matmul",
    "worst_execution",
]
