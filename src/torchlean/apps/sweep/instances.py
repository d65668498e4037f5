"""VNN-COMP's instances.csv: one network, property and timeout a line, paths relative to the file.

Two forms are read: three columns without a head (VNN-COMP), and a head that names at least onnx, vnnlib and timeout
(or timeout_s), whose other columns are kept. A network may be a list of pairs, [('f', 'onnx/f.onnx'), ...], as for
queries of VNN-LIB 2.0 with named networks.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torchlean.errors import FileError
from torchlean.files import find, read_text
from torchlean.io.networks import parse_networks

FORM = "network, property, timeout in seconds; or a head that names onnx, vnnlib and timeout"


@dataclass(frozen=True)
class Instance:
    """One line of the list.

    number           from 1, in file order
    onnx, vnnlib     as written
    networks         (name, file): one pair without a name, or one pair for each named network
    claim            the property's file        timeout   seconds
    expected         "sat", "unsat" or anything else where the list says nothing
    more             the list's other columns
    """

    number: int
    onnx: str
    vnnlib: str
    networks: tuple[tuple[str, Path], ...]
    claim: Path
    timeout: float
    expected: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A short name that is unique in the list and may name a file."""
        stems = "_".join(path.name.removesuffix(".gz").removesuffix(".onnx") for _, path in self.networks)
        return f"{self.number:04d}_{stems}_{self.claim.name.removesuffix('.gz').removesuffix('.vnnlib')}"[:200]

    @property
    def files(self) -> list[Path]:
        return [*dict.fromkeys(path for _, path in self.networks), self.claim]


def read_instances(path: str | os.PathLike[str]) -> tuple[list[Instance], list[FileError]]:
    """The instances of a list, and one error for each line that is not one.

    Errors   FileError (raised): the list itself is missing, empty, or no text
    """
    text = read_text(path)
    folder = Path(path).parent
    instances: list[Instance] = []
    problems: list[FileError] = []
    for line, cells in _lines(text, str(path)):
        try:
            instances.append(_instance(len(instances) + len(problems) + 1, cells, folder, f"{path}, line {line}"))
        except FileError as problem:
            problems.append(problem)
    if not instances and not problems:
        raise FileError("the list holds no instance", where=str(path), expected=FORM, got="no line",
                        fix="name the instances.csv of a benchmark")  # fmt: skip
    return instances, problems


def _lines(text: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by name) of every line that is not blank."""
    reader = csv.reader(text.splitlines(keepends=True), skipinitialspace=True, strict=True)
    head: list[str] | None = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if head is None:
                named = [cell.lower() for cell in cells]
                head = ["onnx", "vnnlib", "timeout"]
                if "onnx" in named or "vnnlib" in named:
                    head = ["timeout" if name == "timeout_s" else name for name in named]
                    _check_head(head, f"{where}, line {reader.line_num}")
                    continue
            found = dict(zip(head, cells, strict=False))
            if len(cells) > len(head):
                found[""] = f"{len(cells)} cells"
            yield reader.line_num, found
    except csv.Error as problem:
        raise FileError("the list is not CSV", where=f"{where}, line {reader.line_num}", expected=FORM,
                        got=str(problem), fix="correct the quotes of this line") from None  # fmt: skip


def _check_head(head: list[str], where: str) -> None:
    missing = [name for name in ("onnx", "vnnlib", "timeout") if name not in head]
    if missing or len(set(head)) != len(head):
        raise FileError(
            "the head of the list must name each column once, and the three that an instance needs",
            where=where,
            expected="onnx, vnnlib and timeout (or timeout_s)",
            got=", ".join(head),
            fix=f"add {', '.join(missing)}" if missing else "rename the column that is named twice",
        )


def _instance(number: int, cells: dict[str, str], folder: Path, where: str) -> Instance:
    missing = [name for name in ("onnx", "vnnlib", "timeout") if not cells.get(name)]
    if missing or "" in cells:
        raise FileError(
            f"an instance has no {' and no '.join(missing)}" if missing else "an instance has too many cells",
            where=where,
            expected=FORM,
            got=cells.get("") or ", ".join(cells.values()) or "nothing",
            fix="write the line again, or delete it",
        )
    more = {name: value for name, value in cells.items() if name not in ("onnx", "vnnlib", "timeout", "expected")}
    networks = tuple((name, _found(folder / path, where)) for name, path in parse_networks(cells["onnx"], where))
    return Instance(number, cells["onnx"], cells["vnnlib"], networks, _found(folder / cells["vnnlib"], where),
                    _seconds(cells["timeout"], where), cells.get("expected", ""), more)  # fmt: skip


def _found(path: Path, where: str) -> Path:
    try:
        return Path(find(path))
    except FileError as problem:
        raise FileError(problem.what, where=f"{where}: {problem.where}", expected=problem.expected, got=problem.got,
                        fix="correct the path, which is relative to the list, or fetch the file") from None  # fmt: skip


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise FileError("a timeout must be a finite number of seconds above 0", where=where,
                        expected="seconds, such as 116 or 300.0", got=text[:80],
                        fix="write the timeout in seconds")  # fmt: skip
    return value
