"""What reading one ONNX op takes: the opsets of one meaning, its attributes, and the function that adds its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from torchlean.frozen import frozen

OLDEST = 7  # from here on elementwise ops broadcast as they do today
LATEST = 24  # the newest opset whose changes were read


@frozen
class Reader:
    """The meaning of one op in the opsets since..until.

    attributes   name -> default, or a `Need`          arity   fewest and most inputs
    read         (importer, node, attributes) -> the outputs: a Tensor or Known, or a tuple of them
    """

    read: Callable[..., Any]
    since: int = 1
    until: int = LATEST
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arity: tuple[int, int] = (1, 1)


Readers = Mapping[str, tuple[Reader, ...]]
