"""One instance: `torchlean verify` as a whole process, then `torchlean-check` on what it wrote."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchlean.apps.sweep.instances import Instance
from torchlean.apps.sweep.process import Ended, Processes
from torchlean.files import atomic_write

STATUSES = ("sat", "unsat", "unknown", "timeout", "error")
GRACE = 10.0  # seconds after the limit at which a process that does not end by itself is ended
LONGEST_CHECK = 3600.0


@dataclass(frozen=True)
class Settings:
    """What every instance is run with, and what a resumed sweep must be run with again.

    timeout_cap   seconds; an instance has this time or its own, whichever is less
    check         run the independent checker on every certificate
    memory        bytes that each verifier may take      deterministic   its certificate's bytes repeat
    subtrees      parts of one search that are tasks of a cluster at a time; 1: the instance is the task
    """

    timeout_cap: float | None = None
    semantics: str = "float32"
    seed: int = 0
    check: bool = False
    memory: int | None = None
    deterministic: bool = False
    subtrees: int = 1

    def limit(self, instance: Instance) -> float:
        """The seconds that an instance has."""
        return instance.timeout if self.timeout_cap is None else min(instance.timeout, self.timeout_cap)


@dataclass(frozen=True)
class Paths:
    """Where logs and certificates go; None: nowhere."""

    logs: Path | None = None
    certificates: Path | None = None


@dataclass(frozen=True)
class Row:
    """What came of one instance.

    status       sat or unsat: the process said so, with exit code 0, in time. unknown, timeout: it found no answer.
                 error: anything else, a crash too
    semantics    of an unsat or sat     seconds, cpu_seconds, memory_mb   of the whole process
    checked      the checker's word: valid, holey, invalid; timeout or error where it has none; "" where it did not run;
                 check_seconds, check_cpu_seconds   of its whole process
    reason       in the verifier's words
    """

    number: int
    onnx: str
    vnnlib: str
    timeout: float
    status: str
    semantics: str
    seconds: float
    cpu_seconds: float
    memory_mb: float
    checked: str
    check_seconds: float
    check_cpu_seconds: float
    certificate_bytes: int
    leaves: int
    expected: str
    reason: str

    @property
    def solved(self) -> bool:
        return self.status in ("sat", "unsat")

    @property
    def wrong(self) -> bool:
        """Against what is known, or a proof that the checker does not accept."""
        known = self.expected in ("sat", "unsat")
        return (self.solved and known and self.status != self.expected) or self.checked in ("invalid", "holey")


@dataclass(frozen=True)
class Verified:
    """What the verifier's process came to.

    about   the names of files beside the proof that it is about, where a query of VNN-LIB 2.0 was converted
    witness the input that an answer of sat names, flat
    log     the command and all that it printed
    """

    status: str
    reason: str
    semantics: str
    leaves: int
    about: tuple[str, ...]
    witness: tuple[float, ...]
    ended: Ended
    log: str


def verify_one(
    instance: Instance, settings: Settings, proof: Path | None, processes: Processes, more: Sequence[str] = ()
) -> Verified:
    """The verifier on one instance; an unsat leaves its proof at `proof`. Raises Stopped.   more: flags"""
    command = [*verify_command(instance, settings, proof), *more]
    limit = settings.limit(instance)
    ended = processes.run(command, limit + GRACE)
    status, reason, answer = outcome(ended, limit)
    about = tuple(Path(str(name)).name for name in answer.get("about", ()))
    witness = tuple(float(v) for v in (answer.get("witness") or {}).get("x", ()))
    return Verified(status, reason, str(answer.get("semantics", "")), int(answer.get("leaves") or 0), about, witness,
                    ended, _told(command, ended))  # fmt: skip


def counted(
    instance: Instance, settings: Settings, verified: Verified, proof: Path, paths: Paths, processes: Processes
) -> Row:
    """The row of an instance, its proof checked where the settings ask for it. Raises Stopped, FileError."""
    checked, check_seconds, check_cpu_seconds, size = "", 0.0, 0.0, 0
    log = [verified.log]
    if verified.status == "unsat" and proof.exists():
        size = proof.stat().st_size
        if settings.check:
            command = check_command(instance, proof, [str(proof.with_name(name)) for name in verified.about])
            check = processes.run(command, LONGEST_CHECK)
            checked, check_seconds, check_cpu_seconds = check_outcome(check), check.seconds, check.cpu_seconds
            log.append(_told(command, check))
    elif verified.status == "unsat" and settings.check:
        checked = "error"  # an unsat without a proof
    ended = verified.ended
    row = Row(
        instance.number, instance.onnx, instance.vnnlib, settings.limit(instance), verified.status, verified.semantics,
        round(ended.seconds, 3), round(ended.cpu_seconds, 3), round(ended.memory / 1e6, 1), checked,
        round(check_seconds, 3), round(check_cpu_seconds, 3), size, verified.leaves, instance.expected, verified.reason,
    )  # fmt: skip
    if paths.logs is not None:
        atomic_write(paths.logs / f"{instance.title}.log", "\n".join([*log, f"status: {verified.status}", ""]).encode())
    return row


def run_one(
    instance: Instance, settings: Settings, paths: Paths, processes: Processes, more: Sequence[str] = ()
) -> Row:
    """Verify one instance, and check its certificate where the settings ask for it. Raises Stopped, FileError.

    more   flags of the verifier that are no settings
    """
    with tempfile.TemporaryDirectory(prefix="torchlean-sweep-") as scratch:
        proof = (paths.certificates or Path(scratch)) / f"{instance.title}.tlcert"
        proof.unlink(missing_ok=True)
        wanted = settings.check or paths.certificates is not None
        verified = verify_one(instance, settings, proof if wanted else None, processes, more)
        return counted(instance, settings, verified, proof, paths, processes)


def verify_command(instance: Instance, settings: Settings, proof: Path | None) -> list[str]:
    """The command line of the verifier."""
    pairs = [(name, str(path)) for name, path in instance.networks]
    model = repr(pairs) if pairs[0][0] else pairs[0][1]
    command = [sys.executable, "-m", "torchlean", "verify", model, str(instance.claim)]
    command += ["--timeout", repr(settings.limit(instance)), "--semantics", settings.semantics]
    command += ["--seed", str(settings.seed), "--json"]
    command += ["--memory", str(settings.memory)] if settings.memory is not None else []
    command += ["--deterministic"] if settings.deterministic else []
    return command if proof is None else [*command, "--certificate", str(proof)]


def check_command(instance: Instance, proof: Path, about: Sequence[str]) -> list[str]:
    """The command line of the checker.

    about   the files beside the proof that it is about, where a query of VNN-LIB 2.0 was converted
    """
    claim = next((path for path in about if path.endswith(".vnnlib")), str(instance.claim))
    model = next((path for path in about if path.endswith(".onnx")), str(instance.networks[0][1]))
    return [sys.executable, "-m", "torchlean_check", model, claim, str(proof)]


def outcome(ended: Ended, limit: float) -> tuple[str, str, dict[str, Any]]:
    """Status, reason, and the verifier's JSON where it is an answer.

    `sat` and `unsat` are taken from a complete answer of a process that ended well and in time, from nothing else.
    """
    answer = _answer(ended.output)
    said = str(answer.get("verdict", ""))
    reason = " ".join(str(answer.get("reason", "")).split())
    if ended.late:
        return "timeout", "ended at the hard limit", {}
    if ended.code == 0 and said in ("sat", "unsat"):
        if ended.seconds > limit:
            return "timeout", f"said {said} after {ended.seconds:.2f} s", {}
        return said, reason, answer
    if ended.code in (0, 4) and said in ("unknown", "timeout"):
        return said, reason, answer
    first = ended.output.split(maxsplit=1)
    if ended.code == 4 and first and first[0] in ("unknown", "timeout"):  # said by the parent of a search that died
        return first[0], " ".join(first[1:]).strip()[:200], {}
    return "error", _failure(ended), {}


def check_outcome(ended: Ended) -> str:
    """The checker's word, where its exit code says the same."""
    word = (ended.output.split(maxsplit=1) or [""])[0]
    if ended.late:
        return "timeout"
    return word if (word, ended.code) in (("valid", 0), ("holey", 3), ("invalid", 4)) else "error"


def _answer(output: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failure(ended: Ended) -> str:
    how = f"ended by signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
    lines = [line.strip() for line in ended.errors.splitlines() if line.strip()]
    told = lines[0] if lines else "nothing on standard error"
    where = next((line for line in lines if line.startswith("where:")), "")
    got = next((line for line in lines if line.startswith("got:")), "")
    return " ".join(f"{how}: {told} {where} {got}".split())[:300]


def _told(command: list[str], ended: Ended) -> str:
    end = "ended at the hard limit" if ended.late else f"exit code {ended.code}"
    return "\n".join([
        f"$ {shlex.join(command)}", ended.output.rstrip(), ended.errors.rstrip(),
        f"{end}, {ended.seconds:.3f} s, processor {ended.cpu_seconds:.3f} s, {ended.memory / 1e6:.0f} MB", "",
    ])  # fmt: skip
