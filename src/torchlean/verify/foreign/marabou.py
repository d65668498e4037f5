"""Marabou's proofs of unsatisfiability as JSON: tableau, bounds, relus, and a tree with Farkas vectors at its leaves.

The variables are those of Marabou's preprocessed query. Neurons are found by value: the tableau's equations are run
forward from points of the region, and a relu's input is the neuron that has the same values.

Source   github.com/NeuralNetworkVerification/Marabou at 174b34b: src/proofs/JsonWriter.cpp (the form),
         UnsatCertificateNode.h, engine/ReluConstraint.cpp (case splits), Engine.cpp, addAuxiliaryVariables (homogeneous
         equations); Isac et al. 2022, arXiv:2206.00512
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import Unsupported
from torchlean.verify.attack import Target
from torchlean.verify.foreign.cases import Case, Hints, Neuron, check_tree, refuse
from torchlean.verify.foreign.layers import numbers
from torchlean_check.network import Affine, Relu

F64 = NDArray[np.float64]
SOURCE = "Marabou proof"
RELU = 0  # of Marabou's PiecewiseLinearFunctionType
POINTS = 6
NEAR = 1e-4  # relative: Marabou writes nine decimals
Kind = TypeVar("Kind", list[Any], dict[str, Any])


def read_proof(data: Mapping[str, Any], target: Target) -> Hints:
    """The tree, with slopes from the Farkas vectors.

    Raises   FileError: fields or sizes that do not fit, another network or region, a tree that is none;
             Unsupported: a split that is no relu's
    """
    query = _Query(data)
    neurons = query.neurons(target)
    cases: list[Case] = [Case()]
    waiting = [(0, _field(data, "proof", dict))]
    while waiting:
        number, node = waiting.pop()
        children = node.get("children", [])
        if not children:
            if "contradiction" not in node:
                raise refuse("a node has neither children nor a contradiction", SOURCE, "a closed leaf", list(node),
                             "give the proof of an unsatisfiable query")  # fmt: skip
            cases[number] = Case(slopes=query.slopes(node["contradiction"], neurons))
            continue
        if not isinstance(children, list) or len(children) != 2 or not all(isinstance(c, dict) for c in children):
            raise refuse("a split does not cover its cases", SOURCE, "two children", children)
        sides = [query.side(child, neurons) for child in children]
        if sides[0][0] != sides[1][0] or sides[0][1] == sides[1][1]:
            raise refuse("a split does not cover its cases", SOURCE, "both phases of one relu", sides)
        low, high = len(cases), len(cases) + 1
        cases[number] = Case(sides[0][0], low, high)
        cases += [Case(), Case()]
        waiting += [(low if sign < 0 else high, child) for (_, sign), child in zip(sides, children, strict=True)]
    return Hints(SOURCE, check_tree(cases, target.network, SOURCE))


class _Query:
    """The tableau A v = 0 with bounds on v, and the relus as (b, f, aux or None)."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.lo, self.hi = (numbers(_field(data, f"{end}Bounds", list), SOURCE, "bounds") for end in ("lower", "upper"))
        if self.lo.ndim != 1 or self.lo.shape != self.hi.shape:
            raise refuse("the bounds have different sizes", SOURCE, f"{self.lo.shape} upper bounds", self.hi.shape)
        count = len(self.lo)
        self.rows = [self._sparse(row, count, "a row of the tableau") for row in _field(data, "tableau", list)]
        self.relus: list[tuple[int, int, int | None]] = []
        for constraint in _field(data, "constraints", list):
            if not isinstance(constraint, dict) or constraint.get("constraintType") != RELU:
                continue
            variables = [self._index(v, count, "a constraint") for v in _field(constraint, "vars", list)]
            if len(variables) < 2:
                raise refuse("a relu has too few variables", SOURCE, "input, output and auxiliary", variables)
            self.relus.append((variables[0], variables[1], variables[2] if len(variables) > 2 else None))

    def neurons(self, target: Target) -> dict[int, Neuron]:
        """The neuron of each relu's input variable. Raises FileError."""
        varying = np.flatnonzero(target.region.hi > target.region.lo)
        layouts = [np.arange(target.network.inputs)] + ([varying] if len(varying) < target.network.inputs else [])
        for inputs in layouts:
            if len(inputs) <= len(self.lo) and self._same_box(target, inputs):
                return self._match(target, inputs)
        raise refuse("the first variables are not the inputs of the region", SOURCE,
                     f"bounds {target.region.lo[:3]} to {target.region.hi[:3]}, ...",
                     f"{self.lo[:3]} to {self.hi[:3]}, ...", "give the proof of this property")  # fmt: skip

    def side(self, child: Mapping[str, Any], neurons: Mapping[int, Neuron]) -> tuple[Neuron, int]:
        """The relu that a child's split fixes, and its phase. Raises FileError, Unsupported."""
        for part in _field(child, "split", list):
            if not isinstance(part, dict) or part.get("bound") not in ("L", "U"):
                raise refuse("a split is not understood", SOURCE, '{"var", "val", "bound": "L" or "U"}', part)
            variable = self._index(part.get("var"), len(self.lo), "a split")
            if variable in neurons:
                if float(numbers(part.get("val"), SOURCE, "a split")) != 0.0:
                    raise refuse("a relu is split elsewhere than at 0", SOURCE, "val 0.0", part)
                return neurons[variable], 1 if part["bound"] == "L" else -1
        raise Unsupported("a split is not one of a relu's input", where=SOURCE, expected="relu phases",
                          got=str(child["split"])[:200], fix="let Marabou split relus only")  # fmt: skip

    def slopes(self, contradiction: Any, neurons: Mapping[int, Neuron]) -> dict[Neuron, float]:
        """How the Farkas vector shares each relu between its lower faces f >= 0 and f >= b, the latter by aux >= 0."""
        if not isinstance(contradiction, list):
            raise refuse("a contradiction is not understood", SOURCE, "a list", contradiction)
        if not contradiction or not isinstance(contradiction[0], dict):
            return {}  # a variable whose bounds contradict each other
        weights = self._sparse(contradiction, len(self.rows), "a contradiction")
        total: dict[int, float] = {}
        for row, weight in weights.items():
            for variable, value in self.rows[row].items():
                total[variable] = total.get(variable, 0.0) + weight * value
        found = {}
        for b, f, aux in self.relus:
            zero, active = -total.get(f, 0.0), -total.get(aux, 0.0) if aux is not None else 0.0
            if zero >= 0 and active >= 0 and zero + active > 0:
                found[neurons[b]] = active / (zero + active)
        return found

    # -- reading -----------------------------------------------------------------------------------------------------

    def _sparse(self, row: Any, size: int, what: str) -> dict[int, float]:
        if not isinstance(row, list) or not all(isinstance(entry, dict) for entry in row):
            raise refuse(f"{what} is not understood", SOURCE, '[{"var", "val"}, ...]', row)
        values = [float(numbers(entry.get("val"), SOURCE, what)) for entry in row]
        if not np.isfinite(values).all():
            raise refuse(f"{what} is not finite", SOURCE, "finite numbers", row)
        return {self._index(entry.get("var"), size, what): v for entry, v in zip(row, values, strict=True)}

    @staticmethod
    def _index(variable: Any, size: int, what: str) -> int:
        if not isinstance(variable, int) or isinstance(variable, bool) or not 0 <= variable < size:
            raise refuse(f"{what} names a variable or row that does not exist", SOURCE, f"0 to {size - 1}", variable)
        return variable

    # -- neurons -----------------------------------------------------------------------------------------------------

    def _same_box(self, target: Target, inputs: NDArray[np.int64]) -> bool:
        region, mine = target.region, slice(len(inputs))
        scale = NEAR * (1.0 + np.maximum(np.abs(region.lo[inputs]), np.abs(region.hi[inputs])))
        ends = (self.lo[mine], region.lo[inputs]), (self.hi[mine], region.hi[inputs])
        return all(bool((np.abs(a - b) <= scale).all()) for a, b in ends)

    def _match(self, target: Target, inputs: NDArray[np.int64]) -> dict[int, Neuron]:
        region = target.region
        x = np.random.default_rng(0).uniform(region.lo, region.hi, (POINTS, target.network.inputs))
        known = self._run(x[:, inputs])
        values = _values(target, x)
        found: dict[int, Neuron] = {}
        for b, _, _ in self.relus:
            if b not in known:
                raise refuse("the equations do not determine a relu's input", SOURCE, "one affine layer after another",
                             f"variable {b}")  # fmt: skip
            miss = {k: np.abs(z - known[b][:, None]).max(axis=0) / (1.0 + np.abs(known[b]).max())
                    for k, z in values.items()}  # fmt: skip
            value = min(miss, key=lambda k: float(miss[k].min()))
            entry = int(miss[value].argmin())
            if not miss[value][entry] <= NEAR:
                raise refuse("a relu of the proof is none of the network's", SOURCE, "the equations of this network",
                             f"variable {b}, nearest to value {value}, entry {entry}",
                             "give the proof of this network")  # fmt: skip
            found[b] = value, entry
        return found

    def _run(self, x: F64) -> dict[int, F64]:
        """Every variable that the equations and relus determine, at some points.   Shapes  x: [P, inputs] -> [P]"""
        known = {i: x[:, i] for i in range(x.shape[1])}
        for variable in np.flatnonzero(self.lo == self.hi).tolist():
            known.setdefault(variable, np.full(len(x), self.lo[variable]))
        rows, relus = list(self.rows), list(self.relus)
        while True:
            before = len(rows) + len(relus)
            left = []
            for row in rows:
                unknown = [v for v in row if v not in known and row[v] != 0.0]
                if len(unknown) == 1:
                    total = sum((c * known[v] for v, c in row.items() if v in known), np.zeros(len(x)))
                    known[unknown[0]] = -total / row[unknown[0]]
                elif unknown:
                    left.append(row)
            rows = left
            for b, f, _ in relus:
                if b in known:
                    known[f] = np.maximum(known[b], 0.0)
            relus = [relu for relu in relus if relu[0] not in known]
            if len(rows) + len(relus) == before:
                return known


def _values(target: Target, x: F64) -> dict[int, F64]:
    """What each relu reads at some points.   Shapes  [P, n] -> [P, size] each"""
    values = {0: x}
    for k, node in enumerate(target.network.nodes):
        if isinstance(node, Affine):
            values[k] = node.bias + sum(linear.apply(values[source], np.matmul) for linear, source in node.terms)
        elif isinstance(node, Relu):
            values[k] = np.maximum(values[node.source], 0.0)
    return {k: values[k] for k in target.network.relu_inputs}


def _field(data: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind:
    value = data.get(name)
    if not isinstance(value, kind):
        raise refuse(f"the field {name!r} is missing or of another kind", SOURCE, kind.__name__,
                     type(value).__name__ if name in data else ", ".join(map(str, data)))  # fmt: skip
    return value
