"""Bounds and refutations made of columns, as words: a search finds thousands at once. Nothing here is trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from torchlean_check.network import Floats, Ints
from torchlean_check.packed import Bounds, Records
from torchlean_check.pushes import Splits, runs

Part = tuple[Ints, Ints]  # how many words of each row, and those words, row after row


def bounds(
    index: Ints, side: Ints, weights: tuple[Ints, Ints, Floats], table: Ints, splits: Splits, cases: Part
) -> Bounds:
    """The fields of `Bound`, a column each.

    weights   how many each bound has, the inequality of each, the weight
    splits    their `at` is the multiplier     cases   value << 32 | index where one is split, -1 for a leaf
    """
    head = np.stack([index, side], axis=1)
    nodes = cases[0]
    return Bounds(*_woven([_each(head), *_duals(weights, table, splits), _each(nodes[:, None]), cases]))


def refutations(clause: Ints, table: Ints, splits: Splits) -> Records:
    """A record of each refutation: the fields of `Refutation`, a column each, without weights."""
    none = 0 * clause, np.zeros(0, np.int64), np.zeros(0)
    head = np.stack([0 * clause, 0 * clause + 1, clause], axis=1)  # no derivation, one refutation
    return Records(*_woven([_each(head), *_duals(none, table, splits)]))


def _duals(weights: tuple[Ints, Ints, Floats], table: Ints, splits: Splits) -> list[Part]:
    count, inequality, weight = weights
    pairs = np.stack([inequality, _bits(weight)], axis=1)
    each = np.bincount(splits.row, minlength=len(table))
    fours = np.stack([splits.value, splits.entry, splits.side, _bits(splits.at)], axis=1)
    return [
        _each(count[:, None]), (2 * count, pairs.reshape(-1)),
        _each(np.stack([table, each], axis=1)), (4 * each, fours.reshape(-1)),
    ]  # fmt: skip


def _bits(numbers: Floats) -> Ints:
    return np.ascontiguousarray(numbers, np.float64).view(np.int64)


def _each(words: Ints) -> Part:
    """The same number of words in each row.   Shapes  [rows, words]"""
    return np.full(len(words), words.shape[1]), words.reshape(-1)


def _woven(parts: Sequence[Part]) -> tuple[Ints, Ints]:
    """Rows in which the words of one part stand behind those of another, and where each row starts."""
    starts = np.concatenate([[0], np.cumsum(np.stack([count for count, _ in parts]).sum(axis=0))])
    words = np.empty(starts[-1], np.int64)
    at = starts[:-1]
    for count, own in parts:
        words[runs(at, count)[1]] = own
        at = at + count
    return words, starts
