"""Explicit downloads: nothing is fetched unless asked for, and nothing is used before its checksum is right."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from torchlean.errors import FileError
from torchlean.files import atomic_write

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file somewhere else.

    name     what it is called here
    url      https:// or file://
    sha256   of its bytes as they come, in hex
    size     its length in bytes; a download stops beyond it
    licence  under which terms it is published
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str


def fetch(source: Source, folder: str | os.PathLike[str], *, local: str | os.PathLike[str] | None = None) -> Path:
    """The path of the source's file in `folder`: already there, copied from `local`, or downloaded.

    local    a file that somebody brought; then the network is not used
    Errors   FileError: no network, another checksum or length, no space; nothing half-written is left
    """
    target = Path(folder) / source.name
    if target.exists():
        _verify(_read(target, source.size), source, str(target))
        return target
    content = _read(Path(local), source.size) if local is not None else _download(source)
    _verify(content, source, source.url if local is None else os.fspath(local))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed("the folder cannot be made", str(target.parent), "a folder", str(error)) from error
    atomic_write(target, content)
    return target


def _read(path: Path, size: int) -> bytes:
    """The bytes as they are, compressed or not: the checksum is of these."""
    try:
        with path.open("rb") as file:
            return file.read(size + 1)
    except OSError as error:
        raise _failed("the file cannot be read", str(path), "a readable file", error.strerror or str(error)) from error


def _download(source: Source) -> bytes:
    if not source.url.startswith(("https://", "file://")):
        raise _failed("a source must be fetched safely", source.url, "https:// or file://", source.url)
    # Imported here: they bring in ssl, which takes longer to load than all of this package.
    from http.client import HTTPException
    from urllib.request import urlopen

    parts: list[bytes] = []
    received = 0
    try:
        with urlopen(source.url, timeout=60) as reply:
            while received <= source.size and (part := reply.read(_CHUNK)):
                parts.append(part)
                received += len(part)
    except (OSError, HTTPException) as error:
        raise _failed("the download failed", source.url, "a reachable address", str(error)) from error
    return b"".join(parts)


def _verify(content: bytes, source: Source, where: str) -> None:
    if len(content) != source.size:
        got = f"{len(content)} bytes" if len(content) <= source.size else "more"
        raise _failed("the file has another length", where, f"{source.size} bytes", got)
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256.lower():
        raise _failed("the file has another checksum", where, f"SHA-256 {source.sha256}", f"SHA-256 {found}")


def _failed(what: str, where: str, expected: str, got: str) -> FileError:
    return FileError(
        what,
        where=where,
        expected=expected,
        got=got,
        fix="delete a damaged file and fetch again, or bring the file and give its path (--from PATH)",
    )
