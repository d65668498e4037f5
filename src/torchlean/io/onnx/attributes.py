"""ONNX attributes, read strictly: known names only, of the right kind, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from torchlean.errors import FileError, Unsupported


class Need(Enum):
    """The kind of an attribute whose default depends on the node, or that has none."""

    INT = "an int that must be given"
    OPTIONAL_INT = "an int, absent: None"
    FLOAT = "a float, absent: None"
    FLOATS = "a list of floats, absent: None"
    INTS = "a list of ints, absent: None"
    TENSOR = "a tensor, absent: None"
    TEXT = "text, absent: None"


def read_attributes(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every attribute of `known`, as given or by default; text comes as `str`.

    known   name -> default value, or a `Need`
    Raises  Unsupported for an attribute that is not in `known`; FileError for a missing one or one of another kind.
    """
    for name in given:
        if name not in known:
            raise Unsupported(
                "the attribute is not known",
                where=where,
                expected=", ".join(known) or "no attributes",
                got=name,
                fix="export the model with an opset that this version reads",
            )
    values: dict[str, Any] = {}
    for name, default in known.items():
        if name not in given:
            if default is Need.INT:
                raise FileError(
                    "an attribute is missing", where=where, expected=name, got="nothing", fix="export the model again"
                )
            values[name] = None if isinstance(default, Need) else default
            continue
        values[name] = _as_kind(given[name], default, f"{where}, attribute {name}")
    return values


def _as_kind(value: Any, default: Any, where: str) -> Any:
    if isinstance(default, str) or default is Need.TEXT:
        kind, good = "text", isinstance(value, bytes)
    elif isinstance(default, float) or default is Need.FLOAT:
        kind, good = "a float", isinstance(value, float)
    elif isinstance(default, int) or default in (Need.INT, Need.OPTIONAL_INT):
        kind, good = "an int", isinstance(value, int)
    elif default is Need.TENSOR:
        kind, good = "a tensor", isinstance(value, np.ndarray)
    elif default is Need.FLOATS:
        kind, good = "a list of floats", isinstance(value, tuple) and all(isinstance(v, float) for v in value)
    else:
        kind, good = "a list of ints", isinstance(value, tuple) and all(isinstance(v, int) for v in value)
    if not good:
        raise FileError(
            "an attribute is of the wrong kind",
            where=where,
            expected=kind,
            got=type(value).__name__,
            fix="export the model again",
        )
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
