"""Records as words of 64 bits, one after the other, as the certificate's file has them; and those words as columns.

A large proof has millions of steps: as words they are checked, sent and looked up in arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np

from torchlean_check.cases import Case, Trees
from torchlean_check.errors import CheckError
from torchlean_check.frozen import frozen
from torchlean_check.network import Ints
from torchlean_check.pushes import Splits, runs
from torchlean_check.records import Bound, Derivation, Record, Refutation

MOST = 1 << 30  # a count in a record
Weights = tuple[tuple[int, float], ...]


@frozen(eq=False)
class Steps:
    """Bounds of hidden entries and refutations.

    index, side   of a bound; 0 of a refutation          clause   of a refutation, or of a bound's derivation
    weight, split, case   where their words start; weights, splits, cases: how many there are
    Shapes        [steps] each
    """

    words: Ints
    index: Ints
    side: Ints
    clause: Ints
    table: Ints
    weight: Ints
    weights: Ints
    split: Ints
    splits: Ints
    case: Ints
    cases: Ints

    def multipliers(self, i: Ints) -> Splits:
        """Of some steps, as rows 0, 1, ...; `at` is the factor."""
        row, at = runs(self.split[i], self.splits[i], 4)
        value, entry, side, m = (self.words[at + k] for k in range(4))
        return Splits(row, value, entry, side, m.view(np.float64))

    def weighed(self, i: Ints) -> list[Weights]:
        """The clause weights of some steps."""
        out: list[Weights] = [()] * len(i)
        for k in np.flatnonzero(self.weights[i]).tolist():
            words = self.words[self.weight[i[k]] :][: 2 * self.weights[i[k]]]
            out[k] = tuple(zip(words[::2].tolist(), words[1::2].view(np.float64).tolist(), strict=True))
        return out

    def trees(self, i: Ints) -> Trees | None:
        """The cases of some steps; None where none has any."""
        if not self.cases[i].any():
            return None
        sizes = np.maximum(self.cases[i], 1)
        words = np.full(sizes.sum(), -1)
        there, at = (runs(first, self.cases[i])[1] for first in (np.cumsum(sizes) - sizes, self.case[i]))
        words[there] = self.words[at]
        return Trees(words, sizes)


@frozen(eq=False)
class Columns:
    """What records hold.

    derivations, refutations   [records + 1] of the records before: so many; refutations are steps
    value, clause              [derivations]       bounds   [derivations + 1] of those before: so many, the first steps
    """

    derivations: Ints
    refutations: Ints
    value: Ints
    clause: Ints
    bounds: Ints
    steps: Steps

    def refuting(self, records: Ints) -> tuple[Ints, Ints]:
        """The refutations of some records: which of these each is in, and the step."""
        first = self.refutations[records]
        return runs(first, self.refutations[records + 1] - first)

    def tables(self, which: Any) -> list[int]:
        """The slope tables that some records name.   Shapes  which: [records], bool"""
        each = np.diff(self.bounds[self.derivations]), np.diff(self.refutations)
        named = self.steps.table[np.concatenate([np.repeat(which, count) for count in each])]
        found: list[int] = np.unique(named[named >= 0]).tolist()
        return found

    def rows(self) -> Ints:
        """How many rows each record asks to bound: of a bound, one for each leaf of its cases."""
        bounds, s = self.bounds[self.derivations], self.steps
        before = np.concatenate([[0], np.cumsum(s.cases[: self.bounds[-1]] // 2 + 1)])
        rows: Ints = before[bounds[1:]] - before[bounds[:-1]] + np.diff(self.refutations)
        return rows


class Packed(Sequence[Any]):
    """Things as words, each made when it is asked for.   words: [W]; starts: [things + 1]"""

    def __init__(self, words: Ints, starts: Ints) -> None:
        self.words, self.starts = words, starts

    @staticmethod
    def _made(words: Iterator[int]) -> Any:
        """The thing that these are the words of."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        k = range(len(self))[i]
        return self._made(iter(self.words[self.starts[k] : self.starts[k + 1]].tolist()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.words, self.starts)

    def part(self, which: slice) -> Self:
        """Some that stand one after the other, as words too."""
        starts = self.starts[which.start : which.stop + 1]
        return type(self)(self.words[starts[0] : starts[-1]], starts - starts[0])

    def each(self) -> Iterator[Ints]:
        """The words of each."""
        return (self.words[a:b] for a, b in pairwise(self.starts.tolist()))


class Bounds(Packed):
    @staticmethod
    def _made(words: Iterator[int]) -> Bound:
        index, side, (weights, table, multipliers) = next(words), next(words), _duals(words)
        return Bound(index, side, weights, table, multipliers, _cases([next(words) for _ in range(next(words))]))


class Records(Packed):
    @staticmethod
    def of(records: Sequence[Record | Ints]) -> Records:
        """Of records, or of the words of each."""
        return records if isinstance(records, Records) else _packed(records)

    @staticmethod
    def _made(words: Iterator[int]) -> Record:
        derivations, refutations = [], []
        first, second = next(words), next(words)
        for _ in range(first):
            value, clause, size = next(words), next(words), next(words)
            bounds = tuple(Bounds._made(words) for _ in range(size))
            derivations.append(Derivation(value, bounds or None, clause))
        for _ in range(second):
            refutations.append(Refutation(next(words), *_duals(words)))
        return Record(tuple(derivations), tuple(refutations))

    def kept(self, which: Any) -> Records:
        """The others become empty.   Shapes  which: [records], bool"""
        words, first = np.repeat(which, np.diff(self.starts)), self.starts[:-1]
        words[first] = words[first + 1] = True  # how many derivations, how many refutations
        starts = np.concatenate([[0], np.cumsum(words)])[self.starts]
        out = self.words[words]
        gone = starts[:-1][~which]
        out[gone] = out[gone + 1] = 0
        return Records(out, starts)

    @cached_property
    def columns(self) -> Columns:
        return columns(self.words, len(self))[0]


def read(words: Ints, count: int) -> Records:
    """The records that words start with. CheckError where they do not hold so many."""
    found, starts = columns(words, count)
    records = Records(words[: starts[-1]], starts)
    records.columns = found
    return records


def columns(words: Ints, count: int) -> tuple[Columns, Ints]:
    """What the first records hold, and where each starts."""
    w = np.ascontiguousarray(words).data
    starts, derivations, refutations, bounds, refuting = [0], [0], [0], list[int](), list[int]()
    derived, per = list[int](), [0]
    at = 0
    try:
        for _ in range(count):
            first, second = w[at], w[at + 1]
            at += 2
            for _ in range(_count(first)):
                derived.append(at)
                size = _count(w[at + 2])
                at += 3
                for _ in range(size):
                    bounds.append(at)
                    at += 4 + 2 * _count(w[at + 2])
                    at += 1 + 4 * _count(w[at])
                    at += 1 + _count(w[at])
                per.append(len(bounds))
            for _ in range(_count(second)):
                refuting.append(at)
                at += 3 + 2 * _count(w[at + 1])
                at += 1 + 4 * _count(w[at])
            starts.append(at)
            derivations.append(len(derived))
            refutations.append(len(refuting))
    except IndexError:
        at = len(words) + 1
    if at > len(words):
        raise _bad("the records are cut off", "more words", "the end")
    b, r, d = (np.array(places, np.int64) for places in (bounds, refuting, derived))
    place = np.concatenate([b + 2, r + 1])
    weights = words[place]
    splits = words[place + 2 + 2 * weights]
    case = place + 3 + 2 * weights + 4 * splits
    clause = np.concatenate([np.repeat(words[d + 1], np.diff(per)), words[r]])
    nothing = np.zeros(len(r), np.int64)
    steps = Steps(
        words, np.concatenate([words[b], nothing]), np.concatenate([words[b + 1], nothing]), clause,
        words[place + 1 + 2 * weights], place + 1, weights, place + 3 + 2 * weights, splits, case + 1,
        np.concatenate([words[case[: len(b)]], nothing]),
    )  # fmt: skip
    every = (np.array(column, np.int64) for column in (derivations, refutations, per, starts))
    whole, refuted, first_bound, ends = every
    return Columns(whole, refuted + len(b), words[d], words[d + 1], first_bound, steps), ends


def _count(n: int) -> int:
    if not 0 <= n <= MOST:
        raise _bad("a count in a record is out of range", f"0 to {MOST}", n)
    return n


def _bad(what: str, expected: str, got: object) -> CheckError:
    fix = "give the certificate that was written for these files"
    return CheckError(what, where="certificate", expected=expected, got=str(got), fix=fix)


def _cases(words: Sequence[int]) -> tuple[Case, ...]:
    return tuple(None if word == -1 else (word >> 32, word & 0xFFFFFFFF) for word in words)


def _duals(words: Iterator[int]) -> tuple[Any, ...]:
    def number() -> float:
        return float(struct.unpack("<d", struct.pack("<q", next(words)))[0])

    weights, table = tuple((next(words), number()) for _ in range(next(words))), next(words)
    return weights, table, tuple((next(words), next(words), next(words), number()) for _ in range(next(words)))


def _packed(records: Sequence[Record | Ints]) -> Records:
    writer, starts = _Writer(), [0]
    for record in records:
        if isinstance(record, np.ndarray):
            writer.insert(record)
        else:
            writer.record(record)
        starts.append(len(writer))
    writer.flush()
    return Records(np.concatenate([*writer.pieces, np.zeros(0, np.int64)]), np.array(starts, np.int64))


class _Writer:
    """Words that are written one by one, and runs of words that stand already."""

    def __init__(self) -> None:
        self.pieces: list[Ints] = []
        self._before = 0  # words of the pieces
        self._out: list[int | float] = []
        self._numbers: list[int] = []  # where a float's bits stand

    def __len__(self) -> int:
        return self._before + len(self._out)

    def insert(self, words: Ints) -> None:
        self.flush()
        self.pieces.append(words)
        self._before += len(words)

    def flush(self) -> None:
        """Make what was written a piece."""
        if not self._out:
            return
        out, at = self._out, np.array(self._numbers, np.int64)
        floats = np.array([out[i] for i in self._numbers], np.float64)
        for i in self._numbers:
            out[i] = 0
        words = np.fromiter(out, np.int64, len(out))
        words[at] = floats.view(np.int64)
        self._out, self._numbers = [], []
        self.insert(words)

    def record(self, record: Record) -> None:
        self._out += len(record.derivations), len(record.refutations)
        for d in record.derivations:
            self._out += d.value, d.clause, len(d.bounds or ())
            if isinstance(d.bounds, Bounds):
                self.insert(d.bounds.words)
                continue
            for b in d.bounds or ():
                self._out += b.index, b.side
                self._duals(b)
                self._out.append(len(b.cases))
                self._out += [-1 if case is None else case[0] << 32 | case[1] for case in b.cases]
        for r in record.refutations:
            self._out.append(r.clause)
            self._duals(r)

    def _duals(self, step: Bound | Refutation) -> None:
        out = self._out
        for tuples, width in ((step.weights, 2), (step.multipliers, 4)):
            out.append(len(tuples))
            self._numbers.extend(range(len(out) + width - 1, len(out) + width * len(tuples), width))
            out.extend(chain.from_iterable(tuples))
            if width == 2:
                out.append(step.table)
