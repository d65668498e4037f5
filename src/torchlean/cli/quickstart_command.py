"""`torchlean quickstart`: the tour of `apps.quickstart`, told in the terminal and as one HTML page."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from torchlean.cli import values


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="quickstart", help="folder for the model, claim and certificate (default: quickstart)"
    )
    parser.add_argument("--report", default="quickstart.html", help="the page (default: quickstart.html)")
    parser.add_argument("--steps", type=values.count, default=2_000, help="updates (default 2000)")
    parser.add_argument("--timeout", type=values.seconds, default=30.0, help="seconds for the proof (default 30)")
    parser.add_argument(
        "--seed", type=values.seed, default=0, help="of the split, the weights and the batches (default 0)"
    )


def run(options: Any) -> int:
    """Five chapters; any failure is an error, never a skipped chapter."""
    from torchlean.apps import quickstart as tour
    from torchlean.errors import InternalError
    from torchlean.report import plots
    from torchlean.report.quickstart import page

    plots.require()
    start = time.perf_counter()

    heading("1  Data and training")
    trained = tour.load_and_train(options.seed, options.steps, progress=True)
    cars = trained.cars
    print(f"Auto MPG: {len(cars.x)} cars with all features, {cars.missing} left out for missing horsepower")
    probe = trained.run.probes[tour.PROBE]
    print(
        f"{tour.PROBE}: predicted {probe.before.item():.2f} mpg before training, {probe.after.item():.2f} after; "
        f"it does {float(trained.held_out.y[0, 0]):g}"
    )
    print(f"held-out error: {trained.rmse:.2f} mpg; the best linear fit: {trained.baseline:.2f} mpg")

    heading("2  The program that was trained")
    print(trained.program)

    heading("3  The claim")
    claim = in_words(trained, tour)
    print(claim)

    heading("4  The proof")
    proof = tour.prove(trained, options.timeout, options.seed, print)
    print(f"proved    {proof.printed[0]} <= mpg <= {proof.printed[1]}   {proof.verdict}")
    print(f"reached   {proof.attacked[0]:.4f} ... {proof.attacked[1]:.4f}   gap to the proof: {proof.gap:.4f} mpg")
    files = tour.save(proof, Path(options.out))
    command = [sys.executable, "-m", "torchlean_check", *map(str, files)]
    print("$ torchlean-check " + " ".join(map(str, files)))
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    print(checked.stdout, end="")
    if checked.returncode != 0:
        raise InternalError(
            "the checker does not accept the certificate",
            where=str(files[2]),
            expected="valid",
            got=(checked.stdout + checked.stderr).strip() or f"exit code {checked.returncode}",
            fix="report it, with the three files",
        )

    heading("5  The page")
    page(trained, proof, claim, files, checked.stdout.strip()).write(Path(options.report))
    print(f"{options.report}   {time.perf_counter() - start:.0f} s in all")
    return 0


def heading(text: str) -> None:
    """A chapter's title."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def in_words(trained: Any, tour: Any) -> str:
    """The claim as a sentence, in the data's units."""
    car, cars = trained.held_out.x[0], trained.cars
    moving = cars.columns(*tour.MOVING)
    parts = []
    for name, i in zip(tour.MOVING, moving, strict=True):
        value = float(car[i])
        parts.append(f"{name} between {value * (1 - tour.WITHIN):g} and {value * (1 + tour.WITHIN):g}")
    rest = ", ".join(f"{n} {float(car[i]):g}" for i, n in enumerate(cars.names) if i not in moving)
    return (
        f"For every car with {', '.join(parts)}, and {rest}: the network's predicted mpg, in any float32 execution, "
        "stays inside the interval below."
    )
