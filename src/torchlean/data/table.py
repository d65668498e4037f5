"""Tables in CSV form, read strictly: every cell is a number, or the row is refused or counted as missing."""

from __future__ import annotations

import csv as _csv
import os
import re
from collections.abc import Sequence
from io import StringIO

import numpy as np

from torchlean.data.dataset import Dataset
from torchlean.errors import DataError
from torchlean.files import decode, read_bytes

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_MAX32 = float(np.finfo(np.float32).max)


def csv(
    source: str | os.PathLike[str] | bytes,
    *,
    target: str | Sequence[str],
    features: Sequence[str] | None = None,
    missing: str | None = None,
    delimiter: str = ",",
) -> Dataset:
    """A CSV file with a header line, as float32 columns.

    source    a path (plain or gzip), or the bytes
    target    the column, or columns, to predict
    features  the columns of x in this order; None: every column that is no target
    missing   text of a cell without a value, such as "?": its row is left out and counted; None: refused
    Returns   x: float32 [n, features], y: float32 [n, targets]; a decimal is rounded to float64, then to float32
    Errors    FileError: missing, empty, not text; DataError: no such column, a ragged row, text, NaN or infinity where
              a number must stand, each with its line and column
    """
    where = "the table" if isinstance(source, bytes) else os.fspath(source)
    rows = _rows(decode(source if isinstance(source, bytes) else read_bytes(source), where), where, delimiter)
    (_, header), *body = rows
    targets = (target,) if isinstance(target, str) else tuple(target)
    names = tuple(n for n in header if n not in targets) if features is None else tuple(features)
    positions = [_position(name, header, where) for name in names + targets]
    kept: list[list[float]] = []
    for line, cells in body:
        if len(cells) != len(header):
            raise _bad("a row has another number of cells", f"{where}, line {line}", f"{len(header)}", f"{len(cells)}")
        chosen = [cells[p].strip() for p in positions]
        if missing is None or missing not in chosen:
            kept.append(
                [_number(c, f"{where}, line {line}, {header[p]}") for c, p in zip(chosen, positions, strict=True)]
            )
    if not kept:
        raise _bad(
            "the table has no complete row", where, "at least one row of numbers", f"{len(body)} rows, none complete"
        )
    table = np.array(kept, np.float64).astype(np.float32)
    return Dataset(table[:, : len(names)], table[:, len(names) :], names, targets, len(body) - len(kept))


def _rows(text: str, where: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The header and the rows, each with its line number; blank lines are passed over."""
    reader = _csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except _csv.Error as error:
        raise _bad(
            "the table is not CSV", f"{where}, line {reader.line_num}", "comma-separated values", str(error)
        ) from error
    if not rows:
        raise _bad("the table has no header", where, "a first line with column names", "blank lines only")
    header = [name.strip() for name in rows[0][1]]
    for i, name in enumerate(header):
        if name in header[:i]:
            raise _bad("two columns have one name", f"{where}, line {rows[0][0]}", "different names", name)
    return [(rows[0][0], header), *rows[1:]]


def _position(name: str, header: list[str], where: str) -> int:
    if name not in header:
        raise _bad("the table lacks a column", where, f"one of: {', '.join(header)}", name)
    return header.index(name)


def _number(cell: str, where: str) -> float:
    if not _NUMBER.fullmatch(cell):
        got = repr(cell[:40]) if cell else "an empty cell"
        raise _bad("a cell is not a finite number", where, "a decimal number", got)
    value = float(cell)
    if not abs(value) <= _MAX32:
        raise _bad("a number is beyond the largest float32", where, f"magnitude at most {_MAX32:.9g}", cell[:40])
    return value


def _bad(what: str, where: str, expected: str, got: str) -> DataError:
    fix = "correct the file, or choose the columns with features=[...] and mark gaps with missing=..."
    return DataError(what, where=where, expected=expected, got=got, fix=fix)
