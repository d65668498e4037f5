"""The quickstart's page: the data's fit, the graph, and the proved interval against sampled predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchlean.report import graph, plots
from torchlean.report.page import Page


def page(trained: Any, proof: Any, claim: str, files: Sequence[Path], checked: str) -> Page:
    """Everything that `torchlean quickstart` printed, as one page.

    trained, proof   the results of `apps.quickstart`
    files            model, claim, certificate        checked   the checker's words
    """
    result = Page(
        "TorchLean quickstart",
        "A network trained on real data, and an interval that is proved for every float32 execution of it.",
    )
    result.section("Claim")
    result.text(claim)
    low, high = proof.attacked
    result.verdict(
        " to ".join(proof.printed) + " mpg",
        f"proved; the search reached {low:.4f} and {high:.4f}, a gap of {proof.gap:.4f} mpg",
    )
    result.figure(
        plots.interval(proof.samples, (proof.lower, proof.upper), proof.attacked, "predicted miles per gallon"),
        f"{len(proof.samples):,} predictions at random points of the region, the proved bounds, the extremes found.",
    )
    result.code(f"$ torchlean-check {' '.join(map(str, files))}\n{checked}")
    result.section("Training")
    cars = trained.cars
    result.text(f"Auto MPG: {len(cars.x)} cars with all features; {cars.missing} were left out for missing horsepower.")
    history = trained.run.history
    held_out = [(step, found["loss"]) for step, found in history.validation]
    result.figure(plots.curve(history.loss, held_out, "mpg²"), "Training and held-out loss.")
    result.table(
        ("model", "held-out error (root mean square), mpg"),
        [("this network", f"{trained.rmse:.3f}"), ("best linear fit", f"{trained.baseline:.3f}")],
    )
    result.section("Program")
    result.text("Normalization is part of the program, so the claim is in pounds, cubic inches and horsepower.")
    result.figure(graph.draw(trained.program.graph), "The graph that was trained, exported, bounded and certified.")
    result.code(str(trained.program))
    result.text("Data: Auto MPG, UCI Machine Learning Repository, R. Quinlan 1993, doi:10.24432/C5859H, CC BY 4.0.")
    return result
