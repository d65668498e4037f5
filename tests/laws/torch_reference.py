"""Every op in PyTorch's own words, written without looking at `lower`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _padded(x: Tensor, padding: Any, value: float = 0.0) -> Tensor:
    return F.pad(x, [w for pair in reversed(padding) for w in pair], value=value)


def _conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    function = (F.conv1d, F.conv2d, F.conv3d)[len(stride) - 1]
    return function(_padded(x, padding), w, b, stride=stride, dilation=dilation, groups=groups)


def _transposed(function: Callable[..., Tensor], at: Tensor, cotangent: Tensor) -> Tensor:
    """The transpose of a linear function, from PyTorch's own derivative; differentiable again."""
    at = torch.zeros_like(at, requires_grad=True)
    (found,) = torch.autograd.grad(function(at), at, cotangent, create_graph=True)
    return found


def _conv_transpose(x: Tensor, w: Tensor, *, size: Any, **attrs: Any) -> Tensor:
    like = x.new_zeros((x.shape[0], w.shape[1] * attrs["groups"], *size))
    return _transposed(lambda t: _conv(t, w, **attrs), like, x)


def _conv_weight_grad(x: Tensor, y: Tensor, *, kernel: Any, **attrs: Any) -> Tensor:
    like = x.new_zeros((y.shape[1], x.shape[1] // attrs["groups"], *kernel))
    return _transposed(lambda t: _conv(x, t, **attrs), like, y)


def _windows(x: Tensor, kernel: Any, stride: Any) -> Tensor:
    first = x.dim() - len(kernel)
    for i, (k, s) in enumerate(zip(kernel, stride, strict=True)):
        x = x.unfold(first + i, k, s)
    return x


def _avg_pool(x: Tensor, *, kernel: Any, stride: Any, padding: Any, count_include_pad: bool) -> Tensor:
    dims = tuple(range(-len(kernel), 0))
    total = _windows(_padded(x, padding), kernel, stride).sum(dim=dims)
    ones = torch.ones_like(x)
    count = _windows(_padded(ones, padding, 1.0 if count_include_pad else 0.0), kernel, stride).sum(dim=dims)
    return total / count


def _avg_pool_transpose(x: Tensor, *, size: Any, **attrs: Any) -> Tensor:
    like = x.new_zeros((*x.shape[: x.dim() - len(size)], *size))
    return _transposed(lambda t: _avg_pool(t, **attrs), like, x)


def _max_pool(x: Tensor, *, kernel: Any, stride: Any, padding: Any) -> Tensor:
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    return function(_padded(x, padding, -torch.inf), kernel, stride)


def _slice(x: Tensor, *, starts: Any, stops: Any, steps: Any) -> Tensor:
    return x[(..., *(slice(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True)))]


def _max(x: Tensor, *, axes: Any, keepdims: bool) -> Tensor:
    axes = sorted(a % x.dim() for a in axes)
    rest = [a for a in range(x.dim()) if a not in axes]
    moved = x.permute(*rest, *axes).reshape(*(x.shape[a] for a in rest), -1).max(dim=-1).values
    return moved.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else moved


def _min(x: Tensor, *, axes: Any, keepdims: bool) -> Tensor:
    return -_max(-x, axes=axes, keepdims=keepdims)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gather(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    at = axis % x.dim()
    return x[(*(slice(None) for _ in range(at)), indices.long())]


def _scatter_add(x: Tensor, indices: Tensor, *, axis: int, size: int) -> Tensor:
    at = axis % x.dim()
    return x.new_zeros((*x.shape[:at], size, *x.shape[at + 1 :])).index_add(at, indices, x)


def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    at = tuple(i.long() for i in indices.unbind(-1))
    hit = torch.zeros(x.shape[: len(at)], dtype=torch.bool)
    hit[at] = True
    kept = torch.where(hit.reshape(*hit.shape, *(1,) * (x.dim() - len(at))), torch.zeros_like(x), x)
    return kept.index_put(at, updates, accumulate=True)


def _resize_linear(x: Tensor, *, size: Any, align: str) -> Tensor:
    if align == "asymmetric":
        return x[..., ::2]  # every other entry, exactly: the case that is tried
    return F.interpolate(x, size, mode=("linear", "bilinear")[len(size) - 1], align_corners=align == "align_corners")


def _resize_nearest(x: Tensor, *, size: Any, mode: str, align: str) -> Tensor:
    """By the rule that ONNX states, in float64: PyTorch has some of its forms only."""
    for axis, new in zip(range(-len(size), 0), size, strict=True):
        old = x.shape[axis]
        i = torch.arange(new, dtype=torch.float64)
        at = {
            "half_pixel": (i + 0.5) * old / new - 0.5, "asymmetric": i * old / new,
            "align_corners": i * (old - 1) / max(new - 1, 1),
        }[align]  # fmt: skip
        near = {
            "floor": torch.floor(at), "ceil": torch.ceil(at), "round_prefer_floor": torch.ceil(at - 0.5),
            "round_prefer_ceil": torch.floor(at + 0.5),
        }[mode]  # fmt: skip
        x = x.index_select(axis % x.dim(), near.clamp(0, old - 1).long())
    return x


def _layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _batch_norm(x: Tensor, *vectors: Tensor, epsilon: float) -> Tensor:
    scale, bias, mean, var = vectors
    if any(t.requires_grad for t in vectors):  # PyTorch's own refuses to differentiate by mean and var
        s, b, m, v = (t.reshape(1, -1, *([1] * (x.dim() - 2))) for t in vectors)
        return s * (x - m) / torch.sqrt(v + epsilon) + b
    return F.batch_norm(x, mean, var, scale, bias, training=False, eps=epsilon)


def _scan(carry: Tensor, xs: Tensor, w: Tensor, **attrs: Any) -> tuple[Tensor, Tensor]:
    found = []
    for x in xs:
        carry = carry * w + x
        found.append(carry * 2)
    return carry, torch.stack(found)


SMALL = {
    "bf16": (torch.bfloat16, 3.3895313892515355e38),
    "f16": (torch.float16, 65504.0),
    "f8e4m3": (torch.float8_e4m3fn, 448.0),
    "f8e5m2": (torch.float8_e5m2, 57344.0),
}


def _round_to(x: Tensor, *, dtype: Any, overflow: str) -> Tensor:
    small, largest = SMALL[str(dtype)]
    inside = torch.clamp(x, -largest, largest) if overflow == "saturate" else x
    # The gradient passes as it is: PyTorch's own cast would round it onto the grid, too.
    return inside.to(small).to(x.dtype).detach() + (inside - inside.detach())


def _channel(v: Tensor, axis: int | None) -> Tensor:
    return v if axis is None else v.reshape(-1, *(1,) * (-axis - 1))


def _quantize(x: Tensor, scale: Tensor, zero_point: Tensor, *, lo: int, hi: int, axis: int | None) -> Tensor:
    codes = torch.round(x / _channel(scale, axis)) + _channel(zero_point, axis)
    return torch.clamp(codes, lo, hi).to(zero_point.dtype)


def _dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int | None) -> Tensor:
    return (codes.to(scale.dtype) - _channel(zero_point, axis)) * _channel(scale, axis)


DTYPES = {"f32": torch.float32, "f64": torch.float64, "i32": torch.int32}

REFERENCE: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "square": torch.square,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": F.mish,
    "elu": lambda x, *, alpha: F.elu(x, alpha),
    "sign": torch.sign,
    "reciprocal": torch.reciprocal,
    "power": lambda x, *, exponent: torch.pow(x, exponent),
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "relu": torch.relu,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "less": torch.lt,
    "less_equal": torch.le,
    "equal": torch.eq,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "where": torch.where,
    "cast": lambda x, *, dtype: x.to(DTYPES[str(dtype)]),
    "clip": lambda x, *, lo, hi: torch.clamp(x, lo, hi),
    "round": torch.round,
    "round_to": _round_to,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "leaky_relu": lambda x, *, slope: F.leaky_relu(x, slope),
    "matmul": torch.matmul,
    "linear": F.linear,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "conv_weight_grad": _conv_weight_grad,
    "avg_pool": _avg_pool,
    "avg_pool_transpose": _avg_pool_transpose,
    "max_pool": _max_pool,
    "sum": lambda x, *, axes, keepdims: torch.sum(x, dim=axes, keepdim=keepdims),
    "mean": lambda x, *, axes, keepdims: torch.mean(x, dim=axes, keepdim=keepdims),
    "max": _max,
    "min": _min,
    "argmax": lambda x, *, axis: torch.argmax(x, dim=axis),
    "reshape": lambda x, *, shape: torch.reshape(x, shape),
    "flatten": lambda x: torch.flatten(x, 1),
    "permute": lambda x, *, axes: torch.permute(x, axes),
    "broadcast": lambda x, *, shape: x.expand(shape),
    "slice": _slice,
    "pad": lambda x, *, low, high, value: _padded(x, list(zip(low, high, strict=True)), value),
    "concat": lambda *xs, axis: torch.cat(xs, dim=axis),
    "gather": _gather,
    "scatter_add": _scatter_add,
    "one_hot": lambda i, *, depth, dtype: torch.eye(depth + 1, dtype=DTYPES[dtype])[
        torch.where(i < depth, i % depth, depth).long()
    ][..., :depth],
    "scatter_nd": _scatter_nd,
    "resize_linear": _resize_linear,
    "resize_nearest": _resize_nearest,
    "layer_norm": _layer_norm,
    "rms_norm": lambda x, scale, *, axis, epsilon: F.rms_norm(x, x.shape[axis:], scale, epsilon),
    "attention": lambda q, k, v, mask=None, *, scale: F.scaled_dot_product_attention(q, k, v, mask, scale=scale),
    "softmax": lambda x, *, axis: torch.softmax(x, dim=axis),
    "log_softmax": lambda x, *, axis: torch.log_softmax(x, dim=axis),
    "batch_norm": _batch_norm,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "cross_entropy": F.cross_entropy,
    "call": lambda a, b, **attrs: (a + b) * b,
    "custom_vjp": lambda a, b, **attrs: (a + b) * b,
    "scan": _scan,
    "detach": lambda x: x.detach(),
    "barrier": lambda x: x.clone(),
}
