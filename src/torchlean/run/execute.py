"""Executors by name: `reference`, `eager-cpu`, `eager-cuda`. Each runs a graph and states a promise (`promises.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from torchlean.errors import Unsupported, UsageError
from torchlean.ir import Graph
from torchlean.ir.types import numpy_dtype
from torchlean.meaning import Float
from torchlean.meaning.evaluate import evaluate
from torchlean.run.schedule import Schedule, schedule

Observe = Callable[[int, tuple[np.ndarray, ...]], None]
BACKENDS = ("reference", "eager-cpu", "eager-cuda")


def execute(
    graph: Graph, values: Mapping[str, np.ndarray], backend: str = "reference", observe: Observe | None = None
) -> dict[str, np.ndarray]:
    """Run a specialised graph on arrays.

    values    an array per input, parameter and state
    observe   called with each node's number and results, as numpy arrays
    Returns   outputs by name, and new state values under `update:NAME`
    Raises    UsageError for an unknown backend; Unsupported where its device is absent.
    """
    if backend == "reference":
        return _reference(graph, values, observe)
    if backend in ("eager", "eager-cpu", "eager-cuda"):
        return _eager(graph, values, "cuda" if backend == "eager-cuda" else "cpu", observe)
    raise UsageError(
        "no such backend", where="backend", expected=" or ".join(BACKENDS), got=repr(backend), fix="backend='reference'"
    )


def _reference(graph: Graph, values: Mapping[str, np.ndarray], observe: Observe | None) -> dict[str, np.ndarray]:
    N = Float()
    carriers = {name: N.constant(np.asarray(v)) for name, v in values.items()}
    watch = None if observe is None else (lambda number, node, found: observe(number, tuple(map(np.asarray, found))))
    return {name: np.asarray(v) for name, v in evaluate(graph, N, carriers, watch).items()}


@lru_cache(maxsize=64)
def eager_schedule(graph: Graph) -> Schedule:
    """The schedule of a graph, kept for the graphs run last."""
    return schedule(graph)


def torch_namespace(device: str) -> tuple[Any, Any]:
    """(array namespace, torch), with reduced-precision products off, as every promise assumes.

    Raises   Unsupported when `device` is cuda and there is none.
    """
    import torch
    from array_api_compat import torch as xp

    if device == "cuda" and not torch.cuda.is_available():
        raise Unsupported(
            "there is no CUDA device",
            where="backend eager-cuda",
            expected="a CUDA device that torch sees",
            got="none",
            fix="use backend='eager-cpu' or --device cpu",
        )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return xp, torch


_BITS = {1: "uint8", 2: "int16"}  # what carries the bits of a small float between the libraries


def _is_small(name: str) -> bool:
    return name == "bfloat16" or name.startswith("float8")


def _to_torch(torch: Any, array: np.ndarray) -> Any:
    """A tensor of the same bits; numpy's small floats are those of ml_dtypes, which torch does not take."""
    if not _is_small(array.dtype.name):
        return torch.from_numpy(array)
    bits = torch.from_numpy(np.ascontiguousarray(array).view(_BITS[array.dtype.itemsize]).reshape(array.shape))
    return bits.view(getattr(torch, array.dtype.name))


def _to_numpy(torch: Any, x: Any) -> np.ndarray:
    name = str(x.dtype).removeprefix("torch.")
    if not _is_small(name):
        array: np.ndarray = x.numpy()
        return array
    bits: np.ndarray = x.contiguous().view(getattr(torch, _BITS[x.element_size()])).numpy()
    return bits.view(numpy_dtype(name)).reshape(tuple(x.shape))


def _eager(
    graph: Graph, values: Mapping[str, np.ndarray], device: str, observe: Observe | None
) -> dict[str, np.ndarray]:
    xp, torch = torch_namespace(device)
    plan = eager_schedule(graph)
    arrays = {name: _to_torch(torch, np.array(v)).to(device) for name, v in values.items()}

    def to_numpy(x: Any) -> np.ndarray:
        return _to_numpy(torch, x.detach().cpu())

    watch = None if observe is None else (lambda number, found: observe(number, tuple(map(to_numpy, found))))
    with torch.no_grad(), torch.device(device):
        answer = plan.run(xp, arrays, watch)
    return {name: to_numpy(v) for name, v in answer.items()}
