"""A region of a network with curves and products: the kernel's own bounds at the root, then splits of inputs."""

from __future__ import annotations

import numpy as np

import torchlean_check as tc
from torchlean.verify.boxes import search_with_kernel
from torchlean.verify.problem import Problem, Proof


def prove_bent(problem: Problem) -> Proof:
    """Raises Found, Stuck, Budget, OutOfTime."""
    kernel, builder = problem.kernel, tc.TreeBuilder()
    state = kernel.start()
    bounds = kernel.bound(state, derive=False)
    if kernel.refuted(state, bounds.margin, problem.slack()).all():
        return Proof(builder.build()[0], 1, 1)
    boxes = search_with_kernel(problem, builder, np.zeros(1, np.int64), state)
    return Proof(builder.build()[0], len(builder.leaves()), boxes)
