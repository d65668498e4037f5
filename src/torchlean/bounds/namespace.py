"""The array namespaces that a walk runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from torchlean.errors import UsageError

Put = Callable[..., Any]


def namespace(device: str | None) -> tuple[Any, Put]:
    """(namespace, put): `put(array)` moves a float array there in its float dtype, `put(array, exact=True)` as it is.

    device   None: numpy, float64; `cpu`: torch, float64; `cuda`: torch, float32, without TF32
    Raises   UsageError for another name; Unsupported where there is no CUDA device.
    """
    if device is None:
        from array_api_compat import numpy as xp

        return xp, lambda array, exact=False: np.asarray(array) if exact else np.asarray(array, np.float64)
    if device not in ("cpu", "cuda"):
        raise UsageError(
            "no such device", where="bounds", expected="None, 'cpu' or 'cuda'", got=repr(device), fix="device='cpu'"
        )
    from torchlean.run.eager import torch_namespace, without_tf32

    xp, torch = torch_namespace(device)
    without_tf32(torch)
    floats = torch.float32 if device == "cuda" else torch.float64

    def put(array: Any, exact: bool = False) -> Any:
        tensor = torch.as_tensor(np.array(array), device=device)
        return tensor if exact else tensor.to(floats)

    return xp, put
