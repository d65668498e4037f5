"""How far roundings may move a relu network's output where it is nearest to a violation, and what is charged there.

    python bench/adverse_orders.py MODEL PROPERTY

reached   every sum adds its positive terms first, or its negative ones, the largest before the smaller, and each
          product and addition errs by 2^-24 of its result, all towards the violation; relus keep their phases, batch
          norms are exact, second orders are left out. No accounting that knows float32 by the standard model alone can
          charge less
charged   by the error boxes of SEMANTICS 3, with the magnitudes of the point
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from torchlean.verify.attack import Target, descend
from torchlean.verify.clock import Deadline
from torchlean.verify.files import plain, read
from torchlean.verify.maps import NumpyMaps
from torchlean_check.network import Affine, Network, Relu, Scale

U = 2.0**-24
ROWS = 256  # of a map at a time


def values(network: Network, x: np.ndarray) -> list[np.ndarray]:
    found = [x]
    for node in network.nodes[1:]:
        if isinstance(node, Affine):
            found.append(node.bias + sum(m.apply(found[k][None], np.matmul)[0] for m, k in node.terms))
        elif isinstance(node, Relu):
            found.append(np.maximum(found[node.source], 0.0))
        else:
            raise SystemExit("relu networks only")
    return found


def adverse(node: Affine, read: list[np.ndarray]) -> np.ndarray:
    """Per entry, the errors of all operations added up. A batch norm counts as exact."""
    out = np.zeros(node.size)
    if any(isinstance(m, Scale) for m, _ in node.terms):
        return out
    for at in range(0, node.size, ROWS):
        unit = np.eye(min(ROWS, node.size - at), node.size, at)
        products = [m.transpose(unit, np.matmul) * x for (m, _), x in zip(node.terms, read, strict=True)]
        for i, row in enumerate(np.concatenate([*products, node.bias[at : at + len(unit), None]], axis=1)):
            up, down = np.sort(row[row > 0])[::-1], np.sort(row[row < 0])
            orders = [np.cumsum(np.concatenate(parts))[1:] for parts in ((up, down), (down, up))]
            out[at + i] = U * (np.abs(row).sum() + max(np.abs(order).sum() for order in orders))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("property", type=Path)
    options = parser.parse_args()
    network, (region, *_) = read(*(plain(path.read_bytes(), path.name) for path in (options.model, options.property)))
    target = Target(network, region, region.lo, region.hi, NumpyMaps(network))
    print("| inequality | margin | reached | charged |\n|---|---|---|---|")
    for row, clause in enumerate(region.row_clause):
        start = 0.5 * (region.lo + region.hi)[None]
        point, _ = descend(target, start, np.array([clause]), 12, Deadline(60), size=0.5, until=-np.inf)
        known = values(network, point[0])
        coefficients = {network.output: region.rows_y[row]}
        reached = charged = 0.0
        for k in range(network.output, 0, -1):
            node, at = network.nodes[k], coefficients.pop(k, np.zeros(network.nodes[k].size))
            if isinstance(node, Relu):
                parts = [(node.source, at * (known[node.source] > 0))]
            else:
                reached += np.abs(at) @ adverse(node, [known[source] for _, source in node.terms])
                size = np.abs(node.magnitude) + sum(
                    m.absolute().apply(np.abs(known[source])[None], np.matmul)[0] for m, source in node.terms
                )
                charged += np.abs(at) @ (node.leaves * U * size)
                parts = [(source, m.transpose(at[None], np.matmul)[0]) for m, source in node.terms]
            for source, part in parts:
                coefficients[source] = coefficients.get(source, 0.0) + part
        print(f"| {row} | {target.rows(point)[0, row]:.3e} | {reached:.3e} | {charged:.3e} |", flush=True)


if __name__ == "__main__":
    main()
