"""Differentiation, graph to graph. `tl.grad(program)` is this package called.

Each transform takes a `Graph`, or a program that carries one and gives back a program with the new graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from torchlean.callable_module import make_callable
from torchlean.grad import transforms
from torchlean.ir import Graph


class Carrier(Protocol):
    """What carries a graph: a program."""

    @property
    def graph(self) -> Graph: ...

    def with_graph(self, graph: Graph) -> Any: ...


Either = TypeVar("Either", bound=Graph | Carrier)


def _lift(transform: Callable[..., Graph], what: Any, *options: object) -> Any:
    return transform(what, *options) if isinstance(what, Graph) else what.with_graph(transform(what.graph, *options))


def value_and_grad(what: Either, wrt: Iterable[str] | None = None, of: str | None = None) -> Either:
    """See `transforms.value_and_grad`."""
    result: Either = _lift(transforms.value_and_grad, what, wrt, of)
    return result


def grad(what: Either, wrt: Iterable[str] | None = None, of: str | None = None) -> Either:
    """See `transforms.grad`."""
    result: Either = _lift(transforms.grad, what, wrt, of)
    return result


def vjp(what: Either, wrt: Iterable[str] | None = None) -> Either:
    """See `transforms.vjp`."""
    result: Either = _lift(transforms.vjp, what, wrt)
    return result


def jvp(what: Either, wrt: Iterable[str] | None = None) -> Either:
    """See `transforms.jvp`."""
    result: Either = _lift(transforms.jvp, what, wrt)
    return result


def jacobian(what: Either, wrt: Iterable[str] | None = None, of: str | None = None) -> Either:
    """See `transforms.jacobian`."""
    result: Either = _lift(transforms.jacobian, what, wrt, of)
    return result


def hessian(what: Either, wrt: Iterable[str] | None = None, of: str | None = None) -> Either:
    """See `transforms.hessian`."""
    result: Either = _lift(transforms.hessian, what, wrt, of)
    return result


__all__ = ["grad", "hessian", "jacobian", "jvp", "value_and_grad", "vjp"]
make_callable(__name__, grad)
