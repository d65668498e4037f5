"""One region to be decided: the kernel that decides, and what the searches share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import torchlean_check as tc
from torchlean.verify.attack import Target, attack
from torchlean.verify.clock import Deadline
from torchlean.verify.glance import quick_rule, slack, usual_rule
from torchlean.verify.maps import NumpyMaps
from torchlean.verify.outcome import Found
from torchlean.verify.planes import Edges
from torchlean.verify.witness import Replay, Witness
from torchlean_check.gzipped import Bytes
from torchlean_check.network import Network
from torchlean_check.process import processors
from torchlean_check.sparse import Sparse
from torchlean_check.vnnlib_reader import Region

if TYPE_CHECKING:
    from torchlean.verify.crew import Crew

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_REPLAYERS = 16


@dataclass
class Files:
    """The two files, torchlean's own reading of them for replays (made when first needed), and what all proofs share.

    tables   slope tables of the certificate: records name them by position
    """

    model: Bytes
    claim: bytes
    tables: list[tc.SlopeTable] = field(default_factory=list)
    refused: int = 0
    _replay: Replay | None = None
    _lock: Lock = field(default_factory=Lock, repr=False)  # searches side by side share these

    @property
    def replay(self) -> Replay:
        if self._replay is None:
            self._replay = Replay(self.model, self.claim)
        return self._replay

    def add(self, tables: Sequence[tc.SlopeTable]) -> Ints:
        """Have more tables; where each stands."""
        with self._lock:
            self.tables += tables
            return np.arange(len(self.tables) - len(tables), len(self.tables))

    def witness(self, x: NDArray[np.float32]) -> Witness | None:
        """What a replay of the point shows.   Shapes  x: [n]"""
        with self._lock:
            return self.replay.check(x)


@dataclass
class Problem:
    """A region, its kernel and its clock.

    rng      the only source of chance
    root     the rule of the root's boxes
    place    of the region among the property's
    crew     the workers that parts of a search are dealt to; None: it is not dealt
    looked   whether the kernel's root is known to leave a clause open
    nearest  the point that came nearest to a violation, [1, n], or none
    asked    the least distance to a violation at which rounding was asked about
    """

    files: Files
    network: Network
    region: Region
    semantics: str
    deadline: Deadline
    rng: np.random.Generator
    workers: int = 1
    root: str = ""
    place: int = 0
    crew: Crew | None = None
    looked: bool = False
    _kernel: tc.Kernel | None = None
    _real: tc.Kernel | None = None
    target: Target = field(init=False)
    nearest: F64 = field(init=False)
    asked: float = np.inf

    def __post_init__(self) -> None:
        self.root = self.root or usual_rule(self.network)
        self.nearest = np.zeros((0, self.network.inputs))
        lo, hi = _float32_points(self.region)
        self.target = Target(self.network, self.region, lo, hi, NumpyMaps(self.network))

    @property
    def sparse(self) -> bool:
        """Whether the network has matrices of few entries, as lattices have: wide layers that are hardly connected."""
        return Sparse in self.network.maps

    @property
    def kernel(self) -> tc.Kernel:
        if self._kernel is None:
            self._kernel = tc.Kernel(self.network, self.region, semantics=self.semantics, root=self.root)
            self._kernel.threads = self.replayers
        return self._kernel

    @property
    def replayers(self) -> int:
        """Processes that replay a proof, and threads that derive bounds with cases."""
        return 1 if self.workers == 1 else min(MOST_REPLAYERS, processors())

    @property
    def real_kernel(self) -> tc.Kernel:
        """The kernel for the real semantics: it tells what rounding alone keeps open."""
        if self._real is None:
            self._real = tc.Kernel(self.network, self.region, semantics="real", root=self.root)
        return self._real

    @cached_property
    def edges(self) -> Edges | None:
        """The first layer, where planes may stand above it: read once, for all searches of the region."""
        return Edges.of(self.kernel)

    @property
    def varying(self) -> NDArray[np.intp]:
        """The inputs that the region does not pin."""
        return np.flatnonzero(self.region.hi > self.region.lo)

    def slack(self) -> F64:
        """The margin that a leaf must clear, per inequality. Shapes: -> [R]"""
        return slack(self.kernel)

    def over_the_reals(self, deadline: Deadline) -> Problem:
        """The same for the real semantics."""
        made = Problem(self.files, self.network, self.region, "real", deadline, self.rng, self.workers, self.root,
                       self.place, self.crew)  # fmt: skip
        made._kernel = self._real
        return made

    def take(self, kernel: tc.Kernel) -> None:
        """Use a kernel that is there already, with this problem's region, semantics and root rule."""
        self._kernel = kernel

    def begin(self, root: str, closed: bool, glanced: tc.Kernel | None) -> None:
        """Settle on the rule of the root's boxes.

        closed, glanced   what `glance` said: its kernel, by `quick_rule`, is for use where that is the rule
        """
        self.root = root
        self._kernel = glanced if quick_rule(self.network) == root else None
        self.looked = self._kernel is not None and not closed

    def attack(self, points: int, starts: int, steps: int, deadline: Deadline | None = None) -> None:
        """Attack, and try what looks violating; see `attack.attack`. Raises Found."""
        found, g = attack(self.target, self.rng, points, starts, steps, deadline or self.deadline)
        self.nearest = found[:1]
        self.try_points(found[g <= 0])

    def try_points(self, points: F64, most: int = 2) -> None:
        """Replay points that look violating. Raises Found when one is a witness."""
        for x in points[:most]:
            if self.files.refused >= 40:  # only nearly violating: replays cost more than they bring
                return
            self.ask(x.astype(np.float32))
            self.files.refused += 1

    def ask(self, x: NDArray[np.float32]) -> None:
        """Replay one point. Raises Found when it is a witness.   Shapes  x: [n]"""
        witness = self.files.witness(x)
        if witness is not None and (witness.real if self.semantics == "real" else witness.reference):
            raise Found(witness)


def _float32_points(region: Region) -> tuple[F64, F64]:
    """The float32 points a witness should keep to: inside the exact region where it holds any, else its hull."""
    lo, hi = region.lo, region.hi
    inner_lo = np.where(_differs(region.exact_lo, lo), np.nextafter(lo.astype(np.float32), np.float32(np.inf)), lo)
    inner_hi = np.where(_differs(region.exact_hi, hi), np.nextafter(hi.astype(np.float32), np.float32(-np.inf)), hi)
    some = inner_lo <= inner_hi
    # -0.0 becomes 0.0: a random generator refuses the interval [0.0, -0.0]
    return np.where(some, inner_lo, lo) + 0.0, np.where(some, inner_hi, hi) + 0.0


def _differs(exact: Sequence[Fraction], floats: F64) -> NDArray[np.bool_]:
    """Whether a float is another number than the exact one."""
    ratios = [f.as_integer_ratio() for f in floats.tolist()]
    return np.array([(x.numerator, x.denominator) != ratio for x, ratio in zip(exact, ratios, strict=True)], np.bool_)
