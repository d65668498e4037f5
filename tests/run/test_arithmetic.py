"""torch's switches: what the executors run under, and that everything is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from torchlean import ops
from torchlean.ir import f32, trace
from torchlean.run.arithmetic import standard_arithmetic
from torchlean.run.execute import execute

B = torch.backends


def told(read: Callable[[], Any]) -> Any:
    """A flag, or that torch refuses to tell it: its old and new forms differ."""
    try:
        return read()
    except RuntimeError:
        return "mixed"


def state() -> dict[str, Any]:
    return {
        "matmul": told(torch.get_float32_matmul_precision),
        "cublas": told(lambda: B.cuda.matmul.allow_tf32),
        "cudnn": told(lambda: B.cudnn.allow_tf32),
        "new": [p.fp32_precision for p in (B.cuda.matmul, B.cudnn.conv, B.cudnn.rnn, B.mkldnn.matmul, B.mkldnn.conv)],
        "fp16": B.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "bf16": B.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "accumulation": B.cuda.matmul.allow_fp16_accumulation,
        "libraries": (B.cudnn.enabled, torch._C._get_nnpack_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Every test leaves torch as it found it."""
    yield
    B.mkldnn.conv.fp32_precision = B.mkldnn.matmul.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    B.cudnn.allow_tf32 = True
    B.cuda.matmul.allow_fp16_reduced_precision_reduction = True
    B.cudnn.enabled = True
    B.nnpack.set_flags(True)


def fast() -> None:
    torch.set_float32_matmul_precision("medium")


def mixed() -> None:
    """The new flags say bfloat16 and IEEE, the old ones highest and TF32."""
    B.mkldnn.matmul.fp32_precision = "bf16"
    B.cudnn.conv.fp32_precision = "ieee"


def halves() -> None:
    B.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    B.cudnn.enabled = False


@pytest.mark.parametrize("choose", [lambda: None, fast, mixed, halves, lambda: B.nnpack.set_flags(False)])
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_off_inside_and_put_back_outside(choose: Callable[[], Any], fails: bool) -> None:
    choose()
    before = state()
    try:
        with standard_arithmetic(torch):
            inside = state()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert state() == before
    assert (inside["matmul"], inside["cublas"], inside["cudnn"]) == ("highest", False, False)
    assert inside["new"] == ["ieee"] * 5 and inside["libraries"] == (False, False)
    assert not (inside["fp16"] or inside["bf16"] or inside["accumulation"])


def test_autocast_does_not_reach_an_executor() -> None:
    graph = trace(ops.ALL, lambda g, x, y: g.matmul(x, y), x=f32[8, 64], y=f32[64, 8])
    rng = np.random.default_rng(3)
    values = {n: rng.standard_normal(t.sizes).astype(np.float32) for n, t in graph.source_types("input").items()}
    (plain,) = execute(graph, values, "eager-cpu").values()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (inside,) = execute(graph, values, "eager-cpu").values()
        assert torch.is_autocast_enabled("cpu")
    assert inside.dtype == np.float32 and inside.tobytes() == plain.tobytes()


def test_a_user_s_bfloat16_products_do_not_reach_an_executor() -> None:
    """Where the processor has bfloat16 products, `medium` changes torch's answer and never the executor's."""
    graph = trace(ops.ALL, lambda g, x, y: g.matmul(x, y), x=f32[64, 64], y=f32[64, 64])
    rng = np.random.default_rng(3)
    values = {n: rng.standard_normal((64, 64)).astype(np.float32) for n in ("x", "y")}
    (plain,) = execute(graph, values, "eager-cpu").values()
    fast()
    (again,) = execute(graph, values, "eager-cpu").values()
    assert again.tobytes() == plain.tobytes()
