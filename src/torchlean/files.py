"""Reading and writing whole files: gzip or plain, each failure one FileError, writes all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, BinaryIO

from torchlean.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path  # a short command does not load it

LIMIT = 4 << 30
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def read_bytes(path: str | os.PathLike[str], *, limit: int = LIMIT, empty: bool = False) -> bytes:
    """The bytes of a file, decompressed when they begin as gzip does; `name` may stand as `name.gz`.

    limit    most bytes accepted, counted after decompression
    empty    whether a file of no bytes is accepted
    Errors   FileError: missing, a directory, unreadable, empty, damaged or truncated gzip, too large
    """
    found = find(path)
    try:
        with open(found, "rb") as file:
            raw = _read(file, limit + 1)
    except OSError as error:
        raise _unreadable(found, error) from error
    if raw.startswith(_GZIP):
        raw = _gunzip(raw, found, limit)
    if len(raw) > limit:
        raise _too_large(found, limit)
    if not raw and not empty:
        raise FileError(
            "the file is empty",
            where=found,
            expected="a file with content",
            got="0 bytes",
            fix="write the file again, or name another one",
        )
    return raw


def _read(file: BinaryIO, most: int) -> bytes:
    """At most so many bytes, in buffers no larger than the file is: `read(most)` would reserve them all."""
    each, parts, left = max(os.fstat(file.fileno()).st_size + 1, _CHUNK), [], most
    while left and (part := file.read(min(each, left))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def find(path: str | os.PathLike[str]) -> str:
    """The file itself, or the same name with .gz where only that exists.

    Errors   FileError: missing, or a directory
    """
    given = os.fspath(path)
    compressed = f"{given}.gz"
    found = compressed if not os.path.exists(given) and os.path.isfile(compressed) else given
    if os.path.isdir(found):
        raise FileError(
            "a file is needed, not a directory",
            where=found,
            expected="the path of a file",
            got="a directory",
            fix="name the file inside it",
        )
    if not os.path.exists(found):
        raise FileError(
            "the file does not exist",
            where=given,
            expected="an existing file, plain or with .gz",
            got="nothing at this path",
            fix="check the spelling and the current directory",
        )
    return found


def read_text(path: str | os.PathLike[str], *, limit: int = LIMIT) -> str:
    """The text of a UTF-8 file, as `read_bytes` reads it.

    Errors   FileError: as read_bytes, and bytes that are not UTF-8
    """
    return decode(read_bytes(path, limit=limit), str(path))


def decode(raw: bytes, where: str) -> str:
    """UTF-8 bytes as text, without a byte-order mark.

    Errors   FileError that names the first bad byte
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            "the file is not text",
            where=f"{where}, byte {error.start}",
            expected="UTF-8 text",
            got=f"byte 0x{raw[error.start]:02x}",
            fix="name the text file, or save it as UTF-8",
        ) from error


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to disk, then renamed over it.

    Errors   FileError: no such folder, no permission, disk full; the old file stays and no partial file is left
    """
    atomic_write_all({path: content})


def atomic_write_all(contents: Mapping[str | os.PathLike[str], bytes]) -> None:
    """Write several whole files: every one is complete on disk before the first old one is replaced.

    Between two renames a reader may see new beside old: files that belong together must say so (by a hash).
    Errors   FileError as `atomic_write`
    """
    waiting: list[tuple[str, str]] = []
    target, size = "", 0
    try:
        for path, content in contents.items():
            target, size = os.fspath(path), len(content)
            _refuse_special(target)
            handle, temporary = _created_beside(target)
            waiting.append((temporary, target))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, _mode(target))
        while waiting:
            temporary, target = waiting[0]
            os.replace(temporary, target)
            del waiting[0]
    except OSError as error:
        raise unwritable(target, error, size) from error
    finally:
        for temporary, _ in waiting:
            with suppress(OSError):
                os.unlink(temporary)


def _refuse_special(target: str) -> None:
    """A rename would put a file in the place of a device or pipe. Raises FileError."""
    if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
        raise FileError(
            "only a regular file can be replaced",
            where=target,
            expected="a path that is free, or a regular file",
            got="a device, pipe or socket",
            fix="name a file",
        )


def _created_beside(target: str) -> tuple[int, str]:
    """A new file in the target's folder, open for writing, for its owner alone. (`tempfile` takes long to import.)"""
    folder, last = os.path.split(target)
    for number in count():
        name = os.path.join(folder, f".{last}.{os.getpid()}.{number}.partial")
        with suppress(FileExistsError):
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), name
    raise AssertionError("count() does not end")


def check_target(path: str | os.PathLike[str]) -> None:
    """Whether a file could be written here later: known before a long run, not after it.

    Errors   FileError: no such folder, a folder that may not be written, a directory or a device at the path
    """
    target = os.fspath(path)
    _refuse_special(target)
    folder = os.path.dirname(target) or os.curdir
    number = errno.EISDIR if os.path.isdir(target) else 0 if os.path.isdir(folder) else errno.ENOENT
    if not number and not os.access(folder, os.W_OK):
        number = errno.EACCES
    if number:
        raise unwritable(target, OSError(number, os.strerror(number)), 0)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with its parents where it is missing.

    Errors   FileError: a file at the path, no permission, disk full
    """
    from pathlib import Path

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, 0) from error
    return folder


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def output_is_full(error: OSError) -> FileError:
    """The error for an answer that standard output did not take."""
    return FileError(
        "the answer cannot be written",
        where="standard output",
        expected="room for it",
        got=error.strerror or str(error),
        fix="free some space, or send the output elsewhere",
    )


def _mode(target: str) -> int:
    """Permissions of the file that is replaced, else what the umask gives a new one."""
    with suppress(OSError):
        return os.stat(target).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _gunzip(raw: bytes, where: str, limit: int) -> bytes:
    """What a gzip file holds, as the checker reads it."""
    import zlib

    from torchlean_check.gzipped import expand

    try:
        content, size = expand(raw, limit)
    except zlib.error as error:
        raise FileError(
            "the gzip file is damaged or truncated",
            where=where,
            expected="a complete gzip file",
            got=str(error),
            fix="fetch or compress the file again",
        ) from error
    if size > limit:
        raise _too_large(where, limit)
    if content[:2] == _GZIP:
        raise FileError(
            "the file is compressed twice",
            where=where,
            expected="a gzip file of a plain one",
            got="a gzip file inside a gzip file",
            fix="expand it once",
        )
    return bytes(content)


def _too_large(where: str, limit: int) -> FileError:
    return FileError(
        "the file is too large",
        where=where,
        expected=f"at most {limit} bytes, uncompressed",
        got="more",
        fix="name a smaller file, or raise the limit",
    )


def _unreadable(where: str, error: OSError) -> FileError:
    return FileError(
        "the file cannot be read",
        where=where,
        expected="a readable file",
        got=error.strerror or str(error),
        fix="check the file's permissions",
    )


def unwritable(target: str | os.PathLike[str], error: OSError, size: int) -> FileError:
    """The error for a file of `size` bytes that the system did not take."""
    full = is_full(error)
    return FileError(
        "the disk is full" if full else "the file cannot be written",
        where=os.fspath(target),
        expected=f"room for {size} bytes" if full else "a folder that exists and may be written",
        got=error.strerror or str(error),
        fix="free some space or write elsewhere; nothing was left behind"
        if full
        else "create the folder, or write elsewhere",
    )
