"""From the checker's network on a region to the dense stack that the search walks.

Affine nodes between relus are composed, and skips become linear entries that pass through the layers between. Every
replaced node's rounding is carried along as a rate. The result guides the search only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchlean.bounds.dense import Layer, Rows, Stack
from torchlean_check.network import Affine, Conv, Dense, Input, Map, Network, Relu, Scale, Select
from torchlean_check.vnnlib_reader import Region

F64 = NDArray[np.float64]

U32 = 2.0**-24
NOISE = 8 * U32  # relative; what the float32 walk itself may lose, charged in the search alone
LIMIT = 40_000_000  # entries of all matrices; a larger network is searched by the checker's kernel alone


@dataclass
class Form:
    """An affine form of atoms: sum over parts[a] @ atom_a + bias, to within rate (sum sizes[a] @ |atom_a| + |bias|).

    Shapes   parts[a], sizes[a]: [n, size of a]   bias, magnitude: [n]   rate: one number
    """

    parts: dict[int, F64]
    sizes: dict[int, F64]
    bias: F64
    rate: float


class TooLarge(Exception):
    """The composed matrices would be too large for the dense search."""


def matrix(map_: Map, inputs: int) -> F64:
    """A linear map as a matrix [out, in]."""
    if isinstance(map_, Dense):
        return map_.weight
    if isinstance(map_, Scale):
        return np.diag(map_.factor)
    if isinstance(map_, Conv):
        outputs = int(np.prod(map_.out_shape))
    else:
        outputs = len(map_.index) if isinstance(map_, Select) else map_.shape[0]
    if inputs * max(outputs, inputs) > LIMIT:
        raise TooLarge
    return map_.apply(np.eye(inputs), np.matmul).T


Origin = tuple[NDArray[np.int64], NDArray[np.int64]]


def lower(network: Network, region: Region, semantics: str) -> Stack:
    """The stack of `network` on `region`, its rows being the region's inequalities. Raises TooLarge."""
    return lower_with_origins(network, region, semantics)[0]


def lower_with_origins(network: Network, region: Region, semantics: str) -> tuple[Stack, tuple[Origin, ...]]:
    """The stack, and for each layer the value id and flat index in the network of each entry that passes a relu.

    Raises   TooLarge
    """
    forms: dict[int, Form] = {}
    level: dict[int, int] = {}
    atoms: dict[int, int] = {}  # relu node -> its input's value id
    total = 0
    for i, node in enumerate(network.nodes):
        if isinstance(node, Input):
            forms[i], level[i] = _atom(i, node.size), 0
        elif isinstance(node, Relu):
            atoms[i] = node.source
            level[i] = 1 + max((level[a] for a in forms[node.source].parts), default=0)
            forms[i] = _atom(i, node.size)
        else:
            forms[i] = _affine(node, forms, network, U32 if semantics == "float32" else 0.0)
            total += sum(m.size for m in forms[i].parts.values())
            if total > LIMIT:
                raise TooLarge
    return _assemble(network, region, forms, level, atoms)


def _atom(i: int, size: int) -> Form:
    return Form({i: np.eye(size)}, {i: np.eye(size)}, np.zeros(size), 0.0)


def _affine(node: Affine, forms: dict[int, Form], network: Network, unit: float) -> Form:
    own = (float(node.leaves.max(initial=0.0)) + (2.0 if node.adds else 0.0)) * unit + NOISE
    result = Form({}, {}, node.bias.copy(), own + max(forms[source].rate for _, source in node.terms))
    for map_, source in node.terms:
        inner, size = forms[source], network.nodes[source].size
        atom = source in inner.parts  # its matrix is the identity
        if isinstance(map_, Scale):
            factor = map_.factor[:, None]
            parts = {a: factor * m for a, m in inner.parts.items()}
            sizes = {a: np.abs(factor) * m for a, m in inner.sizes.items()}
            result.bias += map_.factor * inner.bias
        else:
            weight = matrix(map_, size)
            parts = {source: weight} if atom else {a: weight @ m for a, m in inner.parts.items()}
            sizes = {source: np.abs(weight)} if atom else {a: np.abs(weight) @ m for a, m in inner.sizes.items()}
            result.bias += weight @ inner.bias
        for into, these in ((result.parts, parts), (result.sizes, sizes)):
            for a, m in these.items():
                into[a] = into[a] + m if a in into else m
    return result


def _assemble(
    network: Network, region: Region, forms: dict[int, Form], level: dict[int, int], atoms: dict[int, int]
) -> tuple[Stack, tuple[Origin, ...]]:
    output = forms[network.output]
    depth = max((level[a] for a in atoms), default=0)
    if depth == 0:
        raise TooLarge  # no relu: one walk of the kernel decides
    needed = {a: level[a] for a in (0, *atoms)}  # last layer that reads the atom
    for a in atoms:
        for part in forms[atoms[a]].parts:
            needed[part] = max(needed[part], level[a] - 1)
    for part in output.parts:
        if part != 0:
            needed[part] = depth
    below = [0]  # the atoms of the layer below, in order
    sizes = {a: network.nodes[a].size for a in (0, *atoms)}
    layers, origins = [], []
    for k in range(1, depth + 1):
        here = [a for a in atoms if level[a] == k]
        through = [a for a in below if needed[a] >= k]
        width = sum(sizes[a] for a in below)
        start = dict(zip(below, np.cumsum([0, *(sizes[a] for a in below)]), strict=False))
        blocks, sizes_, biases, rates, gates = [], [], [], [], []
        for a in (*here, *through):
            form = forms[atoms[a]] if a in here else _atom(a, sizes[a])
            block, size = np.zeros((sizes[a], width)), np.zeros((sizes[a], width))
            for part, m in form.parts.items():
                block[:, start[part] : start[part] + sizes[part]] = m
                size[:, start[part] : start[part] + sizes[part]] = form.sizes[part]
            blocks.append(block)
            sizes_.append(size)
            biases.append(form.bias)
            rates.append(np.full(sizes[a], form.rate))
            gates.append(np.full(sizes[a], a in here))
        arrays = [_single(v) for v in (blocks, sizes_, biases, rates)]
        layers.append(Layer(arrays[0], arrays[1], arrays[2], arrays[3], np.concatenate(gates)))
        origins.append(
            (
                np.concatenate([np.full(sizes[a], atoms[a]) for a in here]),
                np.concatenate([np.arange(sizes[a]) for a in here]),
            )
        )
        below = [*here, *through]
    start = dict(zip(below, np.cumsum([0, *(sizes[a] for a in below)]), strict=False))
    asked, size = (np.zeros((len(region.rows_c), sum(sizes[a] for a in below))) for _ in range(2))
    direct = region.rows_x.copy()
    for part, m in output.parts.items():
        if part == 0 and part not in start:
            direct += region.rows_y @ m
        else:
            asked[:, start[part] : start[part] + sizes[part]] = region.rows_y @ m
            size[:, start[part] : start[part] + sizes[part]] = np.abs(region.rows_y) @ output.sizes[part]
    bias = region.rows_y @ output.bias + region.rows_c
    rate = np.full(len(bias), output.rate)
    rows = Rows(*(_single([v]) for v in (asked, size, direct, bias, rate)))
    return Stack(tuple(layers), rows, network.inputs), tuple(origins)


def _single(parts: list[F64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.concatenate(parts), np.float32)
