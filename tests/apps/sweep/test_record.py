"""What a sweep is recorded to have run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchlean.apps.sweep.record import machine


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("NVIDIA H200\nNVIDIA H200\nNVIDIA A100\n", "2 x NVIDIA H200, NVIDIA A100"),
        ("NVIDIA H200\n", "NVIDIA H200"),
        ("", None),
    ],
)
def test_cards_are_counted_on_one_line(listed: str, expected: str | None, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine()["gpu"] == expected
