"""The vocabulary: one record per op, in family files. `ALL` is the table that everything else iterates over."""

from torchlean.ir import Op
from torchlean.ops import (
    activations,
    attention,
    control,
    conv,
    elementwise,
    gates,
    index,
    layer_norm,
    layout,
    losses,
    matmul,
    norm,
    pool,
    powers,
    quantize,
    reduce,
    resize,
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
    powers,
    steps,
    activations,
    gates,
    matmul,
    conv,
    pool,
    reduce,
    layout,
    resize,
    index,
    norm,
    layer_norm,
    attention,
    losses,
    control,
)

ALL: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}

__all__ = ["ALL", "FAMILIES"]
