"""Every executor by name: those of `run`, and onnxruntime by way of `io/onnx`; and their promises, as data and text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torchlean import ops
from torchlean.cli.columns import columns
from torchlean.errors import UsageError
from torchlean.io.onnx.executor import ONNXRUNTIME
from torchlean.ir import DTYPES, SOURCES
from torchlean.ops.tolerances import TABLE_ID, TOLERANCES
from torchlean.run.execute import EXECUTORS
from torchlean.run.promises import Executor, promise

ALL = {**EXECUTORS, ONNXRUNTIME.name: ONNXRUNTIME}


def named(text: str) -> list[Executor]:
    """The executors of a comma-separated list. Raises UsageError."""
    names = text.split(",")
    for name in names:
        if name not in ALL:
            raise UsageError(
                "no such executor", where="--on", expected=", ".join(ALL), got=repr(name), fix="--on eager-cpu"
            )
    return [ALL[name] for name in names]


def promises(executors: Sequence[Executor]) -> dict[str, Any]:
    """Executor facts; per op the promise for f32 and its limits; the tolerance table."""
    return {
        "executors": [_facts(e) for e in executors],
        "ops": [_op(op, e) for op in ops.ALL if op not in SOURCES for e in executors],
        "table": TABLE_ID,
        "tolerances": [
            {"function": name, **{k: _number(getattr(t, k)) for k in ("a", "r", "lo", "hi")}, "why": t.why}
            for name, t in TOLERANCES.items()
        ],
    }


def _facts(e: Executor) -> dict[str, Any]:
    return {
        "name": e.name,
        "deterministic": e.deterministic,
        "subnormals": e.subnormals,
        "accumulation": e.accumulation,
        "every node once": e.materialises_once,
        "off": list(e.off),
        "measured with": e.measured,
    }


def _op(op: str, e: Executor) -> dict[str, str]:
    kept = promise(e, op, DTYPES["f32"])
    return {"op": op, "executor": e.name, "promise": kept.kind, "why": kept.why, "NaN and infinities": e.open_at(op)}


def as_text(found: dict[str, Any]) -> str:
    """The same for a reader."""
    names = [e["name"] for e in found["executors"]]
    facts = [
        f"{e['name']}\n" + columns(("", ""), [("  " + k, _words(v)) for k, v in e.items() if k != "name"]).lstrip("\n")
        for e in found["executors"]
    ]
    table: dict[str, dict[str, str]] = {}
    for row in found["ops"]:
        table.setdefault(row["op"], {})[row["executor"]] = row["promise"]
    limits = [(r["op"], r["executor"], r["NaN and infinities"]) for r in found["ops"] if r["NaN and infinities"]]
    limits += [(r["op"], r["executor"], r["why"]) for r in found["ops"] if r["promise"] == "none"]
    several = columns(("op", *names), [(op, *(kinds[n] for n in names)) for op, kinds in table.items()])
    tolerances = columns(
        ("function", "a", "r", "from", "to", "why"), [tuple(t.values()) for t in found["tolerances"]], right=("a", "r")
    )
    return "\n\n".join(
        [
            *facts,
            f"promises for f32 results\n{several}",
            "outside the promise: NaN and infinities that come in, and ops\n"
            + columns(("op", "executor", "why"), limits),
            f"{found['table']}: |f^(x) - f(x)| <= a + r |f(x)|\n{tolerances}",
        ]
    )


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value) or "nothing"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _number(x: float) -> str:
    """2^k for a power of two, so that nothing is rounded; else Python's shortest decimal."""
    fraction, exponent = math.frexp(x)
    return f"2^{exponent - 1}" if fraction == 0.5 and x != 1 else repr(x)
