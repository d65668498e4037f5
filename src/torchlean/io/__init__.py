"""Files in and out: ONNX, VNN-LIB, and the reading and writing of whole files. A name loads when it is first used."""

from __future__ import annotations

from torchlean.lazy import lazily

_HOME = {
    "read_onnx": "torchlean.io.onnx",
    "read_query": "torchlean.io.query",
    "read_vnnlib": "torchlean.io.vnnlib",
    "write_onnx": "torchlean.io.onnx",
    "write_vnnlib": "torchlean.io.vnnlib_write",
}

__all__ = ["read_onnx", "read_query", "read_vnnlib", "write_onnx", "write_vnnlib"]


__getattr__ = lazily(__name__, _HOME)
