"""Whole files: gzip or plain, each failure one error, and writes that leave all or nothing."""

import errno
import gzip
import os
from pathlib import Path

import pytest

from torchlean.errors import FileError
from torchlean.files import atomic_write, check_target, decode, find, read_bytes, read_text

TEXT = b"some text that is long enough to be compressed " * 50


def test_plain_gzip_and_a_name_that_lacks_its_gz(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(TEXT)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "misnamed").write_bytes(gzip.compress(TEXT))
    assert read_bytes(tmp_path / "plain") == TEXT
    assert read_bytes(str(tmp_path / "packed.gz")) == TEXT
    assert read_bytes(tmp_path / "packed") == TEXT
    assert read_bytes(tmp_path / "misnamed") == TEXT
    assert find(tmp_path / "packed") == str(tmp_path / "packed.gz")


def test_the_plain_file_comes_before_the_packed_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"plain")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"packed"))
    assert read_bytes(tmp_path / "a") == b"plain"


def test_several_members_and_padding_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(TEXT) + gzip.compress(b"more") + b"\0" * 7)
    assert read_bytes(tmp_path / "a") == TEXT + b"more"


def test_a_large_file_that_packs_well(tmp_path: Path) -> None:
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(bytes(5_000_000)))
    assert read_bytes(tmp_path / "zeros") == bytes(5_000_000)
    with pytest.raises(FileError, match="too large"):
        read_bytes(tmp_path / "zeros", limit=4_999_999)


def test_an_empty_file_is_accepted_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_bytes(tmp_path / "empty", empty=True) == b""


def refused(kind: str, folder: Path) -> None:
    path = folder / "file"
    packed = gzip.compress(TEXT)
    match kind:
        case "missing":
            read_bytes(path)
        case "a directory":
            read_bytes(folder)
        case "empty":
            path.touch()
            read_bytes(path)
        case "empty inside":
            path.write_bytes(gzip.compress(b""))
            read_bytes(path)
        case "too large":
            path.write_bytes(TEXT)
            read_bytes(path, limit=10)
        case "truncated":
            path.write_bytes(packed[: len(packed) // 2])
            read_bytes(path)
        case "damaged":
            path.write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
            read_bytes(path)
        case "trailing":
            path.write_bytes(packed + b"garbage")
            read_bytes(path)
        case "twice":
            path.write_bytes(gzip.compress(packed))
            read_bytes(path)
        case "not text":
            path.write_bytes(b"abc\xff")
            read_text(path)
        case "no folder":
            atomic_write(folder / "no" / "file", b"")
        case "a directory to write":
            (folder / "there").mkdir()
            atomic_write(folder / "there", b"")


CASES = {
    "missing": "does not exist",
    "a directory": "not a directory",
    "empty": "is empty",
    "empty inside": "is empty",
    "too large": "too large",
    "truncated": "damaged or truncated",
    "damaged": "damaged or truncated",
    "trailing": "damaged or truncated",
    "twice": "compressed twice",
    "not text": "byte 3",
    "no folder": "cannot be written",
    "a directory to write": "cannot be written",
}


@pytest.mark.parametrize("kind", CASES)
def test_each_failure_is_one_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=CASES[kind]) as caught:
        refused(kind, tmp_path)
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))
    assert not list(tmp_path.glob(".*"))


def test_every_truncation_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT)
    for end in range(2, len(packed)):
        (tmp_path / "a").write_bytes(packed[:end])
        with pytest.raises(FileError, match="damaged or truncated"):
            read_bytes(tmp_path / "a")


def test_a_byte_order_mark_is_no_text() -> None:
    assert decode(b"\xef\xbb\xbfabc", "here") == "abc"


def test_a_write_replaces_the_file_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    atomic_write(path, b"one")
    assert path.read_bytes() == b"one"
    path.chmod(0o640)
    atomic_write(str(path), TEXT)
    assert path.read_bytes() == TEXT and path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(FileError, match="disk is full") as caught:
        atomic_write(path, TEXT)
    assert "nothing was left behind" in caught.value.fix
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchlean import files

    def on_full_device(_: Path) -> tuple[int, str]:
        (tmp_path / "partial").touch()
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "partial")

    monkeypatch.setattr(files, "_created_beside", on_full_device)
    with pytest.raises(FileError, match="disk is full"):
        atomic_write(tmp_path / "out", TEXT)
    assert os.listdir(tmp_path) == []


def test_a_pipe_is_refused_and_stays_a_pipe(tmp_path: Path) -> None:
    """A rename over /dev/null would leave an ordinary file there."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for write in (lambda: atomic_write(pipe, b"x"), lambda: check_target(pipe)):
        with pytest.raises(FileError, match="only a regular file can be replaced"):
            write()
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
