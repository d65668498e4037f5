"""TorchLean: one program, one meaning.

A network is written, trained, run, looked at and proved things about as one typed graph.

Importing this package loads neither torch nor onnx nor matplotlib; each name below is loaded when it is first used.
"""

from __future__ import annotations

from torchlean.lazy import lazily

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
_HOME.update({name: f"torchlean.{name}" for name in ("bounds", "grad", "rounding", "verify")})
_HOME["losses"] = "torchlean.train"

__all__ = ["__version__", *_HOME]
__getattr__ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
