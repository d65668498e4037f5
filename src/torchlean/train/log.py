"""Logs as JSON lines. A float stands twice: as a decimal for readers, and as the hex of its float64 bits, which count.

Each line is one write to a file opened for appending, so a reader never sees half a line of a run that still goes on.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchlean.errors import FileError
from torchlean.files import read_text


def bits(value: float) -> str:
    """The float64 bits of a number as 16 hex digits, sign first."""
    return struct.pack(">d", value).hex()


def from_bits(text: str) -> float:
    """What `bits` wrote."""
    value: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return value


def encode(record: Mapping[str, Any]) -> str:
    """One JSON line; the float `loss` becomes `loss` and `loss_bits`. JSON has no NaN: it is null, with its bits."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, float | np.floating):
            number = float(value)
            flat[name] = number if math.isfinite(number) else None
            flat[f"{name}_bits"] = bits(number)
        elif isinstance(value, np.ndarray):
            flat[name] = value.tolist()
        else:
            flat[name] = value
    return json.dumps(flat, allow_nan=False) + "\n"


class Log:
    """Appends records to a file; with no path, does nothing."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        self._file: int | None = None

    def __enter__(self) -> Log:
        if self._path is not None:
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            except OSError as error:
                raise self._error(error) from error
        return self

    def __exit__(self, *problem: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, event: str, **fields: Any) -> None:
        """One line. Raises FileError when the disk is full; an incomplete line is cut off again."""
        if self._file is None:
            return
        line = encode({"event": event, **fields}).encode()
        start = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                os.ftruncate(self._file, start)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> FileError:
        return FileError(
            "the log cannot be written",
            where=str(self._path),
            expected="a file that may be appended to",
            got=error.strerror or str(error),
            fix="free some space, or give another path",
        )


def read_log(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The records of a log, floats from their bits.

    Raises   FileError for a line that is no JSON object
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            record = json.loads(line)
            floats = {n.removesuffix("_bits"): from_bits(v) for n, v in record.items() if n.endswith("_bits")}
            record.update(floats)
        except (ValueError, AttributeError, TypeError, struct.error) as error:
            raise FileError(
                "a line of the log is damaged",
                where=f"{path}, line {number}",
                expected="a JSON object",
                got=str(error),
                fix="remove the line",
            ) from None
        yield {n: v for n, v in record.items() if not n.endswith("_bits")}
