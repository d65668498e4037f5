"""What was measured, as rows and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchlean.apps.robustness.measure import METHODS, Measured, text

HEAD = ("eps", "nominal", "attacked", "IBP", "CROWN", "complete", "unknown")
BASIS = (
    ("nominal", "the reference executor puts the label strictly first"),
    ("attacked", "nominal, and no misclassified point was found: an upper bound of the robust share"),
    ("IBP", "interval bounds, rounded outward; rigorous, without a certificate"),
    ("CROWN", "linear bounds in float64 whose own rounding is not charged; not certified"),
    ("complete", "proved; torchlean-check called a certificate valid, for this radius or a larger one"),
    ("unknown", "examples that are neither attacked nor reached by the last column that was computed"),
)


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """One row of cells for each radius, shares in percent; "-" for what was not computed."""
    last = METHODS.index(measured.settings.method)
    made = []
    for level in measured.levels:
        lower = [_percent(v) for v in (level.ibp, level.crown, level.proved)][: last + 1]
        unknown = int(level.unknown(measured.settings.method).sum())
        made.append((text(level.eps), _percent(measured.nominal), _percent(~level.attacked),
                     *lower, *["-"] * (2 - last), str(unknown)))  # fmt: skip
    return made


def open_examples(measured: Measured) -> list[tuple[str, int, str]]:
    """(radius, example, why) of what the verifier left open."""
    return [(text(level.eps), i, why) for level in measured.levels for i, why in sorted(level.reasons.items())]


def as_json(measured: Measured) -> dict[str, Any]:
    """Everything, example by example."""
    settings = measured.settings
    domain = None if settings.domain is None else [text(v) for v in settings.domain]
    last = METHODS.index(settings.method)
    return {
        "examples": len(measured.nominal), "norm": settings.norm, "domain": domain, "method": settings.method,
        "semantics": settings.semantics, "seed": settings.seed, "nominal": _indices(measured.nominal),
        "levels": [
            {"eps": text(level.eps), "attacked": _indices(level.attacked & measured.nominal),
             **{m: _indices(v) for m, v in zip(METHODS[: last + 1], (level.ibp, level.crown, level.proved),
                                              strict=False)},
             "real_only": _indices(level.real), "unknown": _indices(level.unknown(settings.method)),
             "reasons": {str(i): why for i, why in sorted(level.reasons.items())}}
            for level in measured.levels
        ],
    }  # fmt: skip


def _percent(mask: Any) -> str:
    return f"{100 * np.count_nonzero(mask) / len(mask):.1f} %"


def _indices(mask: Any) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]
