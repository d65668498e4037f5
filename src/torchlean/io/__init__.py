"""Files in and out: ONNX, VNN-LIB, and the reading and writing of whole files. A name loads when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "read_onnx": "torchlean.io.onnx",
    "read_query": "torchlean.io.query",
    "read_vnnlib": "torchlean.io.vnnlib",
    "write_onnx": "torchlean.io.onnx",
    "write_vnnlib": "torchlean.io.vnnlib_write",
}

__all__ = ["read_onnx", "read_query", "read_vnnlib", "write_onnx", "write_vnnlib"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'torchlean.io' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
