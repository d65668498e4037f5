"""Reading layer normalization, RMS normalization and attention."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from torchlean.io.onnx.attributes import Need
from torchlean.io.onnx.reader import Reader, Readers
from torchlean.ir import Tensor

if TYPE_CHECKING:
    from torchlean.io.onnx.importer import Importer
    from torchlean_check.wire import Node

Attrs = dict[str, Any]
FLOAT = 1  # the data type that statistics are computed in


def trailing(op: str) -> Any:
    """The reader of a normalization over the axes from `axis` on."""

    def read(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
        x, *vectors = (imp.tensor(n) for n in node.inputs)
        rank, axis = x.type.rank, attrs["axis"]
        if not -rank <= axis < rank:
            raise imp.misfit("no such axis", f"an axis from {-rank} to {rank - 1}", str(axis))
        if attrs["stash_type"] != FLOAT:
            raise imp.unsupported("statistics in another format are not read", "stash_type 1", str(attrs["stash_type"]))
        at = axis % rank
        full = [v if v.shape == x.shape[at:] else imp.builder.broadcast(v, shape=x.shape[at:]) for v in vectors]
        result: Tensor = imp.builder.apply(op, x, *full, axis=at - rank, epsilon=attrs["epsilon"])
        return result

    return read


def attention(imp: Importer, node: Node, attrs: Attrs) -> Tensor:
    """Q and K each times the root of the scale, then softmax over the scores: heads as an axis, no cache."""
    if any(node.inputs[4:]) or attrs["is_causal"] or attrs["softcap"] or attrs["qk_matmul_output_mode"]:
        raise imp.unsupported(
            "this form of attention is not read", "no cache, no causal mask, no softcap", ", ".join(node.inputs)
        )
    q, k, v, *mask = (imp.tensor(n) for n in node.inputs[:4] if n)
    if not q.type.rank == k.type.rank == v.type.rank == 4 or q.shape[1] != k.shape[1]:
        raise imp.unsupported(
            "heads must be an axis of their own, as many of k as of q", "[batch, heads, n, d]", f"{q.type} and {k.type}"
        )
    if any(m.dtype.kind != "float" for m in mask) or not isinstance(q.shape[-1], int):
        raise imp.unsupported("this mask or width is not read", "a float mask and a known width", str(q.type))
    root = sqrt(attrs["scale"] if attrs["scale"] is not None else q.shape[-1] ** -0.5)
    result: Tensor = imp.builder.apply("attention", q * root, k * root, v, *mask, scale=1.0)
    return result


_ATTENTION = {
    "is_causal": 0, "kv_num_heads": Need.OPTIONAL_INT, "q_num_heads": Need.OPTIONAL_INT, "qk_matmul_output_mode": 0,
    "scale": Need.FLOAT, "softcap": 0.0, "softmax_precision": Need.OPTIONAL_INT,
}  # fmt: skip

READERS: Readers = {
    "LayerNormalization": (
        Reader(trailing("layer_norm"), 17, attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1}, arity=(2, 3)),
    ),
    "RMSNormalization": (
        Reader(trailing("rms_norm"), 23, attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1}, arity=(2, 2)),
    ),
    "Attention": (Reader(attention, 23, attributes=_ATTENTION, arity=(3, 6)),),
}
