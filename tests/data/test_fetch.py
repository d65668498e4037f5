"""Downloads: checked before use, offline from a given file, nothing half-written. No test uses the network."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from torchlean.data import Source, fetch
from torchlean.errors import FileError

CONTENT = b"numbers" * 1000


@pytest.fixture
def source(tmp_path: Path) -> Source:
    origin = tmp_path / "origin.bin"
    origin.write_bytes(CONTENT)
    return Source("data.bin", origin.as_uri(), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "CC0")


def test_a_download_is_kept_and_not_repeated(source: Source, tmp_path: Path) -> None:
    path = fetch(source, tmp_path / "cache" / "deep")
    assert path.read_bytes() == CONTENT and os.listdir(path.parent) == ["data.bin"]
    (tmp_path / "origin.bin").unlink()
    assert fetch(source, path.parent) == path


def test_a_file_that_somebody_brought(source: Source, tmp_path: Path) -> None:
    offline = replace(source, url="https://unreachable.invalid/data.bin")
    assert fetch(offline, tmp_path / "cache", local=tmp_path / "origin.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "another checksum"),
        ({"size": len(CONTENT) - 1}, "another length"),
        ({"size": len(CONTENT) + 1}, "another length"),
        ({"url": "file:///no/such/file"}, "download failed"),
        ({"url": "http://example.invalid/x"}, "safely"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_kept(
    change: dict[str, object], message: str, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=message) as caught:
        fetch(replace(source, **change), tmp_path / "cache")
    assert "--from" in caught.value.fix
    assert not list(tmp_path.glob("cache/*"))


def test_a_damaged_copy_is_not_used(source: Source, tmp_path: Path) -> None:
    path = fetch(source, tmp_path / "cache")
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(FileError, match="another checksum"):
        fetch(source, tmp_path / "cache")
    with pytest.raises(FileError, match="cannot be read"):
        fetch(replace(source, name="other"), tmp_path / "cache", local=tmp_path / "nothing")
