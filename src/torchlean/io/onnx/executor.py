"""onnxruntime's CPU provider as an executor: the graph is written as ONNX and run without any rewriting."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from torchlean.errors import Unsupported
from torchlean.io.onnx.exporter import write_onnx
from torchlean.ir import Graph
from torchlean.run.program import Program
from torchlean.run.promises import Arrays, Executor, Observe


def _runtime() -> Any:
    """The package. Raises Unsupported where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise Unsupported(
            "onnxruntime is not installed",
            where="executor onnxruntime",
            expected="the package onnxruntime",
            got="no such package",
            fix="pip install 'torchlean[onnxruntime]', or leave the executor out",
        ) from None
    return onnxruntime


@lru_cache(maxsize=64)
def _session(graph: Graph) -> Any:
    """One thread, every graph optimisation off, subnormals kept.

    Raises   Unsupported for an op or dtype without an ONNX form or a kernel.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.set_denormal_as_zero", "0")
    raw = write_onnx(Program(graph))
    errors = runtime.capi.onnxruntime_pybind11_state
    try:
        return runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except (errors.NotImplemented, errors.Fail, errors.InvalidGraph) as problem:
        raise Unsupported(
            "onnxruntime has no kernel for this",
            where="executor onnxruntime",
            expected="ops and dtypes of its CPU provider",
            got=str(problem).splitlines()[0],
            fix="leave the executor out, or use another dtype",
        ) from None


def _run(graph: Graph, values: Arrays, observe: Observe | None) -> dict[str, np.ndarray]:
    if observe is not None:
        raise Unsupported(
            "onnxruntime does not show a graph's inner values",
            where="executor onnxruntime",
            expected="observe=None",
            got="an observer",
            fix="run the nodes one by one: tl.agree(program, inputs, on=[ONNXRUNTIME])",
        )
    if any(t.dtype.name == "bf16" for node in graph.nodes for t in node.types):
        raise Unsupported(
            "onnxruntime's Python interface has no bfloat16",
            where="executor onnxruntime",
            expected="a program without bf16",
            got="bf16 values",
            fix="leave the executor out, or retype the program to f32",
        )
    session = _session(graph)
    found = session.run(None, {name: np.asarray(v) for name, v in values.items()})
    return {name: np.asarray(v) for name, v in zip((n for n, _ in graph.outputs), found, strict=True)}


ONNXRUNTIME = Executor(
    "onnxruntime",
    _run,
    _runtime,
    exact=False,
    deterministic=True,
    subnormals="kept",
    accumulation="at least float32, any order",
    materialises_once=True,
    off=("graph optimisations", "flush to zero", "more than one thread"),
    measured="onnxruntime 1.32.0, CPU provider (MLAS) on x86-64 with AVX2",
    special={
        "max": "leaves NaN out",
        "min": "leaves NaN out",
        "argmax": "leaves NaN out",
        "max_pool": "leaves NaN out, and has the largest negative number in place of -inf",
        "clip": "has the largest finite numbers in place of absent limits",
        "leaky_relu": "chooses by the sign, so that 0 times infinity is not formed",
        "quantize": "has the least code in place of 0 for NaN",
    },
    exceptions=dict.fromkeys(
        ("conv_weight_grad", "avg_pool_transpose", "scatter_add", "round_to", "log1p", "expm1", "silu"),
        "not run: it has no ONNX operator",
    ),
)
