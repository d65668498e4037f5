"""ONNX's data types by number (onnx.proto3, TensorProto.DataType)."""

CODES = {
    "f32": 1, "u8": 2, "i8": 3, "i32": 6, "i64": 7, "bool": 9, "f16": 10, "f64": 11, "u32": 12, "bf16": 16,
    "f8e4m3": 17, "f8e5m2": 19,
}  # fmt: skip
NAMES = {code: name for name, code in CODES.items()}
