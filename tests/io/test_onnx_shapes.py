"""Integers folded while a model is read: exactly, over symbols too; what depends on a run's sizes is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from torchlean.errors import Unsupported
from torchlean.io.onnx.known import FOLDS, Known
from torchlean.ir import symbol

N, M = symbol("n"), symbol("m")
BIG = 2**62


def fold(op: str, *inputs: Any, **attrs: Any) -> Known:
    return FOLDS[op]("here", attrs, *(i if isinstance(i, Known) else Known.of(i) for i in inputs))


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"),
    [
        ("Add", ([N, 2], [1, M]), {}, (N + 1, M + 2)),
        ("Sub", ([N, 5], [N, 7]), {}, (0, -2)),
        ("Mul", ([N, 3], [M, -2]), {}, (N * M, -6)),
        ("Mul", ([BIG], [4]), {}, (BIG * 4,)),
        ("Mul", ([N, 3], [2]), {}, (N * 2, 6)),
        ("Div", ([6 * N, 7, -7, 7], [2, 2, 2, -2]), {}, (3 * N, 3, -3, -3)),
        ("Div", ([N + 1], [2]), {}, ((N + 1) // 2,)),
        ("Equal", ([N, 3, 3, N], [N, 3, 4, -1]), {}, (True, True, False, False)),
        ("Where", ([True, False], [N, 1], [2, M]), {}, (N, M)),
        ("Gather", ([4, N, 6], [1, -1]), {"axis": 0}, (N, 6)),
        ("Concat", ([4, N], [-1]), {"axis": 0}, (4, N, -1)),
        ("Neg", ([N, 2],), {}, (-N, -2)),
        ("ReduceProd", ([N, 2, 3],), {"keepdims": 1, "axes": None}, (6 * N,)),
        ("Range", ([2], [9], [3]), {}, (2, 5, 8)),
    ],
)
def test_a_fold(op: str, inputs: tuple[Any, ...], attrs: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = fold(op, *inputs, **attrs)
    assert found.sizes == expected
    assert [type(v) for v in found.sizes] == [type(v) for v in expected]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Equal", ([N], [3])),
        ("Equal", ([N], [M])),
        ("Div", ([3], [N])),
        ("Div", ([3], [0])),
        ("Range", ([0], [N], [1])),
    ],
)
def test_what_depends_on_a_run_is_refused(op: str, inputs: tuple[Any, ...]) -> None:
    with pytest.raises(Unsupported, match="static shape"):
        fold(op, *inputs)


def test_arrays_keep_their_shape_and_dtype() -> None:
    known = Known.of(np.array([[1, 2], [3, 4]], np.int32))
    assert known.values.shape == (2, 2) and known.dtype == "int32" and known.static
    assert fold("Add", known, known).dtype == "int32"
    assert fold("Equal", known, known).dtype == "bool"
    assert not Known.of([N]).static
