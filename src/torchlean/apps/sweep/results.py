"""The results file: CSV, one line per finished instance, appended whole and flushed to disk.

A line is written in one call and is not there unless it is complete: a line without its end, as a kill or a power cut
leaves it, is cut off when the file is opened again, and its instance runs again.
"""

from __future__ import annotations

import csv
import io
import os
import time
from dataclasses import astuple, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from torchlean.apps.sweep.one import STATUSES, Row
from torchlean.errors import FileError, UsageError
from torchlean.files import check_target, unwritable

HEAD = tuple(f.name for f in fields(Row))
_READ: dict[str, Any] = {"int": int, "float": float, "str": str}
_TYPES = tuple(_READ[str(f.type)] for f in fields(Row))


def _locked(file: int, patience: float = 1.0) -> bool:
    """Lock the file. A child of a sweep that was killed holds its lock until it has become another program."""
    import fcntl

    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)


class Results:
    """The rows of a file that this process alone appends to.

    rows   by instance number, those found when it was opened too
    Errors FileError: no place for the file, a file of another kind, disk full; UsageError: another sweep writes it
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_target(self.path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise unwritable(self.path, error, 0) from error
        try:
            if not _locked(self._file):
                raise UsageError("another sweep is writing this file", where=str(self.path),
                                 expected="one sweep for each results file", got="a file that is locked",
                                 fix="wait for the other sweep, or name another --out")  # fmt: skip
            self.rows = {row.number: row for row in self._repaired()}
        except BaseException:
            os.close(self._file)
            raise

    def append(self, row: Row) -> None:
        """Add one row; it is on disk when this returns. Raises FileError, and then the file is as before."""
        self._write(_line([_text(v) for v in astuple(row)]))
        self.rows[row.number] = row

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(28, os.strerror(28))  # ENOSPC: the only reason for a regular file to take a part
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)
            raise unwritable(self.path, error, len(line)) from error

    def _repaired(self) -> list[Row]:
        """The file's rows, after what stands behind its last line end was cut off."""
        with open(self.path, "rb") as file:
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        head, *lines = whole.split(b"\n")[:-1] or [_line(HEAD)[:-1]]
        if head + b"\n" != _line(HEAD) or not (whole or _line(HEAD).startswith(raw)):
            raise self._foreign(1, raw.split(b"\n")[0])
        rows = [self._row(number, line) for number, line in enumerate(lines, 2)]
        if len(whole) != len(raw):
            os.ftruncate(self._file, len(whole))
        if not whole:
            self._write(_line(HEAD))
        return rows

    def _row(self, number: int, line: bytes) -> Row:
        try:
            (cells,) = csv.reader([line.decode()], strict=True)
            row = Row(*(kind(cell) for kind, cell in zip(_TYPES, cells, strict=True)))
        except (ValueError, csv.Error) as problem:
            raise self._foreign(number, line) from problem
        if row.status not in STATUSES:
            raise self._foreign(number, line)
        return row

    def _foreign(self, number: int, line: bytes) -> FileError:
        return FileError(
            "this is no results file of a sweep",
            where=f"{self.path}, line {number}",
            expected=",".join(HEAD) if number == 1 else f"{len(HEAD)} cells of a result",
            got=repr(line[:80].decode("utf-8", "replace")),
            fix="name another --out" if number == 1 else "delete this line: its instance runs again",
        )


def _text(value: object) -> str:
    return " ".join(str(value).split()) if isinstance(value, str) else repr(value)


def _line(cells: tuple[str, ...] | list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
