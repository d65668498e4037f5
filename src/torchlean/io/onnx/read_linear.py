"""Reading Gemm and MatMul, and elementwise ops with ONNX's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Shape, Tensor
from torchlean.ir.dims import is_one

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]


def aligned(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """ONNX's multidirectional broadcasting in the program's rule: 1-axes are written out where ranks differ."""
    shapes = [t.shape for t in tensors]
    rank = max(len(s) for s in shapes)
    full = [s for s in shapes if len(s) == rank]
    if all(_suffix(s, f) for s in shapes for f in full):
        return tuple(tensors)
    return tuple(with_rank(t, rank) if t.type.rank else t for t in tensors)


def _suffix(shape: Shape, full: Shape) -> bool:
    return shape == () or shape == full[len(full) - len(shape) :]


def with_rank(x: Tensor, rank: int) -> Tensor:
    """x with leading 1-axes up to `rank`."""
    return x if x.type.rank >= rank else x.reshape((*(1,) * (rank - x.type.rank), *x.shape))


def elementwise(op: str) -> Any:
    """The reader of an op whose ONNX form has no attributes and the same inputs."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        result = imp.builder.apply(op, *aligned([imp.tensor(n) for n in node.inputs]))
        assert isinstance(result, Tensor)
        return result

    return read


def _swapped(x: Tensor) -> Tensor:
    rank = x.type.rank
    return x.permute(*range(-rank, -2), -1, -2)


def gemm(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """alpha A' B' + beta C. A weight stored as [n, k] (transB) and a bias [n] are `linear` as they stand."""
    g = imp.builder
    a, b = imp.tensor(node.inputs[0]), imp.tensor(node.inputs[1])
    if a.type.rank != 2 or b.type.rank != 2:
        raise imp.misfit("Gemm: needs matrices", "A: [m, k] and B: [k, n]", f"{a.type} and {b.type}")
    a = _swapped(a) if attrs["transA"] else a
    weight = b if attrs["transB"] else _swapped(b)
    c = imp.tensor(node.inputs[2]) if len(node.inputs) == 3 else None
    alpha, beta = attrs["alpha"], attrs["beta"]
    if alpha == 1.0 and beta == 1.0 and c is not None and _is_bias(c.shape, weight.shape[0]):
        return g.apply("linear", a, weight, c if c.type.rank == 1 else c.reshape(c.shape[-1:]))
    y: Tensor = g.apply("linear", a, weight)
    y = y if alpha == 1.0 else y * alpha
    if c is None or beta == 0.0:
        return y
    c = c if beta == 1.0 else c * beta
    y, c = aligned((y, c))
    return y + c


def _is_bias(shape: Shape, n: Any) -> bool:
    """[n], or [1, n]: one entry for each output."""
    return shape[-1:] == (n,) and len(shape) in (1, 2) and all(is_one(s) for s in shape[:-1])


def matmul(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """numpy's matmul: a vector is a row or a column, leading axes broadcast."""
    g = imp.builder
    x, row = _matrix(imp, node.inputs[0], 0)
    y, column = _matrix(imp, node.inputs[1], 1)
    lead = _lead(imp, x, y)
    x, y = (_spread(g, t, lead) for t in (x, y))
    z: Tensor = g.apply("matmul", x, y)
    shape = tuple(s for s, cut in zip(z.shape[-2:], (row, column), strict=True) if not cut)
    return z.reshape((*z.shape[:-2], *shape)) if row or column else z


def _matrix(imp: Importer, name: str, at: int) -> tuple[Tensor, bool]:
    """A factor of at least two axes, and whether its axis `at` of size 1 was added."""
    x = imp.tensor(name)
    if not x.type.rank:
        raise imp.misfit("MatMul: a scalar is no matrix", "rank 1 or more", f"{name}: {x.type}")
    if x.type.rank > 1:
        return x, False
    return x.reshape((1, *x.shape) if at == 0 else (*x.shape, 1)), True


def _lead(imp: Importer, x: Tensor, y: Tensor) -> Shape:
    """The leading axes of the product."""
    rank = max(x.type.rank, y.type.rank) - 2
    a, b = ((1,) * (rank - t.type.rank + 2) + t.shape[:-2] for t in (x, y))
    if any(p != q and not is_one(p) and not is_one(q) for p, q in zip(a, b, strict=True)):
        raise imp.misfit("MatMul: the leading axes do not broadcast", "equal axes, or 1", f"{x.type} and {y.type}")
    return tuple(q if is_one(p) else p for p, q in zip(a, b, strict=True))


def _spread(g: Any, t: Tensor, lead: Shape) -> Tensor:
    """t with these leading axes; a matrix stays one, since it serves every leading axis."""
    if t.type.rank == 2 or t.shape[:-2] == lead:
        return t
    t = with_rank(t, len(lead) + 2)
    return t if t.shape[:-2] == lead else g.broadcast(t, shape=(*lead, *t.shape[-2:]))


READERS: Readers = {
    "Gemm": (Reader(gemm, 7, attributes={"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}, arity=(2, 3)),),
    "MatMul": (Reader(matmul, arity=(2, 2)),),
}
