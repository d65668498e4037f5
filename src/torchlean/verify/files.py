"""From two files to a verdict: a glance, an attack, then proof and certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import torchlean_check as tc
from torchlean.errors import FileError, Unsupported, UsageError
from torchlean.verify.ahead import Ahead
from torchlean.verify.budget import OUT_OF_MEMORY, ran_out
from torchlean.verify.clock import Deadline, OutOfTime, alarm
from torchlean.verify.glance import glance, quick_rule, root_rule
from torchlean.verify.outcome import Budget, Found, Proof, Stuck
from torchlean.verify.strategy import FEW, Strategy, check_name, choose
from torchlean.verify.verdict import Status, Verdict
from torchlean_check.format import digest
from torchlean_check.gzipped import Bytes, unpack
from torchlean_check.kernel import SEMANTICS
from torchlean_check.network import Curve, Network, Product
from torchlean_check.packed import Records
from torchlean_check.process import processors
from torchlean_check.records import NONE, families, rules
from torchlean_check.vnnlib_reader import Region

if TYPE_CHECKING:
    from torchlean.verify.crew import Crew
    from torchlean.verify.problem import Problem


def verify_files(
    model: Bytes,
    claim: bytes,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
    workers: int | None = None,
    deadline: Deadline | None = None,
    strategy: str | Strategy = "auto",
    crew: Crew | None = None,
) -> Verdict:
    """Decide the property of the VNN-LIB bytes for the network of the ONNX bytes (plain or gzipped).

    timeout     seconds, over everything until the certificate's bytes are made
    deadline    in its place; it brings the memory that may be used. With `Steps`, one process searches
    semantics   "float32" asks for a proof about every float32 execution; where rounding alone stands against it, the
                verdict is about the real function, and says so. "real" asks for that from the start
    strategy    "inputs" or "neurons": what is split; "lp": linear programs by HiGHS, for small networks (extra `lp`);
                "auto" looks first whether boxes at the root are enough, then chooses; the verdict says which and why
    crew        workers that parts of the search are dealt to, once it is seen to be long (`parts`)
    Raises      UsageError, FileError (a file that breaks its format's rules), Unsupported (one that asks for more); of
                a crew InternalError, where an answer does not count, and Exhausted, where a part is lost
    """
    if semantics not in SEMANTICS:
        raise UsageError("no such semantics", where="verify", expected=" or ".join(SEMANTICS), got=repr(semantics),
                         fix='semantics="float32"')  # fmt: skip
    if isinstance(strategy, str):
        check_name(strategy)
    deadline = deadline or Deadline(timeout)
    model, claim = plain(model, "ONNX model"), bytes(plain(claim, "VNN-LIB property"))
    sums = [Ahead(partial(digest, data)) for data in (model, claim)]
    tables: list[tc.SlopeTable] = []  # of the certificate: records name them by position
    said, how = semantics, "attack: before any proof"

    def answer(status: Status, reason: str, **more: Any) -> Verdict:
        return Verdict(status, said, reason, deadline.elapsed, model=model, claim=claim, strategy=how, **more)

    try:
        with alarm(deadline):
            network, regions = read(model, claim)
            looks = [glance(network, region, said) if strategy == "auto" else (False, None) for region in regions]
            if all(closed for closed, _ in looks):
                how, root = "root: its boxes are enough", quick_rule(network)
                proofs = [Proof.of_one_leaf() for _ in regions]
            else:
                from torchlean.verify.problem import Files, Problem  # here: with what only a search needs

                files, rng = Files(model, claim, tables), np.random.default_rng(seed)
                count = 1 if deadline.steps else workers or min(2, processors())
                problems = [
                    Problem(files, network, region, said, deadline, rng, count, place=place, crew=crew)
                    for place, region in enumerate(regions)
                ]
                first_attacks(problems)
                strategies = [choose(strategy, problem) for problem in problems]
                how, root = "; ".join(dict.fromkeys(map(str, strategies))), root_rule(network, regions, strategies)
                for problem, look in zip(problems, looks, strict=True):
                    problem.begin(root, *look)
                try:
                    proofs = [prove(*each) for each in zip(problems, strategies, strict=True)]
                except Budget:
                    said = "real"
                    tables.clear()
                    problems = [problem.over_the_reals(deadline) for problem in problems]
                    proofs = [prove(*each) for each in zip(problems, strategies, strict=True)]
            tables = kept(network, tables, proofs)
            certificate = write([s.result() for s in sums], said, network.table, tables, proofs, root)
    except Found as found:
        kind = "violated over the reals" if said == "real" else "a float32 execution violates the property"
        return answer(Status.SAT, kind, witness=found.witness)
    except OutOfTime:
        return answer(Status.TIMEOUT, "the time limit was reached")
    except Stuck as stuck:
        return answer(Status.UNKNOWN, str(stuck))
    except (MemoryError, RuntimeError) as problem:
        if ran_out(problem):
            return answer(Status.UNKNOWN, OUT_OF_MEMORY)
        if "CUDA error" not in str(problem):
            raise
        return answer(Status.UNKNOWN, f"the device failed: {' '.join(str(problem).split())[:120]}")
    leaves, boxes = sum(p.leaves for p in proofs), sum(p.boxes for p in proofs)
    return answer(Status.UNSAT, "proved", leaves=leaves, boxes=boxes, certificate=certificate,
                  rules=rules(network, tables), table=network.table)  # fmt: skip


def plain(data: Bytes, what: str) -> Bytes:
    """What a gzip file holds; any other bytes as they are. Raises FileError."""
    with translated():
        return unpack(data, what=what)


def read(model: Bytes, claim: bytes) -> tuple[Network, tuple[Region, ...]]:
    """The checker's reading of the files. Raises FileError or Unsupported with the checker's five parts."""
    with translated():
        return tc.load(model, claim)


@contextmanager
def translated() -> Iterator[None]:
    """The checker's errors as torchlean's."""
    try:
        yield
    except tc.CheckError as error:
        kind = Unsupported if isinstance(error, tc.UnsupportedError) else FileError
        raise kind(error.what, where=error.where, expected=error.expected, got=error.got, fix=error.fix) from None


def first_attacks(problems: list[Problem]) -> None:
    """A short attack on every region before anything is proved. Raises Found."""
    for problem in problems:
        points, starts, steps = (256, 24, 10) if len(problem.varying) <= FEW else (32, 12, 20)
        problem.attack(points, starts, steps)


def prove(problem: Problem, strategy: Strategy) -> Proof:
    """A proof that the kernel accepts. Raises Found, Stuck, OutOfTime, Unsupported."""
    try:
        if strategy.prove is not None:
            return strategy.prove(problem)
        if strategy.name == "lp":
            from torchlean.verify.lp import prove_by_linear_programs

            return prove_by_linear_programs(problem)
        if strategy.name == "inputs":
            from torchlean.verify.inputs import prove_by_inputs

            whole = problem.deadline
            if strategy.share is None:
                return prove_by_inputs(problem)
            problem.deadline = whole.part(max(0.01, strategy.share * whole.left))
            try:
                return prove_by_inputs(problem)
            except OutOfTime:
                problem.deadline = whole
                whole.check()
        if any(isinstance(node, (Curve, Product)) for node in problem.network.nodes):
            from torchlean.verify.bent import prove_bent

            return prove_bent(problem)
        from torchlean.verify.neurons import prove_by_neurons

        return prove_by_neurons(problem)
    except tc.CheckError as error:
        raise Stuck(f"{error.what} ({error.where})") from error


def kept(network: Network, tables: list[tc.SlopeTable], proofs: list[Proof]) -> list[tc.SlopeTable]:
    """The tables without the numbers of those that no proof reads."""
    read = {i for proof in proofs for i in Records.of(proof.tree.records).columns.steps.table.tolist() if i >= 0}
    read |= families((tables[i] for i in read), len(network.nodes))
    return [table if i in read else NONE for i, table in enumerate(tables)]


def write(
    sums: list[str],
    semantics: str,
    table: str,
    tables: list[tc.SlopeTable],
    proofs: list[Proof],
    root: str,
) -> bytes:
    """The certificate's bytes.

    sums     the digests of the two files
    root     the rule that the proofs' kernels used
    Raises   Stuck where the checker would not read so many bytes
    """
    from torchlean import __version__

    model, claim = sums
    certificate = tc.Certificate(
        model=model,
        property=claim,
        semantics=semantics,
        root=root,
        writer=f"torchlean {__version__}",
        trees=tuple(p.tree for p in proofs),
        tables=tuple(tables),
        table=table,
    )
    try:
        return tc.encode(certificate)
    except tc.CheckError as error:
        raise Stuck(f"a proof was found, but {error.what}: {error.got} where {error.expected} are read") from None
