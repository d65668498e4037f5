"""ONNX files: `read_onnx` makes a program of one, `write_onnx` writes one."""

from torchlean.io.onnx.exporter import write_onnx
from torchlean.io.onnx.importer import read_onnx

__all__ = ["read_onnx", "write_onnx"]
