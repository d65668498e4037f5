"""Instances, or parts of each search, as tasks of a ray cluster (extra `ray`): several machines, none of them believed.

Instances: a task gets the bytes of its files and gives back the verifier's answer with the bytes of the proof. An unsat
counts only after torchlean-check, here and on the files here, has called that proof valid, a sat only after its witness
was replayed here; what a query of VNN-LIB 2.0 comes to is derived here again. A task whose worker dies runs again; one
whose workers die each time is an error, never a verdict.

Parts: the verifier runs here and deals out its search (torchlean.verify.parts); its proof is checked as above.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from torchlean.apps.sweep.instances import Instance
from torchlean.apps.sweep.one import Paths, Row, Settings, Verified, counted, run_one, verify_one
from torchlean.apps.sweep.process import Ended, Processes, Stopped
from torchlean.apps.sweep.sweep import Engine
from torchlean.errors import TorchLeanError, Unsupported
from torchlean.files import atomic_write_all, read_bytes
from torchlean.io.vnnlib_version import is_query
from torchlean.verify.crew import source_hash
from torchlean.verify.query import Lowered, lower
from torchlean.verify.ray_crew import RETRIES, connect
from torchlean.verify.witness import Replay

PROCESSORS = 2  # that a task holds: a search may use two processes


@dataclass(frozen=True)
class Task:
    """An instance with the bytes of its files, by name."""

    instance: Instance
    settings: Settings
    files: dict[str, bytes]


@dataclass(frozen=True)
class Answer:
    """What a worker says.      source   the hash of the torchlean that it ran"""

    verified: Verified
    source: str
    proof: bytes | None


def work(task: Task) -> Answer:
    """On a worker: the files into a folder of their own, the verifier on them."""
    with tempfile.TemporaryDirectory(prefix="torchlean-worker-") as scratch:
        folder, old = Path(scratch), task.instance
        for name, data in task.files.items():
            (folder / name).write_bytes(data)
        instance = replace(old, networks=tuple((n, folder / _name(old, p)) for n, p in old.networks),
                           claim=folder / _name(old, old.claim))  # fmt: skip
        proof = folder / "proof.tlcert"
        verified = verify_one(instance, task.settings, proof, Processes())
        return Answer(verified, source_hash(), proof.read_bytes() if proof.exists() else None)


class Ray(Engine):
    """A ray cluster.

    address   of a running one; None: one of this machine alone, ended with the sweep
    Raises    Unsupported where ray is not installed, or no cluster answers
    """

    def __init__(self, address: str | None = None, retries: int = RETRIES, processors: int = PROCESSORS) -> None:
        self._ours = connect(address)
        import ray

        self.ray, self.retries, self.processes = ray, retries, Processes()
        self._work = ray.remote(work).options(max_retries=retries, num_cpus=processors)
        self._running: dict[int, Any] = {}
        self._stopped = False

    def run(self, instance: Instance, settings: Settings, paths: Paths) -> Row:
        """A lost worker's instance is an error. Raises Stopped, FileError; Unsupported for a worker's other version."""
        if self._stopped:
            raise Stopped
        if settings.subtrees > 1:
            at = self.ray.get_runtime_context().gcs_address
            more = ["--engine", "ray", "--ray-address", at, "--subtrees", str(settings.subtrees)]
            row = run_one(instance, replace(settings, check=True), paths, self.processes, more)
            return _believed(row, "the workers")
        files = {_name(instance, path): read_bytes(path) for path in instance.files}
        reference = self._work.remote(Task(instance, settings, files))
        self._running[instance.number] = reference
        try:
            answer: Answer = self.ray.get(reference)
        except self.ray.exceptions.RayError as problem:
            if self._stopped:
                raise Stopped from None
            lost = Ended(-1, False, "", str(problem), 0.0, 0.0, 0)
            why = " ".join(f"lost on the cluster, {self.retries + 1} tries: {type(problem).__name__}".split())
            answer = Answer(Verified("error", why, "", 0, (), (), lost, str(problem)), source_hash(), None)
        finally:
            self._running.pop(instance.number, None)
        if answer.source != source_hash():
            raise Unsupported("a worker runs another torchlean", where="--engine ray",
                              expected=f"source {source_hash()[:12]}", got=f"source {answer.source[:12]}",
                              fix="install one version on all machines")  # fmt: skip
        return self._counted(instance, settings, answer, paths)

    def _counted(self, instance: Instance, settings: Settings, answer: Answer, paths: Paths) -> Row:
        """The row, after the proof was checked here."""
        with tempfile.TemporaryDirectory(prefix="torchlean-sweep-") as scratch:
            proof = (paths.certificates or Path(scratch)) / f"{instance.title}.tlcert"
            proof.unlink(missing_ok=True)
            verified = replace(answer.verified, about=())
            if verified.status == "unsat" and answer.proof is not None:
                lowered = _lowered(instance)
                files: dict[str | os.PathLike[str], bytes] = {str(proof): answer.proof}
                files.update(lowered.beside(str(proof)) if lowered is not None else {})
                atomic_write_all(files)
                verified = replace(verified, about=tuple(Path(name).name for name in list(files)[1:]))
            row = _believed(counted(instance, replace(settings, check=True), verified, proof, paths, self.processes),
                            "a worker")  # fmt: skip
        if row.status == "sat" and not _violated(instance, settings, verified.witness):
            said = "a worker said sat, and its witness violates nothing here"
            return replace(row, status="error", semantics="", reason=said)
        return row

    def stop(self) -> None:
        """Cancel what runs."""
        self._stopped = True
        self.processes.stop()
        for reference in list(self._running.values()):
            self.ray.cancel(reference, force=True)
        if self._ours:
            self._ours = False
            self.ray.shutdown()


def _believed(row: Row, who: str) -> Row:
    """The row; an error where it says unsat and its proof is not valid here."""
    if row.status != "unsat" or row.checked == "valid":
        return row
    said = f"{who} said unsat, and the certificate is not valid here: {row.checked}"
    return replace(row, status="error", semantics="", reason=said)


def _lowered(instance: Instance) -> Lowered | None:
    """The two files that a query of VNN-LIB 2.0 comes to, derived here; None for other claims, and for a broken one:
    then the checker gets the claim itself, and refuses it.
    """
    claim = read_bytes(instance.claim)
    with suppress(TorchLeanError):
        return lower(_models(instance), claim) if is_query(claim) else None
    return None


def _models(instance: Instance) -> dict[str, bytes]:
    return {name: read_bytes(path) for name, path in instance.networks}


def _violated(instance: Instance, settings: Settings, x: tuple[float, ...]) -> bool:
    """Whether the float32 point x is a witness, by a replay here."""
    lowered = _lowered(instance)
    model, claim = _models(instance).get("", b""), read_bytes(instance.claim)
    if lowered is not None:
        model, claim = lowered.model, lowered.claim
    try:
        found = Replay(model, claim).check(np.array(x, np.float32))
    except (TorchLeanError, ValueError):  # files that are none, or a point of another size
        return False
    return found is not None and (found.real if settings.semantics == "real" else found.reference)


def _name(instance: Instance, path: Path) -> str:
    """A name for a file of the instance, whose bytes are plain, that differs from the others'."""
    return f"{instance.files.index(path)}_{path.name.removesuffix('.gz')}"
