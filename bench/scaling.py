"""Cost against size: time and peak memory over width, depth and the number of subproblems, with exponents.

    python bench/scaling.py [--write]

Random relu networks with fixed seeds (He's weights, small biases). Every measurement is a process of its own with one
BLAS thread; of those that take less than two seconds the cheapest of three stands.
- walk: `tl.bounds` by CROWN for float32, in numpy, on a box of 64 inputs; the call alone is timed.
- root: the same claims decided by the root's bounds, from the files' bytes to the certificate; the call alone is timed.
- input splits, relu splits: `torchlean verify` on one network, on claims that come nearer to the greatest value that
  an attack finds, from the start of the process to its end. Size is the number of subproblems that were bounded.
The exponent is the slope of the line by least squares through log size and log cost, after the cost of the same on a
network of two neurons was taken off; where what is left is lost in that one's noise, the point is not in the fit. Once
for all sizes, and once for the larger half of them. Times in the fit are of the processors, which other work on the
machine lengthens less than the time that passes.

Prediction: a box of a layer takes one product of two square matrices for each layer below, so the walk and the root
take width^3 (less while they fit the caches) and depth^2; they hold weights, so width^2 and depth^1 of memory. A
search takes subproblems^1. Its memory: input splits go depth first and keep little but the tree, so an exponent well
below 1; relu splits keep multipliers of every neuron for every open node, and load torch once they are long.

Found: the walk comes near width^3 only over the last doubling (2.8), and has depth^2. The root is far below width^3 at
these sizes (1.7): it walks back only from relus' inputs of either sign, 2 to 5 % of them in so small a box. Memory as
predicted, but for the walk over depth (0.7), where a constant part stands beside the weights. Input splits take
subproblems^1, memory^0.3 to 0.5. Relu splits take less than that, 0.6 over the larger half: batches grow. Their memory
is a step, torch, and grows by a tenth for each doubling after it; so the exponent over all sizes, which holds the step,
says nothing. The time of a subproblem jumps there too: what a first tree does not close, is tightened by the clause.
A second run, under more load, has the same exponents over the larger sizes within 0.1, of times within 0.25; but the
root's times are short, and theirs were 2.1 over width and 1.5 over depth, where the table has 1.7 and 2.1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from table import RESULTS, report, run
from torchlean.apps.sweep import Processes

# No numpy here: a child's peak memory is at least what its parent held when it started it.
LEAST = {"processor s": 0.25, "peak MB": 0.05}  # of a tiny network's: what lies less above it is lost in its noise
SHORT, LONG = 2.0, 300.0  # seconds: below, three runs; the limit of a run
INPUTS = 64
WIDTHS, DEPTHS = (64, 128, 256, 512, 1024), (2, 4, 6, 8, 10, 12)
COLUMNS = ("seconds", "processor s", "peak MB")


@dataclass(frozen=True)
class Network:
    """sizes of its layers; radius of the box around a random point.

    margins    of claims y <= a + margin (u - a), where u is CROWN's upper bound
    attacked   a is the greatest value that an attack finds; else CROWN's lower bound
    """

    sizes: tuple[int, ...]
    radius: float
    margins: tuple[float, ...] = (2.0,)
    attacked: bool = False


def by_size(width: int, depth: int) -> Network:
    return Network((INPUTS, *[width] * depth, 1), 0.001)


TINY = Network((INPUTS, 2, 1), 0.001)
SPLITS = {
    "inputs": Network((10, 48, 48, 1), 0.5, (0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1), True),
    "neurons": Network((24, 32, 32, 1), 0.2, (0.5, 0.35, 0.25, 0.18, 0.14, 0.1, 0.07, 0.05, 0.035), True),
}


def made(network: Network) -> tuple[Any, Any]:
    """The program and its region."""
    import numpy as np

    import torchlean as tl
    from torchlean import nn

    plan = {"*.weight": nn.init.KaimingNormal(), "*.bias": nn.init.Normal(0.0, 0.1)}
    inputs = network.sizes[0]
    program = tl.trace(nn.MLP(*network.sizes), tl.f32[1, inputs], seed=0, plan=plan)
    centre = np.random.default_rng(0).uniform(-0.5, 0.5, (1, inputs)).astype(np.float32)
    return program, tl.box(centre, network.radius)


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call returns, its times, and the most memory that this process has had."""
    start, used = time.perf_counter(), time.process_time()
    found = call()
    spent = time.perf_counter() - start, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found, dict(zip(COLUMNS, (*spent, memory), strict=True))


