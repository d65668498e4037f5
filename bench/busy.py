"""What share of its time a device is busy while a search branches and bounds, by counters of the device.

    python bench/busy.py MODEL.onnx PROPERTY.vnnlib [--timeout S] [--stop S] [--every S] [--lanes N] [--write NAME]

Each second of which cases were in hand throughout (advance.py) counts; what stands between, such as passes at the root
for the clauses that are left, does not. `engine` is how long the device's compute engine had work, by NVML's counters
(NVML_GPM_METRIC_GRAPHICS_UTIL; Hopper and later), `multiprocessors` the mean share of them that had some, `driver` the
time in which some kernel ran, by the driver's own samples (nvidia-smi's). A tracer of each kernel would take part of
what it measures: a launch is as short as what it writes down.

Prediction: several batches of cases side by side keep a device over 80 % busy where one after the other left it idle
for three quarters of the time: what the host does for one batch then stands beside what the device does for another.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from table import report, run
from torchlean.files import read_bytes
from torchlean.verify import clauses
from torchlean.verify.advance import Advance
from torchlean.verify.clock import Deadline
from torchlean.verify.files import verify_files

SECONDS, OFTEN = 1.0, 5  # of a sample of the counters, in which the driver is asked so often


class Counters:
    """Counters of the device that torch computes on. `rows` has a sample for each second: begin, end, and shares."""

    def __init__(self) -> None:
        import pynvml
        import torch

        self.nvml = pynvml
        pynvml.nvmlInit()
        self.device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        try:
            self.counts = bool(pynvml.nvmlGpmQueryDeviceSupport(self.device).isSupportedDevice)
            self.ends = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
            pynvml.nvmlGpmSampleGet(self.device, self.ends[0])
        except pynvml.NVMLError:
            self.counts = False
        self.rows: list[dict[str, float]] = []

    def run(self) -> None:
        """Take samples until the process ends."""
        begun = time.monotonic()
        while True:
            rates = []
            for _ in range(OFTEN):
                time.sleep(SECONDS / OFTEN)
                rates.append(self.nvml.nvmlDeviceGetUtilizationRates(self.device).gpu / 100)
            engine, processors = self._counted() if self.counts else (float("nan"), float("nan"))
            ended = time.monotonic()
            found = {"engine": engine, "multiprocessors": processors, "driver": float(np.mean(rates))}
            self.rows.append({"begun": begun, "ended": ended, **found})
            begun = ended

    def _counted(self) -> tuple[float, float]:
        """Since the last time."""
        nvml, (last, now) = self.nvml, self.ends
        nvml.nvmlGpmSampleGet(self.device, now)
        asked = nvml.c_nvmlGpmMetricsGet_t()
        asked.version, asked.numMetrics = nvml.NVML_GPM_METRICS_GET_VERSION, 2
        asked.sample1, asked.sample2 = last, now
        asked.metrics[0].metricId = nvml.NVML_GPM_METRIC_GRAPHICS_UTIL
        asked.metrics[1].metricId = nvml.NVML_GPM_METRIC_SM_UTIL
        nvml.nvmlGpmMetricsGet(asked)
        self.ends = now, last
        return asked.metrics[0].value / 100, asked.metrics[1].value / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("property", type=Path)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--stop", type=float, default=float("inf"), help="seconds after the first case, and no verdict")
    parser.add_argument("--lanes", type=int, default=clauses.LANES, help="batches of cases side by side")
    parser.add_argument("--every", type=float, default=10.0, help="seconds of a row of the table")
    parser.add_argument("--write", metavar="NAME")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: there is nothing to be busy")
    try:
        counters = Counters()
    except ImportError:
        raise SystemExit("the counters need NVML: pip install nvidia-ml-py") from None
    threading.Thread(target=counters.run, daemon=True).start()
    calls, own, deadline = list[tuple[float, float]](), Advance.__call__, Deadline(options.timeout)
    clauses.LANES = options.lanes

    def called(self: Advance, batch: Any) -> Any:
        begun = time.monotonic()
        try:
            return own(self, batch)
        finally:
            calls.append((begun, time.monotonic()))
            if time.monotonic() - min(a for a, _ in calls) > options.stop:
                deadline.end = -np.inf

    Advance.__call__ = called  # type: ignore[method-assign]
    verdict = verify_files(read_bytes(options.model), read_bytes(options.property), deadline=deadline)
    if not calls:
        raise SystemExit(f"nothing was branched: {verdict.status.value} after {verdict.seconds:.0f} s")
    in_hand = merged(calls)
    start = in_hand[0][0]
    inside = [row for row in counters.rows if any(a <= row["begun"] and row["ended"] <= b for a, b in in_hand)]
    names = ("engine", "multiprocessors", "driver")
    rows = []
    for part in sorted({int((row["begun"] - start) // options.every) for row in inside}):
        mine = [row for row in inside if int((row["begun"] - start) // options.every) == part]
        rows.append({"after": part * options.every, "seconds": sum(row["ended"] - row["begun"] for row in mine),
                     **{name: float(np.mean([row[name] for row in mine])) for name in names}})  # fmt: skip
    summary = {
        "lanes": f"{options.lanes}",
        "instance": f"{options.model.stem}, {options.property.stem}",
        "verdict": f"{verdict.status.value} after {verdict.seconds:.0f} s",
        "seconds with cases in hand": f"{sum(b - a for a, b in in_hand):.0f}",
        **{f"{name}, mean": f"{np.mean([row[name] for row in inside]):.3f}" for name in names if inside},
    }
    report(options.write or "busy", rows, summary, bool(options.write))


def merged(calls: list[tuple[float, float]], apart: float = 0.1) -> list[tuple[float, float]]:
    """The times in which some call went on, or the next began soon."""
    found: list[tuple[float, float]] = []
    for a, b in sorted(calls):
        if found and a <= found[-1][1] + apart:
            found[-1] = found[-1][0], max(found[-1][1], b)
        else:
            found.append((a, b))
    return found


if __name__ == "__main__":
    run(main)
