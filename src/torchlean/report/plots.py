"""Drawings for reports, as SVG text. Needs the extra `plots` (matplotlib)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchlean.errors import Unsupported

BLUE, ORANGE = "#0a5cad", "#c4561b"


def require() -> Any:
    """matplotlib's Figure class. Raises Unsupported where the extra is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Unsupported(
            "drawing needs matplotlib",
            where="report",
            expected="the extra `plots`",
            got="not installed",
            fix="pip install 'torchlean[plots]'",
        ) from None
    return Figure


def _svg(figure: Any) -> str:
    text = io.StringIO()
    with _settings():
        figure.savefig(
            text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), bbox_inches="tight"
        )
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def _settings() -> Any:
    """Equal numbers give equal drawings; text stays text."""
    from matplotlib import rc_context

    return rc_context({"svg.hashsalt": "torchlean", "svg.fonttype": "none"})


def _axes(width: float = 9.4, height: float = 3.4) -> tuple[Any, Any]:
    figure = require()(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def curve(losses: np.ndarray, validation: Sequence[tuple[int, float]], unit: str) -> str:
    """The training loss per update, smoothed over a window, with the validation loss.

    losses   [updates]        validation   (updates before it, loss) pairs        unit   of the loss
    """
    figure, axes = _axes()
    values = np.asarray(losses, np.float64)
    steps = np.arange(1, len(values) + 1)
    window = max(1, len(values) // 60)
    smooth = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps, values, color=BLUE, alpha=0.18, linewidth=0.8)
    axes.plot(steps[window - 1 :], smooth, color=BLUE, linewidth=1.6, label=f"training (mean of {window} steps)")
    if validation:
        at, loss = zip(*validation, strict=True)
        axes.plot(at, loss, color=ORANGE, linewidth=1.6, marker="o", markersize=3, label="held out")
    axes.set_yscale("log")
    axes.set_xlabel("update")
    axes.set_ylabel(f"mean squared error, {unit}")
    axes.legend(frameon=False)
    return _svg(figure)


def interval(samples: np.ndarray, proved: tuple[float, float], attacked: tuple[float, float], unit: str) -> str:
    """Sampled predictions as a histogram, inside the proved interval and beside the extremes an attack reached.

    samples   [n], in `unit`
    """
    figure, axes = _axes()
    axes.hist(samples, bins=60, color=BLUE, alpha=0.55, label=f"{len(samples):,} sampled predictions")
    labels = (f"{np.floor(proved[0] * 1e4) / 1e4:.4f}", f"{np.ceil(proved[1] * 1e4) / 1e4:.4f}")  # outward
    for i, edge in enumerate(proved):
        axes.axvline(edge, color=ORANGE, linewidth=2.4, label="proved bounds" if i == 0 else None)
        place = {"ha": "left", "xytext": (5, -4)} if i == 0 else {"ha": "right", "xytext": (-5, -4)}
        at = {"xy": (edge, 1.0), "xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
        axes.annotate(labels[i], color=ORANGE, **at, **place)
    for i, edge in enumerate(attacked):  # in front: where they hide a bound, the proof is tight
        axes.axvline(edge, color="black", linewidth=1, linestyle=":", label="extremes found" if i == 0 else None)
    margin = 0.03 * max(proved[1] - proved[0], 1e-9)
    axes.set_xlim(proved[0] - margin, proved[1] + margin)
    axes.set_xlabel(unit)
    axes.set_ylabel("samples")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3)
    return _svg(figure)


def cactus(curves: Mapping[str, Sequence[float]]) -> str:
    """For each named curve of rising seconds, the time within which 1, 2, ... of them are done."""
    figure, axes = _axes()
    for (name, seconds), colour in zip(curves.items(), ("black", ORANGE, BLUE), strict=False):
        count = np.arange(1, len(seconds) + 1)
        label = f"{name} ({len(seconds)})"
        axes.step(count, np.maximum(seconds, 1e-3), where="post", marker=".", color=colour, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("instances")
    axes.set_ylabel("seconds")
    if curves:
        axes.legend(frameon=False)
    return _svg(figure)


def shares(at: Sequence[float], curves: Mapping[str, Sequence[float]], label: str) -> str:
    """Named curves of percentages over `at`, upper bounds dashed first, then lower bounds.

    Shapes   each curve: as long as `at`
    """
    figure, axes = _axes()
    styles = (("black", ":"), (ORANGE, "--"), ("#8a939c", "-"), ("#5aa17f", "-"), (BLUE, "-"))
    for (name, values), (colour, line) in zip(curves.items(), styles, strict=False):
        axes.plot(at, values, color=colour, linestyle=line, marker="o", markersize=4, label=name)
    axes.set_ylim(-3, 103)
    axes.set_xlabel(label)
    axes.set_ylabel("% of the examples")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)