def walk(network: Network, folder: Path) -> dict[str, Any]:
    """The walk's costs; then network and claims are written into the folder."""
    import torchlean as tl
    from torchlean.verify.clock import Deadline
    from torchlean.verify.program import attacked_range, claimed, exported

    tl.bounds(*made(TINY), semantics="float32")  # loads what is loaded once
    program, region = made(network)
    ends, costs = timed(lambda: tl.bounds(program, region, semantics="float32"))
    lower, upper = (float(end.item()) for end in ends)
    model, inputs, outputs = exported(program)
    (folder / "network.onnx").write_bytes(model)
    if network.attacked:
        lower = attacked_range(model, region, inputs, outputs, 0, 0, Deadline(LONG))[1]
    for i, margin in enumerate(network.margins):
        claim = tl.forall(region, tl.output[0] <= lower + margin * (upper - lower))
        (folder / f"{i}.vnnlib").write_bytes(claimed(claim, inputs, outputs))
    return {**costs, "leaves": ""}


def root(folder: Path) -> dict[str, Any]:
    """The costs of deciding the folder's first claim. Raises RuntimeError where it takes more than the root."""
    import torchlean as tl
    from torchlean.verify import verify_files

    program, region = made(TINY)
    tl.verify(program, tl.forall(region, tl.output[0] <= 1e3))  # loads what is loaded once
    model, claim = ((folder / name).read_bytes() for name in ("network.onnx", "0.vnnlib"))
    verdict, costs = timed(lambda: verify_files(model, claim, LONG))
    if not verdict.holds or verdict.boxes != 1:
        raise RuntimeError(f"not decided at the root: {verdict}")
    return {**costs, "leaves": verdict.leaves}


