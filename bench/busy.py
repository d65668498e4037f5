"""What share of its time a device is busy while a search branches and bounds, from a profile of all that it does.

    python bench/busy.py MODEL.onnx PROPERTY.vnnlib [--timeout S] [--stop S] [--every S] [--lanes N] [--write NAME]

Branch and bound is when cases are in hand (advance.py); what stands between, such as passes at the root for the clauses
that are left, is not. Busy is the union of the times of all kernels, copies, fills and recordings (CUDA graphs), by the
timestamps of CUPTI (pip install cupti-python, of the major version of torch's CUDA). A recording counts from its first
operation's start to its last one's end: were each of its operations traced, as torch.profiler does, the tracing would
take longer than the small ones.

Prediction: several batches of cases side by side keep a device over 80 % busy where one after the other left it idle
for three quarters of the time: what the host does for one batch then stands beside what the device does for another.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from table import report, run
from torchlean.files import read_bytes
from torchlean.verify import clauses
from torchlean.verify.advance import Advance
from torchlean.verify.clock import Deadline
from torchlean.verify.files import verify_files

BUFFER = 8 << 20  # bytes of records that are handed over at once

Spans = NDArray[np.int64]  # [N, 2], nanoseconds


def merged(spans: Spans) -> Spans:
    """The same time in intervals that are apart, in their order."""
    spans = spans[np.argsort(spans[:, 0])]
    end = np.maximum.accumulate(spans[:, 1])
    first = np.concatenate([[True], spans[1:, 0] > end[:-1]])[: len(spans)]
    last = np.concatenate([first[1:], [True]])[: len(spans)]
    return np.stack([spans[first, 0], end[last]], axis=1)


def length(spans: Spans) -> float:
    """The seconds that some intervals cover together."""
    found = merged(spans)
    return float((found[:, 1] - found[:, 0]).sum()) / 1e9


def common(one: Spans, other: Spans) -> float:
    """The seconds that both cover."""
    return length(one) + length(other) - length(np.concatenate([one, other]))


class Trace:
    """All that a device does from now on. The device must not be in use yet: a recording that was made before it is
    traced cannot be repeated then."""

    def __init__(self) -> None:
        from cupti import cupti

        kinds = cupti.ActivityKind
        for kind in (kinds.CONCURRENT_KERNEL, kinds.MEMCPY, kinds.MEMSET, kinds.GRAPH_TRACE):
            cupti.activity_enable(kind)
        self.cupti, self.parts = cupti, list[Spans]()
        cupti.activity_register_callbacks(lambda: (BUFFER, 0), self._take)

    def _take(self, records: list[Any]) -> None:
        self.parts.append(np.array([(r.start, r.end) for r in records], np.int64).reshape(-1, 2))

    @property
    def now(self) -> int:
        return int(self.cupti.get_timestamp())

    @property
    def spans(self) -> Spans:
        self.cupti.activity_flush_all(1)
        return np.concatenate([np.zeros((0, 2), np.int64), *self.parts])


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
    try:
        trace = Trace()
    except ImportError:
        raise SystemExit("a profile needs CUPTI: pip install cupti-python") from None
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: there is nothing to be busy")
    calls, own, deadline = list[tuple[int, int]](), Advance.__call__, Deadline(options.timeout)
    clauses.LANES = options.lanes

    def called(self: Advance, batch: Any) -> Any:
        begun = trace.now
        try:
            return own(self, batch)
        finally:
            calls.append((begun, trace.now))
            if trace.now - calls[0][0] > options.stop * 1e9:
                deadline.end = -np.inf

    Advance.__call__ = called  # type: ignore[method-assign]
    verdict = verify_files(read_bytes(options.model), read_bytes(options.property), deadline=deadline)
    if not calls:
        raise SystemExit(f"nothing was branched: {verdict.status.value} after {verdict.seconds:.0f} s")
    spans, cases = merged(trace.spans), merged(np.array(calls, np.int64))
    rows = []
    for start in range(int(cases[0, 0]), int(cases[-1, 1]), int(options.every * 1e9)):
        part = np.clip(cases, start, start + int(options.every * 1e9))
        seconds, busy = length(part), common(part, spans)
        rows.append({"after": (start - int(cases[0, 0])) / 1e9, "seconds": seconds, "busy": busy,
                     "share": busy / seconds if seconds else float("nan")})  # fmt: skip
    summary = {
        "lanes": f"{options.lanes}",
        "instance": f"{options.model.stem}, {options.property.stem}",
        "verdict": f"{verdict.status.value} after {verdict.seconds:.0f} s",
        "branch and bound": f"{length(cases):.1f} s",
        "share of it that the device was busy": f"{common(cases, spans) / length(cases):.3f}",
        "operations": f"{sum(map(len, trace.parts))}",
    }
    report(options.write or "busy", rows, summary, bool(options.write))


if __name__ == "__main__":
    run(main)
