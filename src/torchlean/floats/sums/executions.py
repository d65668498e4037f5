"""Executions: an order with everything else that a program may choose, and the sum that it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import Unsupported, UsageError
from torchlean.floats.formats import BINARY32, Format, format_of
from torchlean.floats.rounding import F64, odd_sum, round_nearest
from torchlean.floats.sums.orders import Order
from torchlean.frozen import frozen


@frozen
class Execution:
    """How a program adds one row: everything that SEMANTICS.md section 2 leaves open.

    order   the tree; the bias, where there is one, is the last leaf
    fused   per leaf: fuse this product into the addition above it, where its partner is not fused
    wide    per step: keep this partial sum in float64
    flush   subnormal operands and results become zero
    """

    order: Order
    fused: tuple[bool, ...] = ()
    wide: tuple[bool, ...] = ()
    flush: bool = False


def _flushed(x: F64, fmt: Format, flush: bool) -> F64:
    return np.where(np.abs(x) < fmt.smallest_normal, np.copysign(0.0, x), x) if flush else x


def execute(
    how: Execution, x: NDArray[Any], w: NDArray[Any] | None = None, bias: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The sum or dot product along the last axis, as one execution computes it in the format of x.

    Slow (one numpy call a step); it is the oracle that bounds are held against.

    Shapes   x, w: [*s, n] of float32 or narrower; bias: [*s] -> [*s], all of one dtype
    """
    fmt = format_of(x.dtype)
    if fmt.precision > BINARY32.precision:
        raise Unsupported(
            "executions are simulated through float64 numbers, in which products must be exact",
            where="floats.execute",
            expected="x of float32 or narrower",
            got=f"{fmt}",
            fix="convert x, w and bias to float32",
        )
    x64, flush = _flushed(x.astype(np.float64), fmt, how.flush), how.flush
    products = x64 if w is None else x64 * _flushed(w.astype(np.float64), fmt, flush)  # exact: at most 48 bits
    leaves = [products[..., j] for j in range(x.shape[-1])]
    product = [w is not None] * len(leaves)
    if bias is not None:
        leaves.append(_flushed(bias.astype(np.float64), fmt, flush))
        product.append(False)
    if len(leaves) != how.order.leaves:
        raise UsageError(
            "the order has another number of leaves than the sum",
            where="floats.execute",
            expected=f"{len(leaves)} leaves",
            got=f"{how.order.leaves} leaves",
            fix="build the order for the row's length, plus one where there is a bias",
        )
    with np.errstate(all="ignore"):

        def settle(value: F64, wide: bool) -> F64:
            rounded = value if wide else round_nearest(value, fmt).astype(np.float64)
            return _flushed(rounded, fmt, flush)

        values = list(leaves)
        raw = [product[j] and bool(how.fused) and how.fused[j] for j in range(len(leaves))]
        for j in range(len(leaves)):
            if product[j] and not raw[j]:
                values[j] = settle(values[j], wide=False)
        raw += [False] * len(how.order.steps)
        for i, (a, b) in enumerate(how.order.steps):
            if raw[a] and raw[b]:
                values[b] = settle(values[b], wide=False)
            wide = bool(how.wide) and how.wide[i]
            total = values[a] + values[b] if wide else odd_sum(values[a], values[b])
            values.append(settle(total, wide))
        return round_nearest(settle(values[-1], wide=False), fmt)


__all__ = ["Execution", "execute"]
