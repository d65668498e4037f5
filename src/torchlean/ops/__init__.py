"""The vocabulary: one record per op, in family files. `ALL` is the table that everything else iterates over."""

from torchlean.ir import Op
from torchlean.ops import activations, elementwise, layout, matmul, reduce, source

FAMILIES = (source, elementwise, activations, matmul, reduce, layout)

ALL: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}

__all__ = ["ALL", "FAMILIES"]
