"""Trusted. Bounds that are the least over a case distinction of their own: a full binary tree of value splits at 0.

Every execution at a state meets z <= 0 or z >= 0 at each split, so it is in some leaf; each leaf's bound holds where
its splits do, and the least of them everywhere. A leaf whose splits contradict proved boxes holds no execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torchlean_check.cuts import Cuts
from torchlean_check.errors import CheckError
from torchlean_check.network import Floats, Ints
from torchlean_check.pushes import Pushes, Splits

if TYPE_CHECKING:
    from torchlean_check.kernel import Kernel, Slopes, State

Case = tuple[int, int] | None  # value and index that are split, or a leaf; a tree is a sequence of these in preorder
Cut = tuple[int, int, int]  # value, index, side: -1 where z <= 0, 1 where z >= 0
Asked = Sequence[tuple[int, int, Sequence[tuple[int, float]]]]  # entry, side, weights of a clause's inequalities
MOST = 1 << 12  # leaves of one bound


def leaves(cases: Sequence[Case]) -> list[tuple[Cut, ...]]:
    """The cuts of each leaf, where z <= 0 comes first; one leaf without cuts for no cases. CheckError for no tree."""
    found: list[tuple[Cut, ...]] = []
    waiting: list[tuple[Cut, ...]] = [()]
    for case in cases or (None,):
        if not waiting or len(found) + len(waiting) > MOST:
            break
        path = waiting.pop()
        if case is None:
            found.append(path)
        else:
            waiting += [(*path, (*case, 1)), (*path, (*case, -1))]
    if waiting or len(cases or (None,)) != 2 * len(found) - 1:
        raise _bad(len(cases))
    return found


def check(inner: Any, sizes: Ints) -> None:
    """CheckError unless each run of nodes is such a tree, or empty.   inner: which nodes split; sizes: of the runs"""
    total, ends = np.cumsum(np.where(inner, 1, -1)), np.cumsum(sizes)
    before = np.repeat(np.concatenate([[0], total])[ends - sizes], sizes)
    last = np.zeros(len(total), np.bool_)
    last[ends[sizes > 0] - 1] = True
    if ((total - before == -1) != last).any() or (sizes >= 2 * MOST).any():  # no node waits after the last alone
        raise _bad(int(sizes.max()))


def _bad(nodes: int) -> CheckError:
    return CheckError(
        "the cases of a bound are not a full binary tree, or too many",
        where="record",
        expected=f"splits and leaves in preorder, at most {MOST} leaves",
        got=f"{nodes} cases",
        fix="write the certificate again",
    )


def spread(job: Callable[[Any], Any], parts: Sequence[Any], threads: int) -> Iterable[Any]:
    """The results for each part, in order; in several threads, as numpy computes without the interpreter's lock."""
    if threads == 1 or len(parts) == 1:
        return map(job, parts)
    from concurrent.futures import ThreadPoolExecutor

    def quiet(part: Any) -> Any:
        with np.errstate(all="ignore"):  # each thread has its own
            return job(part)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(quiet, parts))


def least(
    kernel: Kernel,
    state: State,
    value: int,
    asked: Asked,
    slopes: Slopes | None,
    push: Pushes,
    clause: int | None,
    forks: Sequence[Sequence[tuple[Cut, ...]]] | None,
) -> Floats:
    """Lower bounds of side z for entries of a value at a state of one row, each the least over its leaves.

    forks   per bound asked, the cuts of each leaf (`leaves`); None: no bound has cases
    Shapes  slopes per value: [len(asked), size] or [1, size]; push: by row of `asked`   -> [len(asked)]
    """
    from torchlean_check.kernel import HUGE, Facts

    paths = [path for one in forks for path in one] if forks is not None else [()] * len(asked)
    of: Ints = np.repeat(np.arange(len(asked)), [len(one) for one in forks] if forks is not None else 1)
    entry, side = (np.array(column, np.int64) for column in zip(*(a[:2] for a in asked), strict=True))
    out = np.full(len(asked), HUGE)  # more than any value: no execution is there
    chunk, facts = kernel.row_chunk, Facts(state, None, kernel.compress)

    def low(at: int) -> tuple[Ints, Floats]:
        mine = of[at : at + chunk]
        row = np.arange(len(mine))
        split = [(i, *cut, 0.0) for i, path in enumerate(paths[at : at + chunk]) for cut in path]
        cuts = Cuts.of(state, 0 * mine, Splits.of(split))
        given = None if slopes is None else {k: s if len(s) == 1 else s[mine] for k, s in slopes.items()}
        here, toward = facts.below(cuts, given), side[mine].astype(np.float64)
        if clause is None:
            form, offset = kernel.walk(here, value, row, (entry[mine], toward), push.take(mine))
        else:
            each, which = np.unique(mine, return_inverse=True)  # leaves of one bound have the same weights
            weighed = kernel.weighed(clause, [asked[j][2] for j in each.tolist()])[0].take(which)
            seed = Pushes(row, 0 * row + value, entry[mine], toward, np.zeros(len(row)))
            form, offset = kernel.objective(here, row, weighed, push.take(mine) + seed)
        return mine, np.where(cuts.empty, HUGE, kernel.lowest(state, cuts.home, form, offset))

    for mine, found in spread(low, range(0, len(of), chunk), kernel.threads):
        np.minimum.at(out, mine, found)
    return out
