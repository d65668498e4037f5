"""A query of VNN-LIB 2.0: networks with named tensors, and what must not happen between their elements.

All inputs of all networks, in the order of declaration and row-major, are one flat input; all hidden and output tensors
are one flat output. So a query is a violation over two vectors, as a VNN-LIB 1.0 property is.
"""

from __future__ import annotations

from math import prod

from torchlean.bounds.property import Violation
from torchlean.frozen import frozen


@frozen
class Variable:
    """A tensor that the query names.

    kind     "input", "hidden" or "output"      element   "float32" or "real"
    node     the ONNX name that it is tied to, or "" where the order of declaration ties it
    start    where it begins in its flat vector
    """

    name: str
    kind: str
    element: str
    shape: tuple[int, ...]
    node: str
    start: int

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.element} [{','.join(map(str, self.shape))}]"


@frozen
class Network:
    """A declared network.

    relation   "" or "equal-to" (the same file as network `other`) or "isomorphic-to" (a file of the same structure)
    """

    name: str
    relation: str
    other: str
    inputs: tuple[Variable, ...]
    hidden: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        return (*self.inputs, *self.hidden, *self.outputs)


@frozen
class Query:
    """`violation` speaks of the flat input and the flat output. Sizes: violation.inputs, violation.outputs."""

    networks: tuple[Network, ...]
    violation: Violation

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(v for network in self.networks for v in network.variables)

    @property
    def elements(self) -> frozenset[str]:
        """The element types in use."""
        return frozenset(v.element for v in self.variables)
