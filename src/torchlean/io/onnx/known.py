"""Integers that are known while a model is read: shapes, axes, indices. Folded exactly, never in floating point.

Exporters write a reshape's target as a small graph of Shape, Gather, Concat and arithmetic. Such a graph has no part in
the program's arithmetic, so it is worked out here, over Python ints and symbolic dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchlean.errors import Unsupported
from torchlean.frozen import frozen
from torchlean.ir import Dim, Size


@frozen
class Known:
    """An integer (or bool) tensor whose entries are ints or dimensions: an object array."""

    values: np.ndarray
    dtype: str = "int64"

    @staticmethod
    def of(values: Any, shape: Sequence[int] | None = None, dtype: str = "int64") -> Known:
        """From a list of sizes, or an integer or bool array, whose dtype is kept."""
        if isinstance(values, np.ndarray):
            flat: list[Any] = [v.item() if isinstance(v, np.generic) else v for v in values.reshape(-1)]
            shape = values.shape if shape is None else shape
            dtype = values.dtype.name if values.dtype != object else dtype
        else:
            flat = list(values)
        array = np.empty(len(flat), dtype=object)
        array[:] = flat
        return Known(array.reshape((len(flat),) if shape is None else tuple(shape)), dtype)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The entries in row-major order."""
        return tuple(self.values.reshape(-1))

    @property
    def static(self) -> bool:
        """Whether no entry is symbolic."""
        return all(not isinstance(v, Dim) for v in self.sizes)


Fold = Callable[..., Known]


def _elementwise(function: Callable[[Any, Any], Any], dtype: str | None = None) -> Fold:
    def fold(where: str, attrs: dict[str, Any], x: Known, y: Known) -> Known:
        a, b = np.broadcast_arrays(x.values, y.values)
        return Known.of(
            [function(p, q) for p, q in zip(a.reshape(-1), b.reshape(-1), strict=True)], a.shape, dtype or x.dtype
        )

    return fold


def _divide(where: str, attrs: dict[str, Any], x: Known, y: Known) -> Known:
    """Integer division that truncates, as ONNX's; a dimension is never negative."""

    def divide(p: Any, q: Any) -> Any:
        if isinstance(q, Dim) or q == 0 or (isinstance(p, Dim) and q < 0):
            raise _dynamic(where, f"({p}) / ({q})")
        return p // q if isinstance(p, Dim) else int(abs(p) // abs(q)) * (1 if (p < 0) == (q < 0) else -1)

    return _elementwise(divide)(where, attrs, x, y)


def _equal(where: str, attrs: dict[str, Any], x: Known, y: Known) -> Known:
    def equal(p: Any, q: Any) -> bool:
        if p == q:
            return True
        for a, b in ((p, q), (q, p)):
            if isinstance(a, Dim) and (isinstance(b, Dim) or b >= 0):
                raise _dynamic(where, f"{a} == {b}")  # a symbol may take this size in a run
        return False

    return _elementwise(equal, "bool")(where, attrs, x, y)


def _where(where: str, attrs: dict[str, Any], c: Known, x: Known, y: Known) -> Known:
    a, b, d = np.broadcast_arrays(c.values, x.values, y.values)
    return Known.of(
        [q if p else r for p, q, r in zip(a.reshape(-1), b.reshape(-1), d.reshape(-1), strict=True)], a.shape, x.dtype
    )


def _gather(where: str, attrs: dict[str, Any], x: Known, index: Known) -> Known:
    return Known(
        np.asarray(np.take(x.values, index.values.astype(np.int64), axis=attrs["axis"]), dtype=object), x.dtype
    )


def _concat(where: str, attrs: dict[str, Any], *parts: Known) -> Known:
    return Known(np.concatenate([p.values for p in parts], axis=attrs["axis"]), parts[0].dtype)


def _neg(where: str, attrs: dict[str, Any], x: Known) -> Known:
    return Known.of([-v for v in x.sizes], x.values.shape, x.dtype)


def _prod(where: str, attrs: dict[str, Any], x: Known) -> Known:
    if x.values.ndim != 1 or attrs.get("axes") not in (None, (0,), (-1,)):
        raise _dynamic(where, "a product over some axes")
    total: Size = 1
    for v in x.sizes:
        total = total * v
    return Known.of([total], (1,) if attrs["keepdims"] else (), x.dtype)


def _range(where: str, attrs: dict[str, Any], start: Known, stop: Known, step: Known) -> Known:
    if not (start.static and stop.static and step.static) or step.sizes[0] == 0:
        raise _dynamic(where, "a range with symbolic ends or step 0")
    return Known.of(list(range(*(int(k.sizes[0]) for k in (start, stop, step)))), dtype=start.dtype)  # type: ignore[arg-type]


def _dynamic(where: str, got: str) -> Unsupported:
    return Unsupported(
        "a size must be known when the model is read",
        where=where,
        expected="ints",
        got=got,
        fix="export the model with a static shape",
    )


FOLDS: dict[str, Fold] = {
    "Add": _elementwise(lambda p, q: p + q),
    "Sub": _elementwise(lambda p, q: p - q),
    "Mul": _elementwise(lambda p, q: p * q),
    "Div": _divide,
    "Equal": _equal,
    "Where": _where,
    "Gather": _gather,
    "Concat": _concat,
    "Neg": _neg,
    "ReduceProd": _prod,
    "Range": _range,
}
