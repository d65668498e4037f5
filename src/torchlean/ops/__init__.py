"""The vocabulary: one record per op, in family files. `ALL` is the table that everything else iterates over."""

from torchlean.ir import Op
from torchlean.ops import (
    activations,
    control,
    conv,
    elementwise,
    index,
    layout,
    losses,
    matmul,
    norm,
    pool,
    quantize,
    reduce,
    select,
    smooth,
    source,
    steps,
    waves,
)

FAMILIES = (
    source,
    elementwise,
    select,
    quantize,
    smooth,
    waves,
    steps,
    activations,
    matmul,
    conv,
    pool,
    reduce,
    layout,
    index,
    norm,
    losses,
    control,
)

ALL: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}

__all__ = ["ALL", "FAMILIES"]
