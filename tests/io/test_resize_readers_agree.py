"""Resize has two readers: what the importer takes, the checker takes, at these sizes."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchlean_check as tc
from torchlean.errors import Unsupported
from torchlean.io.onnx import read_onnx
from torchlean.ops.resize import ALIGN, NEAREST
from torchlean_check.network import Network
from torchlean_check.onnx_reader import read_network

FLOOR = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


def model(old: int, name: str, given: Any, opset: int = 13, **attributes: Any) -> bytes:
    """One Resize of [1, 1, old] along the last axis, by `scales` or `sizes`."""
    inputs = ["x", "s"] if opset < 11 else ["x", "", "s"] if name == "scales" else ["x", "", "", "s"]
    node = helper.make_node("Resize", inputs, ["y"], name="Resize", **attributes)
    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, old]), onnx.ValueInfoProto(name="y")
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(given, "s")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return made.SerializeToString()


def size(read: Any, file: bytes) -> int | None:
    """The new size; None where the reader does not support the file."""
    try:
        found = read(file)
    except (Unsupported, tc.UnsupportedError):
        return None
    if isinstance(found, Network):
        return found.outputs
    return int(np.asarray(found(np.zeros(found.input_type.sizes, np.float32))).size)


def near(old: int, new: int) -> list[np.ndarray]:
    """The quotient in float32, and the numbers beside it."""
    scale = np.float32(new / old)
    return [np.array([1, 1, s], np.float32) for s in (scale, np.nextafter(scale, np.float32(0)),
                                                       np.nextafter(scale, np.float32(99)))]  # fmt: skip


@pytest.mark.parametrize("opset", [10, 13])
def test_scales_beside_a_quotient(opset: int) -> None:
    """The new size is floor(old * scale): a reader that takes the scale gives that size, or none where it refuses."""
    taken = refused = 0
    for old, new in itertools.product(range(1, 13), (1, 2, 3, 5, 7, 10, 14)):
        for scales in near(old, new):
            file = model(old, "scales", scales, opset, **(FLOOR if opset > 10 else {}))
            ours, theirs = size(read_onnx, file), size(read_network, file)
            assert ours == theirs, (old, new, scales)
            taken, refused = taken + (ours is not None), refused + (ours is None)
            if ours is not None:
                assert ours == new == int(Fraction(float(scales[2])) * old)
    assert taken > 30 and refused > 150


def test_forms() -> None:
    """Nearest entries and interpolation, by sizes: what the importer takes has a certificate's network too."""
    rng, taken, refused = np.random.default_rng(0), 0, 0
    every = [*itertools.product(range(1, 16), range(1, 16), ALIGN, NEAREST, ("nearest", "linear"))]
    for i in rng.choice(len(every), 600, replace=False):
        old, new, align, nearest, mode = every[i]
        file = model(old, "sizes", np.array([1, 1, new], np.int64), mode=mode, nearest_mode=nearest,
                     coordinate_transformation_mode=align)  # fmt: skip
        ours, theirs = size(read_onnx, file), size(read_network, file)
        assert ours is None or ours == theirs == new, (every[i], ours, theirs)
        taken, refused = taken + (ours is not None), refused + (ours is None)
    assert taken > 300 and refused > 20
