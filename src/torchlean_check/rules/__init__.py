"""One file per family of nonlinear ops; the verdict lists those that a check used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

CURVES = "read_curves read_power read_gates read_units read_softmax read_layer_norm"
PARTS = "read_constants read_parts read_scatter read_resize read_choice read_extremes read_logic read_where read_argmax"
FAMILIES = f"{CURVES} {PARTS} read_sums read_norm read_conv read_turned read_pool"


@cache
def families() -> dict[str, tuple[Any, str]]:
    """By operator: its reading rule, and the attributes that it reads. A dense network needs none of these modules."""
    found: dict[str, tuple[Any, str]] = {}
    for name in FAMILIES.split():
        found |= import_module(f"torchlean_check.rules.{name}").RULES
    return found
