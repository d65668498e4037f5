"""Linear and mixed-integer programs by HiGHS (extra `lp`), for small networks: the strategy `lp`.

A linear program's answer counts only after its dual has become slopes, weights and split multipliers with which the
kernel refutes; a mixed-integer program's only as a point that is replayed, or as a choice of relus to split.
"""

from __future__ import annotations

from torchlean.verify.lp.highs import load_highspy
from torchlean.verify.outcome import Proof
from torchlean.verify.problem import Problem
from torchlean.verify.strategy import FEW

__all__ = ["prove_by_linear_programs"]


def prove_by_linear_programs(problem: Problem) -> Proof:
    """A proof that the kernel accepts.

    Raises   Found, Stuck, Budget, OutOfTime; Unsupported where HiGHS is missing, or the network is too large or has
             other nodes than affine ones and relus
    """
    load_highspy()
    if len(problem.varying) <= FEW:  # with more of them relus are split instead
        from torchlean.verify.lp.regions import prove_by_inputs

        return prove_by_inputs(problem)
    from torchlean.verify.lp.search import prove_by_neurons

    return prove_by_neurons(problem)
