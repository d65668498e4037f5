"""Derivatives as programs, against PyTorch in float64 and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import torchlean as tl
from torchlean import ops
from torchlean.errors import GraphError
from torchlean.grad import grad, hessian, jacobian, jvp, value_and_grad, vjp
from torchlean.ir import Builder, Graph, f32, f64, trace
from torchlean.run.execute import execute


def network(g: Builder, x: Any) -> Any:
    """A small network with a residual connection, a product of two values and two uses of one parameter."""
    w = g.parameter("w", f64[4, 4])
    b = g.parameter("b", f64[4])
    h = g.tanh(g.linear(x, w, b))
    h = g.add(g.mul(h, x), g.linear(h, w))
    return g.sum(g.exp(g.mul(h, 0.1)), axes=(-2, -1), keepdims=False)


def torch_network(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    h = torch.tanh(x @ w.T + b)
    h = h * x + h @ w.T
    return torch.exp(h * 0.1).sum()


def values(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((3, 4)), "w": rng.standard_normal((4, 4)), "b": rng.standard_normal(4)}


def run(graph: Graph, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return execute(graph, given, "eager-cpu")


def close(a: np.ndarray, b: Any) -> None:
    # two float64 evaluations in different orders: 1e-12 is 4,500 ulps at 1
    np.testing.assert_allclose(a, np.asarray(b), rtol=1e-12, atol=1e-12)


GRAPH = trace(ops.ALL, network, x=f64[3, 4])


def test_gradients_equal_pytorch() -> None:
    given = values()
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in given.items()}
    loss = torch_network(**tensors)
    loss.backward()
    found = run(value_and_grad(GRAPH, ["x", "w", "b"]), given)
    close(found["y"], loss.detach())
    for name, tensor in tensors.items():
        assert tensor.grad is not None
        close(found[f"grad:{name}"], tensor.grad)


def test_parameters_are_differentiated_by_default() -> None:
    assert [n for n, _ in grad(GRAPH).outputs] == ["grad:w", "grad:b"]


def test_jvp_is_the_jacobian_times_the_tangent() -> None:
    given = values()
    tangent = np.random.default_rng(1).standard_normal((3, 4))
    found = run(jvp(GRAPH, ["x"]), {**given, "tangent:x": tangent})
    gradient = run(grad(GRAPH, ["x"]), given)["grad:x"]
    close(found["tangent:y"], np.sum(gradient * tangent))


def vector(g: Builder, x: Any) -> Any:
    w = g.parameter("w", f64[4, 4])
    return g.tanh(g.linear(x, w))


def test_vjp_and_jvp_are_transposes() -> None:
    graph = trace(ops.ALL, vector, x=f64[3, 4])
    rng = np.random.default_rng(2)
    given = {"x": rng.standard_normal((3, 4)), "w": rng.standard_normal((4, 4))}
    u, v = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    pushed = run(jvp(graph, ["x"]), {**given, "tangent:x": v})["tangent:y"]
    pulled = run(vjp(graph, ["x"]), {**given, "cotangent:y": u})["grad:x"]
    close(np.sum(u * pushed), np.sum(pulled * v))


def test_jacobian_equals_pytorch() -> None:
    graph = trace(ops.ALL, vector, x=f64[3, 4])
    given = {k: v for k, v in values().items() if k != "b"}
    x, w = torch.tensor(given["x"]), torch.tensor(given["w"])
    wanted = torch.autograd.functional.jacobian(lambda x, w: torch.tanh(x @ w.T), (x, w))
    found = run(jacobian(graph, ["x", "w"]), given)
    close(found["jacobian:x"], wanted[0])
    close(found["jacobian:w"], wanted[1])


def test_hessian_equals_pytorch() -> None:
    given = values()
    w, b = torch.tensor(given["w"]), torch.tensor(given["b"])
    wanted = torch.autograd.functional.hessian(lambda x: torch_network(x, w, b), torch.tensor(given["x"]))
    close(run(hessian(GRAPH, ["x"]), given)["hessian:x"], wanted)


def test_the_gradient_of_a_graph_that_contains_a_gradient() -> None:
    """The gradient penalty sum (d loss / d x)^2, differentiated by the weights."""
    first = grad(GRAPH, ["x"])
    g = Builder(ops.ALL)
    inner = g.inline(first, {"x": g.input("x", f64[3, 4])})["grad:x"]
    penalty = g.finish({"y": g.sum(g.mul(inner, inner), axes=(-2, -1), keepdims=False)})
    given = values()
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in given.items()}
    (dx,) = torch.autograd.grad(torch_network(**tensors), tensors["x"], create_graph=True)
    wanted = torch.autograd.grad((dx**2).sum(), tensors["w"])
    close(run(grad(penalty, ["w"]), given)["grad:w"], wanted[0])


def test_a_symbolic_batch_keeps_its_name() -> None:
    def loss(g: Builder, x: Any) -> Any:
        w = g.parameter("w", f32[2, 3])
        return g.sum(g.relu(g.linear(x, w)), axes=(-2, -1), keepdims=False)

    graph = value_and_grad(trace(ops.ALL, loss, x=f32["batch", 3]), ["x", "w"])
    assert str(graph.output_types["grad:x"]) == "f32[batch, 3]"
    program = tl.Program(graph, {"w": np.ones((2, 3), np.float32)})
    found = program(np.array([[1, 2, 3], [-1, -2, -3]], np.float32))
    np.testing.assert_array_equal(found["grad:w"], [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(found["grad:x"], [[2, 2, 2], [0, 0, 0]])


def test_what_nothing_depends_on_has_gradient_zero() -> None:
    def loss(g: Builder, x: Any) -> Any:
        g.parameter("unused", f32[2])
        return g.sum(x, axes=(-1,), keepdims=False)

    found = run(
        grad(trace(ops.ALL, loss, x=f32[3]), ["unused"]),
        {"x": np.ones(3, np.float32), "unused": np.ones(2, np.float32)},
    )
    np.testing.assert_array_equal(found["grad:unused"], [0, 0])


def test_only_a_scalar_has_a_gradient() -> None:
    with pytest.raises(GraphError, match="only a scalar has a gradient"):
        grad(trace(ops.ALL, vector, x=f64[3, 4]))


def test_an_unknown_source_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="weight"):
        grad(GRAPH, ["weight"])


def test_a_program_keeps_its_arrays() -> None:
    given = values()
    program = tl.Program(GRAPH, {"w": given["w"], "b": given["b"]})
    found = tl.grad(program, ["x"])(given["x"], backend="eager-cpu")
    close(found, run(grad(GRAPH, ["x"]), given)["grad:x"])
