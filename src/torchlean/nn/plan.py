"""Initializer plans: every parameter gets exactly one initializer, and the plan says which."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from torchlean.errors import UsageError
from torchlean.ir import TensorType
from torchlean.nn.init import Given, Initializer

Plan = Mapping[str, "Initializer | np.ndarray"]


def initialise(types: Mapping[str, TensorType], plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    """The first value of every parameter in `types`.

    plan     parameter name, or a pattern such as `*.bias`, -> initializer or array
    Raises   UsageError for a parameter with no initializer or with two, and for one that names no parameter;
             ShapeError for a value of the wrong shape. Each names the parameter.
    """
    chosen = _assign(types, plan)
    for name in types:
        if name not in chosen:
            raise UsageError(
                f"the parameter {name!r} has no initializer",
                where="initializer plan",
                expected=f"one initializer for {name}: {types[name]}",
                got=", ".join(plan) or "an empty plan",
                fix=f'add "{name}": nn.init.KaimingUniform() to the plan',
            )
    return {name: chosen[name].value(name, t, seed) for name, t in types.items()}


def override(
    types: Mapping[str, TensorType], defaults: Mapping[str, Initializer], plan: Plan
) -> dict[str, Initializer]:
    """The layers' own initializers, with those of `plan` in their place. Raises as `initialise`."""
    return {**{n: i for n, i in defaults.items() if n in types}, **_assign(types, plan)}


def _assign(types: Mapping[str, TensorType], plan: Plan) -> dict[str, Initializer]:
    chosen: dict[str, Initializer] = {}
    source: dict[str, str] = {}
    for pattern, given in plan.items():
        hits = [pattern] if pattern in types else [n for n in types if fnmatchcase(n, pattern)]
        if not hits:
            raise UsageError(
                f"the plan initializes {pattern!r}, which is no parameter",
                where="initializer plan",
                expected=", ".join(types) or "no parameters",
                got=pattern,
                fix="correct the name, or leave it out",
            )
        for name in hits:
            if name in chosen:
                raise UsageError(
                    f"the parameter {name!r} has two initializers",
                    where="initializer plan",
                    expected="exactly one",
                    got=f"{source[name]!r} and {pattern!r}",
                    fix="make the patterns disjoint",
                )
            chosen[name] = given if isinstance(given, Initializer) else Given(np.asarray(given))
            source[name] = pattern
    return chosen
