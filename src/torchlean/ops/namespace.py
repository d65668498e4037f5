"""What a `lower` may ask of its array namespace beyond the array standard: numpy's form or torch's.

`xp` is numpy, or torch through array-api-compat. torch is imported only where a torch array is at hand.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np


def is_torch(xp: Any) -> bool:
    """Whether `xp` is torch."""
    return str(xp.__name__).endswith("torch")


def functional() -> Any:
    """torch.nn.functional."""
    import torch

    return torch.nn.functional


def dtype_in(xp: Any, name: str) -> Any:
    """The dtype of `xp` that numpy calls `name`."""
    if is_torch(xp):
        return getattr(xp, name)
    from torchlean.ir.types import numpy_dtype

    return numpy_dtype(name)


def cast_to(xp: Any, x: Any, name: str) -> Any:
    """x in the dtype that numpy calls `name`."""
    return x.to(dtype_in(xp, name)) if is_torch(xp) else x.astype(dtype_in(xp, name))


def array_like(xp: Any, values: np.ndarray, x: Any) -> Any:
    """A numpy array in the dtype and on the device of x."""
    if is_torch(xp):
        return xp.asarray(np.array(values)).to(x)
    return values.astype(x.dtype)


def take(xp: Any, x: Any, indices: Any, axis: int) -> Any:
    """np.take for indices of any rank: their axes stand in the place of `axis`."""
    if not is_torch(xp):
        return np.take(x, indices, axis=axis)
    at = axis % x.ndim
    found = x.index_select(at, _from_the_front(xp, indices.reshape(-1), x.shape[at]))
    return found.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])


def _from_the_front(xp: Any, indices: Any, size: int) -> Any:
    return xp.where(indices < 0, indices + size, indices).long()


def add_at(xp: Any, x: Any, indices: Any, axis: int, size: int) -> Any:
    """Zeros with `size` entries along `axis`; the slices of x are added to theirs, in index order on numpy and
    torch CPU.
    """
    at = axis % x.ndim
    shape = (*x.shape[:at], size, *x.shape[at + 1 :])
    if is_torch(xp):
        return x.new_zeros(shape).index_add(at, _from_the_front(xp, indices, size), x)
    out = np.zeros(shape, x.dtype)
    np.add.at(np.moveaxis(out, at, 0), indices, np.moveaxis(x, at, 0))
    return out


def pad_spatial(xp: Any, x: Any, low: tuple[int, ...], high: tuple[int, ...], value: float = 0.0) -> Any:
    """The trailing axes padded with `value`; a negative width crops."""
    if all(a == 0 for a in (*low, *high)):
        return x
    if is_torch(xp):
        pairs = zip(reversed(low), reversed(high), strict=True)
        return functional().pad(x, [w for pair in pairs for w in pair], value=value)
    lead = x.ndim - len(low)
    crop = tuple(slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(low, high, x.shape[lead:], strict=True))
    widths = [(0, 0)] * lead + [(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True)]
    return np.pad(x[(..., *crop)], widths, constant_values=value)


def window_view(
    x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> np.ndarray:
    """Every window of the trailing axes, without copying: [*b, *sp] -> [*b, *out, *kernel]."""
    lead = x.ndim - len(kernel)
    out = tuple(
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[lead:], kernel, stride, dilation, strict=True)
    )
    steps = x.strides[lead:]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:lead], *out, *kernel),
        (
            *x.strides[:lead],
            *(a * s for a, s in zip(steps, stride, strict=True)),
            *(a * d for a, d in zip(steps, dilation, strict=True)),
        ),
        writeable=False,
    )


def merge_lead(xp: Any, x: Any, trailing: int) -> Any:
    """[*b, *sp] -> [prod(b), 1, *sp]: what library pooling takes."""
    lead = x.ndim - trailing
    return xp.reshape(x, (prod(x.shape[:lead]), 1, *x.shape[lead:]))
