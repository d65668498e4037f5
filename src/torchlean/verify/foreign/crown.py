"""alpha-beta-CROWN's leaves and auto_LiRPA's bounds.

A domain of alpha-beta-CROWN holds `history`: for each layer that a relu reads, in the network's order, the flat indices
of split neurons, the signs (+1: z >= point, -1: z <= point) and the points, with scores and depths behind them in newer
versions; and `lower_bounds` and `upper_bounds` of the same layers. No option of the tool writes them: a leaf dump is
`torch.save({"history": [one for each leaf], ...}, path)`, or the same as JSON.
auto_LiRPA's `BoundedModule.save_intermediate(path)` saves {layer: (lower, upper)}.

Source   github.com/Verified-Intelligence/alpha-beta-CROWN at 1a3533a: complete_verifier/domain_updater.py (histories),
         branching_domains.py (domains), utils.py at 4ff0615 (five parts in place of three); auto_LiRPA,
         bound_general.py (save_intermediate)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchlean.verify.dual import Boxes
from torchlean.verify.foreign.cases import Hints, Sides, check_neuron, refuse, tree_of
from torchlean.verify.foreign.layers import bounds_of, match_layers, numbers, whole
from torchlean_check.network import Network

LEAVES, BOUNDS = "alpha-beta-CROWN leaves", "LiRPA bounds"
HISTORY = ("history", "histories")
MOST = 1 << 20  # leaves


def read_domains(data: Any, network: Network, boxes: Boxes) -> Hints:
    """Leaves with their splits, and bounds where there are any. Raises FileError."""
    named: Mapping[str, Any] = data if isinstance(data, Mapping) else {"history": data}
    histories = next(named[name] for name in HISTORY if name in named)
    if not isinstance(histories, Sequence) or isinstance(histories, str) or len(histories) > MOST:
        raise refuse("the histories are no list", LEAVES, f"a list of at most {MOST} leaves", type(histories).__name__)
    cases = tree_of([_sides(history, number, network) for number, history in enumerate(histories)], network, LEAVES)
    bounds = {}
    if "lower_bounds" in named or "upper_bounds" in named:
        lower, upper = (_mapping(named.get(name), name) for name in ("lower_bounds", "upper_bounds"))
        bounds = bounds_of(lower, upper, boxes, LEAVES)
    return Hints(LEAVES, cases, bounds)


def read_bounds(data: Mapping[str, Any], boxes: Boxes) -> Hints:
    """Bounds as {layer: (lower, upper)}, or as arrays named LAYER.lower and LAYER.upper (any of . / : _ between).

    Raises   FileError
    """
    lower: dict[str, Any] = {}
    upper: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, (tuple, list)) and len(value) == 2:
            lower[name], upper[name] = value
            continue
        for end, side in (("lower", lower), ("upper", upper)):
            stem = name.removesuffix(end)
            if stem != name and stem[-1:] in (*"./:_", ""):
                side[stem[:-1]] = value
                break
        else:
            raise refuse("an array is no bound", BOUNDS, "LAYER.lower and LAYER.upper, or LAYER: (lower, upper)", name)
    return Hints(BOUNDS, bounds=bounds_of(lower, upper, boxes, BOUNDS))


def _mapping(data: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise refuse(f"{name} are no layers with names", LEAVES, "{layer: array}", type(data).__name__)
    return data


def _sides(history: Any, number: int, network: Network) -> Sides:
    """The splits of one leaf. Raises FileError."""
    where = f"{LEAVES}, leaf {number}"
    if not isinstance(history, Mapping):
        raise refuse("a history is no mapping of layers", where, "{layer: (indices, signs, points)}",
                     type(history).__name__)  # fmt: skip
    sides: Sides = {}
    for name, value in match_layers(list(history), network, where).items():
        parts = history[name]
        if not isinstance(parts, Sequence) or isinstance(parts, str) or len(parts) < 2:
            raise refuse("a layer's splits are not understood", where, "(indices, signs, points)", f"{name}: {parts}")
        indices, signs = (whole(part, where, f"splits of {name}") for part in parts[:2])
        points = numbers(parts[2], where, f"points of {name}").ravel() if len(parts) > 2 else numbers(0.0, where, "")
        if len(indices) != len(signs) or points.size not in (0, 1, len(indices)):
            raise refuse("a layer's splits have different lengths", where, f"{len(indices)} signs and points",
                         f"{len(signs)} and {points.size}, layer {name}")  # fmt: skip
        if points.any():
            raise refuse("a relu is split elsewhere than at 0", where, "points 0", points[points != 0],
                         "use relu splits only")  # fmt: skip
        for index, sign in zip(indices, signs, strict=True):
            check_neuron((value, index), network, where)
            if sign not in (-1, 1) or sides.get((value, index), sign) != sign:
                raise refuse("splits of one leaf contradict each other", where, "one sign, +1 or -1, for each neuron",
                             f"{name}, entry {index}: {sign}")  # fmt: skip
            sides[value, index] = sign
    return sides
