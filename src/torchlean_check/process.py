"""Settings of a short numerical process. They change how fast it runs, never what it computes."""

from __future__ import annotations

import ctypes
import gc
import os
import sys


def prepare() -> None:
    """One BLAS thread where numpy is not loaded yet, few collections, and freed pages that stay with the process.

    Products here are small, so threads cost more than they give; arrays hold no cycles; and pages that come and go are
    a tenth of a search's time (glibc only).
    """
    if "numpy" not in sys.modules:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    gc.set_threshold(200_000)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def processors() -> int:
    """How many processors this process may run on (taskset, a container's set), where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
