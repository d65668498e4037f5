"""What share of its time a device is busy while a search branches and bounds, from profiles of its kernels.

    python bench/busy.py MODEL.onnx PROPERTY.vnnlib [--timeout S] [--every S] [--seconds S] [--windows N] [--write NAME]

The first window begins EVERY seconds after the first case was taken up, the others as long after the end of the one
before (its profile is read in between, which takes the search some seconds). Busy is the union of the times of all
kernels, copies and fills over the wall time of the window; the profiler's own cost is in it.

Prediction: several batches of cases side by side keep a device over 80 % busy where one after the other left it idle
for three quarters of the time: what the host does for one batch then stands beside what the device does for another.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from table import report, run
from torchlean.files import read_bytes
from torchlean.verify.advance import Advance
from torchlean.verify.files import verify_files

KINDS = ("kernel", "gpu_memcpy", "gpu_memset")


def union(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what some intervals cover together."""
    total, end = 0.0, float("-inf")
    for a, b in sorted(spans):
        total, end = total + max(0.0, b - max(a, end)), max(end, b)
    return total


def window(seconds: float) -> dict[str, Any]:
    """What the device did meanwhile."""
    import torch

    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    profile.start()
    begun = time.perf_counter()
    time.sleep(seconds)
    wall = time.perf_counter() - begun
    profile.stop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("cat") in KINDS]
    busy = union((e["ts"], e["ts"] + e["dur"]) for e in events) / 1e6
    return {"seconds": wall, "busy": busy, "share": busy / wall, "operations": len(events)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("property", type=Path)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--every", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--write", metavar="NAME")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: there is nothing to be busy")
    began, over, rows = threading.Event(), threading.Event(), list[dict[str, Any]]()
    own = Advance.__call__

    def called(self: Advance, batch: Any) -> Any:
        began.set()
        return own(self, batch)

    def watch() -> None:
        began.wait()
        start = time.perf_counter()
        while len(rows) < options.windows and not over.wait(options.every):
            at = time.perf_counter() - start
            found = window(options.seconds)
            if not over.is_set():
                rows.append({"after": at, **found})
                print(rows[-1], flush=True)

    Advance.__call__ = called  # type: ignore[method-assign]
    threading.Thread(target=watch, daemon=True).start()
    verdict = verify_files(read_bytes(options.model), read_bytes(options.property), options.timeout)
    over.set()
    wall = sum(row["seconds"] for row in rows)
    summary = {
        "instance": f"{options.model.stem}, {options.property.stem}",
        "verdict": f"{verdict.status.value} after {verdict.seconds:.0f} s",
        "share of all windows": f"{sum(row['busy'] for row in rows) / wall:.3f}" if wall else "none was whole",
    }
    report(options.write or "busy", rows, summary, bool(options.write))


if __name__ == "__main__":
    run(main)
