"""torch's switches of float32 arithmetic: set to what the executors promise, and put back.

Off inside `standard_arithmetic`: TF32 and bfloat16 products (cuBLAS, cuDNN, oneDNN), reduced-precision sums of half
products, autocast, and the libraries that may choose a Winograd or FFT convolution (cuDNN, NNPACK). torch has no switch
for the algorithm alone, so those two are left out as a whole; oneDNN is asked by torch for direct convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_REDUCTIONS = ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")


@contextmanager
def standard_arithmetic(torch: Any) -> Iterator[None]:
    """The settings under which `promises` holds; on leaving, every setting is what it was. Process-wide while inside.

    torch keeps each precision twice, as an old flag and as a new one, and refuses to run (or to tell) where the two
    differ; both are set and both are restored.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    precisions = (matmul, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    new = [p.fp32_precision for p in precisions]
    old_matmul, old_cudnn = _old_matmul(torch), _old_cudnn(torch)
    halves = [(name, _reduction(matmul, name)) for name in _REDUCTIONS]
    accumulation, library = matmul.allow_fp16_accumulation, cudnn.enabled
    try:
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32 = False
        for p in precisions:
            p.fp32_precision = "ieee"
        for name, _ in halves:
            setattr(matmul, name, False)
        matmul.allow_fp16_accumulation = False
        cudnn.enabled = False
        (nnpack,) = torch.backends.nnpack.set_flags(False)
        try:
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                yield
        finally:
            torch.backends.nnpack.set_flags(nnpack)
    finally:
        cudnn.enabled = library
        matmul.allow_fp16_accumulation = accumulation
        for name, value in halves:
            setattr(matmul, name, value)
        torch.set_float32_matmul_precision(old_matmul)
        cudnn.allow_tf32 = old_cudnn
        for p, value in zip(precisions, new, strict=True):
            p.fp32_precision = value


def _old_matmul(torch: Any) -> str:
    """The old flag of matrix products, which can be read only while the new ones agree with it."""
    cuda, onednn = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    for cuda.fp32_precision, onednn.fp32_precision in (("ieee", "ieee"), ("tf32", "tf32"), ("tf32", "bf16")):
        try:
            return str(torch.get_float32_matmul_precision())
        except RuntimeError:
            continue
    return "highest"


def _old_cudnn(torch: Any) -> bool:
    """The old flag of convolutions, in the same way."""
    cudnn = torch.backends.cudnn
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"
    try:
        return bool(cudnn.allow_tf32)
    except RuntimeError:
        return False


def _reduction(matmul: Any, name: str) -> Any:
    """The flag and, where this torch has it, its companion for split sums."""
    value = getattr(matmul, name)
    try:
        return value, getattr(matmul, f"{name}_split_k")
    except AttributeError:
        return value
