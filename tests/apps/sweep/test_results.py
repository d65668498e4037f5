"""The results file: whole lines or none, whatever cut it off."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from torchlean.apps.sweep import Results, Row
from torchlean.errors import FileError, UsageError

ROW = Row(1, "a, b.onnx", 'p "q".vnnlib', 116.0, "unsat", "float32", 1.25, 0.5, 70.1, "valid", 0.1, 0.09, 553, 39,
          "", "né")  # fmt: skip


def rows(count: int) -> list[Row]:
    return [replace(ROW, number=n, seconds=n / 7) for n in range(1, count + 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Results(tmp_path / "results.csv") as results:
        for row in rows(3):
            results.append(row)
    return tmp_path / "results.csv"


def test_what_was_written_is_read_back(path: Path) -> None:
    with Results(path) as results:
        assert list(results.rows.values()) == rows(3)


def test_every_cut_loses_at_most_the_line_that_was_cut(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a thousand times is slow
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        complete = max(sum(end <= size for end in ends) - 1, 0)
        with Results(path) as results:
            assert list(results.rows.values()) == rows(complete)
            for row in rows(3)[complete:]:
                results.append(row)
        assert path.read_bytes() == whole


def test_line_ends_inside_a_reason_do_not_break_the_line(path: Path) -> None:
    row = replace(ROW, number=4, reason="two\nlines\r\tand, more")
    with Results(path) as results:
        results.append(row)
    with Results(path) as results:
        assert results.rows[4].reason == "two lines and, more"


def test_another_sweep_on_the_same_file_is_refused(path: Path) -> None:
    with Results(path), pytest.raises(UsageError, match="another sweep"):
        Results(path)
    Results(path).close()


@pytest.mark.parametrize("text", [b"hello\n", b"onnx,vnnlib,1\n", b"\x00\x01", b"number,onnx\n1,a\n", b"hello"])
def test_a_file_of_another_kind_is_left_alone(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(text)
    with pytest.raises(FileError, match="no results file"):
        Results(path)
    assert path.read_bytes() == text


@pytest.mark.parametrize("old", [b"unsat", b"116.0", b"2,", b","])
def test_a_damaged_line_is_named(old: bytes, path: Path) -> None:
    before = path.read_bytes()
    head, first, second, *rest = before.split(b"\n")
    damaged = b"\n".join([head, first, second.replace(old, b"\x00", 1), *rest])
    path.write_bytes(damaged)
    with pytest.raises(FileError, match="line 3"):
        Results(path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("fault", ["no room", "room for a part", "not flushed"])
def test_a_full_disk_leaves_the_file_as_it_was(fault: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = path.read_bytes(), os.write

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Results(path) as results:
        if fault == "not flushed":
            monkeypatch.setattr(os, "fsync", full)
        else:
            monkeypatch.setattr(os, "write", full if fault == "no room" else lambda f, data: write(f, data[:20]))
        with pytest.raises(FileError, match="disk is full"):
            results.append(replace(ROW, number=4))
        monkeypatch.undo()
        assert path.read_bytes() == before and 4 not in results.rows
        results.append(replace(ROW, number=4))
    with Results(path) as results:
        assert sorted(results.rows) == [1, 2, 3, 4]


def test_no_place_for_the_file(tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "results.csv", tmp_path, Path("/dev/null")):
        with pytest.raises(FileError):
            Results(place)
