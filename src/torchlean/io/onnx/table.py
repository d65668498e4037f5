"""Which op of an ONNX file is read how. An op is found by its exact name and the file's opset."""

from __future__ import annotations

from functools import cache

from torchlean import ops
from torchlean.io.onnx import (
    read_index,
    read_layout,
    read_linear,
    read_norm,
    read_quantize,
    read_reduce,
    read_values,
    read_window,
)
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import ALIGNED, Onnx

FAMILIES: tuple[Readers, ...] = tuple(
    family.READERS
    for family in (
        read_linear,
        read_window,
        read_reduce,
        read_norm,
        read_layout,
        read_index,
        read_values,
        read_quantize,
    )
)


@cache
def readers() -> Readers:
    """Every reader by op name: those written out, and elementwise ops whose record says all there is to say."""
    table: dict[str, tuple[Reader, ...]] = {}
    for op in ops.ALL.values():
        if isinstance(op.onnx, Onnx) and op.batch is ALIGNED:
            table[op.onnx.name] = (Reader(read_linear.elementwise(op.name), op.onnx.since, arity=(1, 3)),)
    for family in FAMILIES:
        table.update(family)
    return table


def find_reader(op_type: str, opset: int) -> Reader | None:
    """The reader of `op_type` at this opset, if there is one."""
    return next((r for r in readers().get(op_type, ()) if r.since <= opset <= r.until), None)