def cheapest(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Of one run, or of three where they are short, that with the least processor time."""
    runs = [run()]
    while len(runs) < 3 and runs[0]["processor s"] < SHORT:
        runs.append(run())
    return min(runs, key=lambda r: r["processor s"])


class Bench:
    """The measurements of networks, in a folder for their files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, Processes()

    def call(self, what: str, network: Network) -> dict[str, Any]:
        """The costs of `walk` or `root`; after a walk the files of the network lie in the folder."""
        command = [sys.executable, __file__, "--call", what, json.dumps(asdict(network)), str(self.folder)]
        return cheapest(lambda: self._run(command)[0])

    def verify(self, claim: int, strategy: str) -> dict[str, Any]:
        """The whole process on a claim of the last network. Raises RuntimeError where it is not proved."""
        files = [str(self.folder / name) for name in ("network.onnx", f"{claim}.vnnlib")]
        command = [sys.executable, "-m", "torchlean", "verify", *files, "--strategy", strategy, "--json",
                   "--timeout", str(LONG)]  # fmt: skip

        def once() -> dict[str, Any]:
            answer, ended = self._run(command)
            if answer["verdict"] != "unsat":
                raise RuntimeError(f"{' '.join(command)}: {answer}")
            costs = zip(COLUMNS, (ended.seconds, ended.cpu_seconds, ended.memory / 2**20), strict=True)
            return {"size": answer["boxes"], **dict(costs), "leaves": answer["leaves"]}

        return cheapest(once)

    def _run(self, command: Sequence[str]) -> tuple[dict[str, Any], Any]:
        ended = self.processes.run(command, LONG + 60)
        if ended.code:
            raise RuntimeError(f"{' '.join(command)}: {ended.errors or ended.output}")
        return json.loads(ended.output), ended

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every point; the first of each kind is the tiny network's."""
        for over, networks in (("width", {w: by_size(w, 4) for w in WIDTHS}),
                               ("depth", {d: by_size(256, d) for d in DEPTHS})):  # fmt: skip
            for size, network in {0: TINY, **networks}.items():
                for what in ("walk", "root"):
                    yield {"cost": f"{what}, {over}", "size": size, **self.call(what, network)}
        for strategy, title in (("inputs", "input splits"), ("neurons", "relu splits")):
            for network in (TINY, SPLITS[strategy]):
                self.call("walk", network)
                for claim in range(len(network.margins)):
                    yield {"cost": title, **self.verify(claim, strategy)}


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The slope of log cost over log size, by least squares; nan for fewer than two sizes.

    points   (size, cost), both > 0
    """
    x, y = ([math.log(p[i]) for p in points] for i in (0, 1))
    centre = sum(x) / len(x) if x else 0.0
    spread = sum((a - centre) ** 2 for a in x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / spread if spread > 0 else math.nan


def growing(rows: Sequence[dict[str, Any]], column: str) -> list[tuple[float, float]]:
    """(size, cost beyond the tiny network's) of the rows of one kind, its tiny network's first, that enter a fit."""
    base, *others = rows
    beyond = [(float(r["size"]), r[column] - base[column]) for r in others]
    return sorted((size, cost) for size, cost in beyond if cost > LEAST[column] * base[column])


def said(points: Sequence[tuple[float, float]]) -> str:
    """The exponents of some points, smallest size first."""
    if len(points) < 2:
        return "no growth to fit"
    larger = points[-max(2, len(points) // 2) :]
    parts = ((points, f"{len(points)}"), (larger, f"the larger {len(larger)}"))
    return ", ".join(f"size^{exponent(part):.2f} over {name}" for part, name in parts)


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """For each kind of cost, what its time and memory grow with."""
    kinds = {kind: [r for r in rows if r["cost"] == kind] for kind in dict.fromkeys(r["cost"] for r in rows)}
    return {f"{kind}: {name}": said(growing(points, column)) for kind, points in kinds.items()
            for column, name in (("processor s", "time"), ("peak MB", "memory"))}  # fmt: skip


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Processor seconds and peak memory over each size, both axes logarithmic, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = {"width": ("walk, width", "root, width"), "depth": ("walk, depth", "root, depth"),
              "subproblems": ("input splits", "relu splits")}  # fmt: skip
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex="col")
    for column, (size, kinds) in enumerate(panels.items()):
        for row, cost in enumerate(("processor s", "peak MB")):
            axis = axes[row][column]
            for kind, colour in zip(kinds, ("#0a5cad", "#c4561b"), strict=True):
                points = [r for r in rows if r["cost"] == kind]
                fitted = growing(points, cost)
                slope = f", exponent {exponent(fitted):.2f}" if len(fitted) > 1 else ""
                shown = points[1:]
                axis.loglog([r["size"] for r in shown], [r[cost] for r in shown], marker="o", markersize=4,
                            color=colour, label=f"{kind.split(',')[0]}{slope}")  # fmt: skip
                if size != "subproblems":
                    axis.set_xticks([r["size"] for r in shown], [f"{r['size']}" for r in shown])
                    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axis.set_yscale("log", base=2, subs=(1.25, 1.5, 1.75) if cost == "peak MB" else None)
            axis.yaxis.set_major_formatter("{x:.3g}")
            axis.yaxis.set_minor_formatter("{x:.3g}" if cost == "peak MB" else "")
            axis.tick_params(axis="y", which="both", labelsize="small")
            axis.set_ylabel(cost)
            axis.grid(color="#e3e7eb", linewidth=0.8)
            axis.legend(frameon=False, fontsize="small")
        axes[1][column].set_xlabel(size)
    with rc_context({"svg.hashsalt": "torchlean", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="keep table and plot under bench/results")
    options = parser.parse_args()
    if options.call:
        what, network, folder = options.call
        found = walk(Network(**json.loads(network)), Path(folder)) if what == "walk" else root(Path(folder))
        print(json.dumps(found))
        return
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory(prefix="torchlean-scaling-") as folder:
        for row in Bench(Path(folder)).rows():
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    summary = {**exponents(rows), "load at the start and the end": f"{load:.2f}, {os.getloadavg()[0]:.2f}"}
    report("scaling", rows, summary, options.write)
    if options.write:
        plot(rows, RESULTS / "scaling.svg")


if __name__ == "__main__":
    run(main)
