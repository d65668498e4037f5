"""The program's form: dimensions, types, graphs and how they are built. Knows no op."""

from torchlean.ir.builder import Builder, named_outputs, trace
from torchlean.ir.dims import Dim, Shape, Size, symbol
from torchlean.ir.file import content_hash, load_program, save_program
from torchlean.ir.graph import SOURCES, Attr, Graph, Literal, Node, Value
from torchlean.ir.lint import lint
from torchlean.ir.op import (
    ALIGNED,
    COMPARED,
    DERIVED,
    EXACT,
    EXPAND,
    LEADING,
    Derived,
    Linear,
    Missing,
    Onnx,
    Op,
    OpTable,
)
from torchlean.ir.parse import parse_graph
from torchlean.ir.tensor import Tensor
from torchlean.ir.text import format_graph
from torchlean.ir.types import (
    DTYPES,
    DType,
    TensorType,
    bf16,
    boolean,
    dtype_of,
    f8e4m3,
    f8e5m2,
    f16,
    f32,
    f64,
    i8,
    i32,
    i64,
    parse_type,
    type_of,
    u8,
    u32,
)

__all__ = [
    "ALIGNED", "COMPARED", "DERIVED", "DTYPES", "EXACT", "EXPAND", "LEADING", "SOURCES", "Attr", "Builder", "DType",
    "Derived", "Dim", "Graph", "Linear", "Literal", "Missing", "Node", "Onnx", "Op", "OpTable", "Shape", "Size",
    "Tensor", "TensorType", "Value", "bf16", "boolean", "content_hash", "dtype_of", "f8e4m3", "f8e5m2", "f16", "f32",
    "f64", "format_graph", "i8", "i32", "i64", "lint", "load_program", "named_outputs", "parse_graph", "parse_type",
    "save_program", "symbol", "trace", "type_of", "u8", "u32",
]  # fmt: skip
