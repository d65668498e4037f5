"""vmap of every op is the op on each example, stacked; bit for bit in the reference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from law_cases import CASES, Case

from torchlean import ops
from torchlean.ir import f64
from torchlean.passes import vmap
from torchlean.run.execute import execute

EXAMPLES = 3


def patterns(case: Case) -> list[tuple[bool, ...]]:
    """Which inputs are batched: every way for up to three inputs, else one at a time and all."""
    count = len(case.args)
    if count <= 3:
        return [p for p in product((True, False), repeat=count) if any(p)]
    return [tuple(i == j for j in range(count)) for i in range(count)] + [(True,) * count]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vmap_is_stacking(case: Case) -> None:
    graph = case.graph(f64)
    examples = [case.values(f64, seed) for seed in range(EXAMPLES)]
    for pattern in patterns(case):
        names = [f"x{i}" for i, own in enumerate(pattern) if own]
        batched = vmap(graph, ops.ALL, names, EXAMPLES)
        values = {n: np.stack([e[n] for e in examples]) if n in names else v for n, v in examples[0].items()}
        found = execute(batched, values, "reference")
        each = [execute(graph, {n: e[n] if n in names else examples[0][n] for n in e}, "reference") for e in examples]
        for name in graph.output_types:
            wanted = np.stack([e[name] for e in each])
            assert batched.output_types[name].sizes == wanted.shape, (pattern, name)
            np.testing.assert_array_equal(found[name], wanted, err_msg=f"{pattern} {name}")
