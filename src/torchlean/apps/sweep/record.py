"""What a sweep was run with: versions, hashes, settings and machine, beside its results.

A results file is one experiment. It is resumed only with the same program, list, files and settings; the machine and
the number of jobs may change, and each stretch is on record.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torchlean.apps.sweep.instances import Instance
from torchlean.apps.sweep.one import Settings
from torchlean.errors import FileError, UsageError
from torchlean.files import atomic_write, read_bytes, read_text
from torchlean.verify.crew import source_hash
from torchlean_check.process import processors

BINDING = ("torchlean", "source_sha256", "list_sha256", "settings", "files")
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "python-flint", "ml-dtypes", "gmpy2", "mpmath")


def make_record(path: Path, results: Path, listed: str, instances: Sequence[Instance], settings: Settings,
                jobs: int) -> dict[str, Any]:  # fmt: skip
    """Write the record before the first instance runs, or add a stretch to the one that is there.

    path      of the record     results   the file that it stands beside     listed   path of the list
    Raises    UsageError when the results belong to a run with anything else that binds; FileError
    """
    from torchlean import __version__

    files = {str(file): _hash(file) for file in dict.fromkeys(f for i in instances for f in i.files)}
    record: dict[str, Any] = {
        "torchlean": __version__, "source_sha256": source_hash(), "list": listed,
        "list_sha256": sha256(read_bytes(listed)).hexdigest(), "settings": asdict(settings), "stretches": [],
        "files": files,
    }  # fmt: skip
    if path.exists():
        before = _read(path)
        for name in BINDING:
            if before.get(name) != record[name]:
                raise _another(path, results, name, before.get(name), record[name])
        record["stretches"] = before.get("stretches", [])
    stretch = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "jobs": jobs, **machine()}
    record["stretches"].append(stretch)
    atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def machine() -> dict[str, Any]:
    """Processor, cores and the versions that matter for timings."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        model = named[0] if named else model
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    facts = {"processor": model, "cores": processors(), "python": platform.python_version(), "versions": versions}
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
        cards = Counter(name.strip() for name in names if name.strip())
        facts["gpu"] = ", ".join(name if n == 1 else f"{n} x {name}" for name, n in cards.items()) or None
    return facts


def _hash(path: Path) -> str:
    return sha256(read_bytes(path, empty=True)).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(read_text(path))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise FileError(
            "the record of the sweep cannot be read",
            where=str(path),
            expected="JSON that a sweep wrote",
            got="something else",
            fix="delete it together with its results, or name another --out",
        )
    return record


def _another(path: Path, results: Path, name: str, before: object, now: object) -> UsageError:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        before, now = ({k: side.get(k) for k in keys[:3]} for side in (before, now))
    return UsageError(
        "the results belong to another run",
        where=f"{path}, {name}",
        expected=str(before)[:200],
        got=str(now)[:200],
        fix=f"give the same options and files, or name another --out than {results}",
    )
