"""torch, node by node, on the CPU or a CUDA device."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from torchlean.errors import Unsupported
from torchlean.ir import Graph
from torchlean.ir.types import numpy_dtype
from torchlean.run.arithmetic import standard_arithmetic
from torchlean.run.promises import Arrays, Observe, Run
from torchlean.run.schedule import Schedule, schedule


@lru_cache(maxsize=64)
def eager_schedule(graph: Graph) -> Schedule:
    """The schedule of a graph, kept for the graphs run last."""
    return schedule(graph)


def torch_namespace(device: str) -> tuple[Any, Any]:
    """(array namespace, torch).

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
    return xp, torch


def without_tf32(torch: Any) -> None:
    """TF32 off for the rest of the process: for searches and training, which make no promise."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def on(device: str) -> Run:
    """The executor of a device, under `standard_arithmetic`."""

    def run(graph: Graph, values: Arrays, observe: Observe | None) -> dict[str, np.ndarray]:
        xp, torch = torch_namespace(device)
        plan = eager_schedule(graph)
        watch = None if observe is None else (lambda number, found: observe(number, tuple(map(_to_numpy, found))))
        with standard_arithmetic(torch), torch.no_grad(), torch.device(device):
            arrays = {name: _to_torch(torch, np.array(v)).to(device) for name, v in values.items()}
            answer = plan.run(xp, arrays, watch)
            return {name: _to_numpy(v) for name, v in answer.items()}

    return run


_CARRIERS = {1: "uint8", 2: "int16"}  # what takes the bits of ml_dtypes' small floats between the libraries


def _is_small(name: str) -> bool:
    return name == "bfloat16" or name.startswith("float8")


def _to_torch(torch: Any, x: np.ndarray) -> Any:
    """A tensor of the same bits."""
    if not _is_small(x.dtype.name):
        return torch.from_numpy(x)
    bits = np.ascontiguousarray(x).view(_CARRIERS[x.dtype.itemsize]).reshape(x.shape)
    return torch.from_numpy(bits).view(getattr(torch, x.dtype.name))


def _to_numpy(x: Any) -> np.ndarray:
    import torch

    x, name = x.detach().cpu(), str(x.dtype).removeprefix("torch.")
    if not _is_small(name):
        return np.asarray(x.numpy())
    bits = x.contiguous().view(getattr(torch, _CARRIERS[x.element_size()])).numpy()
    return np.asarray(bits.view(numpy_dtype(name)).reshape(tuple(x.shape)))
