"""Executors by name: `reference`, `eager-cpu`, `eager-cuda`. Each runs a graph and states a promise (`promises.py`)."""

from __future__ import annotations

import numpy as np

from torchlean import floats
from torchlean.errors import UsageError
from torchlean.ir import Graph
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.run import eager
from torchlean.run.promises import Arrays, Executor, Observe


def _reference(graph: Graph, values: Arrays, observe: Observe | None) -> dict[str, np.ndarray]:
    for fmt in (floats.BINARY32, floats.BINARY64):
        floats.hardware.require(fmt)  # numpy's arithmetic is the reference only where it is IEEE 754's
    N = Float()
    carriers = {name: N.constant(np.asarray(v)) for name, v in values.items()}
    watch = None if observe is None else (lambda number, node, found: observe(number, tuple(map(np.asarray, found))))
    return {name: np.asarray(v) for name, v in evaluate(graph, N, carriers, watch).items()}


REFERENCE = Executor(
    "reference",
    _reference,
    lambda: None,
    exact=True,
    deterministic=True,
    subnormals="kept",
    accumulation="the result's format, left to right, no FMA",
    materialises_once=True,
    off=(),
    measured="every machine has the same bits",
)
EAGER_CPU = Executor(
    "eager-cpu",
    eager.on("cpu"),
    lambda: eager.torch_namespace("cpu"),
    exact=False,
    deterministic=True,
    subnormals="kept, unless torch.set_flush_denormal was called",
    accumulation="at least float32, any order",
    materialises_once=True,
    off=("bf16 and TF32 products in oneDNN", "autocast", "NNPACK, which may choose Winograd or FFT convolution"),
    measured="torch 2.13.0 on x86-64 with AVX2; oneDNN 3.12 asked for direct convolution, MKL 2024.2",
)
EAGER_CUDA = Executor(
    "eager-cuda",
    eager.on("cuda"),
    lambda: eager.torch_namespace("cuda"),
    exact=False,
    deterministic=False,
    subnormals="kept",
    accumulation="at least float32, any order",
    materialises_once=True,
    off=(
        "TF32 products in cuBLAS",
        "reduced-precision sums of half products",
        "autocast",
        "cuDNN, which may choose TF32, Winograd or FFT convolution",
    ),
    measured="torch 2.11.0 on an H100: every function of the tolerance table, products and convolutions",
)
EXECUTORS = {e.name: e for e in (REFERENCE, EAGER_CPU, EAGER_CUDA)}


def executor(name: str) -> Executor:
    """The executor of this name; `eager` is `eager-cpu`. Raises UsageError."""
    found = EXECUTORS.get("eager-cpu" if name == "eager" else name)
    if found is None:
        raise UsageError(
            "no such backend",
            where="backend",
            expected=" or ".join(EXECUTORS),
            got=repr(name),
            fix="backend='reference'",
        )
    return found


def execute(
    graph: Graph, values: Arrays, backend: str = "reference", observe: Observe | None = None
) -> dict[str, np.ndarray]:
    """Run a specialised graph on arrays.

    values    an array per input, parameter and state
    observe   called with each node's number and results, as numpy arrays
    Returns   outputs by name, and new state values under `update:NAME`
    Raises    UsageError for an unknown backend; Unsupported where its device is absent, and for `reference` where the
              machine's arithmetic fails the self-test of floats.hardware.
    """
    return executor(backend).run(graph, values, observe)
