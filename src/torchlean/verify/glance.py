"""A look at the root's boxes, before anything else is loaded: they are enough for many properties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.strategy import MORE, Strategy
from torchlean_check.forms import few
from torchlean_check.network import Curve, Network, Product
from torchlean_check.sparse import Sparse
from torchlean_check.vnnlib_reader import Region

F64 = NDArray[np.float64]

SMALL = 1 << 14  # values of a network
SLACK = 2.0**-40  # of the magnitude: so that machines with other sums agree on a certificate


def closes(kernel: tc.Kernel) -> bool:
    """Whether the boxes at the kernel's root refute every clause: then a tree of one leaf is a proof."""
    state = kernel.start()
    margin = kernel.bound(state, derive=False).margin
    return bool(kernel.refuted(state, margin, slack(kernel)).all())


def quick_rule(network: Network) -> str:
    """A rule of the root's boxes that costs less than an attack: the usual one for few inputs, else intervals."""
    few = network.inputs <= MORE and sum(node.size for node in network.nodes) <= SMALL
    return usual_rule(network) if few else "interval"


def glance(network: Network, region: Region, semantics: str) -> tuple[bool, tc.Kernel | None]:
    """Whether boxes by the quick rule refute every clause; and their kernel, if there is one."""
    try:
        kernel = tc.Kernel(network, region, semantics=semantics, root=quick_rule(network))
        return closes(kernel), kernel
    except (tc.CheckError, MemoryError):
        return False, None


def root_rule(network: Network, regions: Sequence[Region], strategies: Sequence[Strategy]) -> str:
    """The rule of the root's boxes, one for all regions.

    `interval` where bounding every neuron at the root costs more than it brings: in a sparse network; and where boxes
    of few inputs are split and forms of those carried along, since the first box is bounded in full anyway. Curves and
    products are charged for the root's boxes in every subtree, so these are to be tight.
    """
    carried = all(s.name == "inputs" and s.share is None for s in strategies) and all(
        few(region.lo, region.hi, network) is not None for region in regions
    )
    bent = any(isinstance(node, (Curve, Product)) for node in network.nodes)
    return "interval" if carried and not bent else usual_rule(network)


def usual_rule(network: Network) -> str:
    """Of a sparse network, bounding every neuron at the root costs more than it brings."""
    return "interval" if Sparse in network.maps else "derive"


def slack(kernel: tc.Kernel) -> F64:
    r, output = kernel.region, kernel.mags[kernel.network.output]
    scale: F64 = SLACK * (np.abs(r.rows_y) @ output + np.abs(r.rows_x) @ kernel.mags[0] + np.abs(r.rows_c))
    return scale
