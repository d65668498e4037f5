"""Logs: one JSON object a line, floats as bits, nothing half-written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, optim, train
from torchlean.errors import FileError
from torchlean.train.log import Log, bits, encode, from_bits


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 5e-324, -1.7976931348623157e308, math.inf, -math.inf, math.nan])
def test_bits_round_trip(value: float) -> None:
    assert bits(from_bits(bits(value))) == bits(value) and len(bits(value)) == 16
    record = json.loads(encode({"loss": value}))
    assert record["loss_bits"] == bits(value)
    assert record["loss"] == (value if math.isfinite(value) else None)


def test_a_run_can_be_read_back_from_its_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    program = nn.trace(nn.Linear(3, 1), tl.f32["n", 3])
    trainer = train.Trainer(tl.losses.mse, optim.SGD(0.1), progress=False)
    run = trainer.fit(
        program, (x, x[:, :1]), steps=6, batch_size=5, log=path, validation=(x, x[:, :1]), validate_every=3
    )
    records = list(train.read_log(path))
    assert [r["event"] for r in records] == ["start", *["step"] * 3, "validation", *["step"] * 3, "validation", "end"]
    assert [r["loss"] for r in records if r["event"] == "step"] == run.history.loss.tolist()
    assert records[0]["optimizer"] == repr(optim.SGD(0.1)) and records[-1] == {
        "event": "end",
        "step": 6,
        "stopped_early": False,
    }
    assert [r["epoch"] for r in records if r["event"] == "step"] == [0, 0, 0, 0, 1, 1]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "log", os.write
    with Log(path) as log:
        log.write("step", step=1)
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
        with pytest.raises(FileError, match="cannot be written"):
            log.write("step", step=2)
    assert path.read_text() == '{"event": "step", "step": 1}\n'


@pytest.mark.parametrize("text", ['{"event": "step"', "[1, 2]", '{"loss_bits": "xyz"}'])
def test_a_damaged_line_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text('{"event": "start"}\n' + text + "\n")
    with pytest.raises(FileError) as caught:
        list(train.read_log(path))
    assert caught.value.where == f"{path}, line 2"
