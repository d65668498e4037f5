"""The trusted checker: re-derives every bound of a certificate from the original ONNX and VNN-LIB files. Never
imports torchlean."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchlean_check.build import TreeBuilder
    from torchlean_check.errors import CheckError, UnsupportedError, WorkerError
    from torchlean_check.format import Certificate, decode, encode, write_certificate
    from torchlean_check.kernel import Bounds, Kernel, State
    from torchlean_check.pushes import Pushes
    from torchlean_check.records import DERIVE, EXAMINE, Bound, Derivation, Record, Refutation, SlopeTable, Tree
    from torchlean_check.tree import Front, Replay, replay
    from torchlean_check.verdict import Verdict, check, load

_HOMES = {
    "build": ("TreeBuilder",),
    "verdict": ("Verdict", "check", "load"),
    "errors": ("CheckError", "UnsupportedError", "WorkerError"),
    "format": ("Certificate", "decode", "encode", "write_certificate"),
    "kernel": ("Bounds", "Kernel", "State"),
    "pushes": ("Pushes",),
    "records": ("DERIVE", "EXAMINE", "Bound", "Derivation", "Record", "Refutation", "SlopeTable", "Tree"),
    "tree": ("Front", "Replay", "replay"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "DERIVE",
    "EXAMINE",
    "Bound",
    "Bounds",
    "Certificate",
    "CheckError",
    "Derivation",
    "Front",
    "Kernel",
    "Pushes",
    "Record",
    "Refutation",
    "Replay",
    "SlopeTable",
    "State",
    "Tree",
    "TreeBuilder",
    "UnsupportedError",
    "Verdict",
    "WorkerError",
    "check",
    "decode",
    "encode",
    "load",
    "replay",
    "write_certificate",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: numpy is not needed to read an error or a usage line."""
    if name not in _HOME:
        raise AttributeError(f"module 'torchlean_check' has no attribute '{name}'")
    globals()[name] = found = getattr(import_module(f"torchlean_check.{_HOME[name]}"), name)
    return found
