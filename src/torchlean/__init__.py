"""TorchLean: one program, one meaning.

A network is written, trained, run, looked at and proved things about as one typed graph.

Importing this package loads neither torch nor onnx nor matplotlib; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Program": "torchlean.run.program",
    "agree": "torchlean.run.agree",
    "ball": "torchlean.bounds.balls",
    "box": "torchlean.bounds.region",
    "check": "torchlean.verify",
    "equivalent": "torchlean.verify.pairs",
    "forall": "torchlean.bounds.claim",
    "hessian": "torchlean.grad",
    "jacobian": "torchlean.grad",
    "jvp": "torchlean.grad",
    "lipschitz": "torchlean.bounds.derivatives",
    "monotone": "torchlean.verify.pairs",
    "output": "torchlean.bounds.claim",
    "read_onnx": "torchlean.io.onnx",
    "trace": "torchlean.nn",
    "value_and_grad": "torchlean.grad",
    "vjp": "torchlean.grad",
    "write_onnx": "torchlean.io.onnx",
}
_TYPES = ("f64", "f32", "f16", "bf16", "i64", "i32", "u32", "i8", "u8", "boolean", "symbol", "TensorType", "Graph")
_HOME.update(dict.fromkeys(_TYPES, "torchlean.ir"))

# Packages that can be called: tl.verify(...), tl.bounds(...), tl.grad(...)
_MODULES = {name: f"torchlean.{name}" for name in ("bounds", "grad", "rounding", "verify")}
_MODULES["losses"] = "torchlean.train.losses"

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOME:
        raise AttributeError(f"module 'torchlean' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
