"""Checkpoints: a resumed run makes the bits of one that was never interrupted; nothing else is accepted."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn, optim, train
from torchlean.errors import FileError, TorchLeanError, UsageError
from torchlean.run.program import Program
from torchlean.train import losses

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3)).astype(np.float32)
Y = np.abs(X).sum(axis=1, keepdims=True)


def mlp(hidden: int = 8) -> Program:
    return nn.trace(nn.MLP(3, hidden, 1), tl.f32["batch", 3], seed=0)


def fit(program: Program | None = None, optimizer: optim.Optimizer | None = None, **options: Any) -> train.Run:
    trainer = train.Trainer(losses.mse, optimizer or optim.Adam(optim.Cosine(1e-2, steps=100)), progress=False)
    return trainer.fit(
        program or mlp(), (X, Y), **({"batch_size": 8, "validation": (X, Y), "validate_every": 7} | options)
    )


@pytest.mark.parametrize("partial", ["drop", "keep"])
def test_a_hundred_steps_are_fifty_and_fifty(tmp_path: Path, partial: str) -> None:
    path = tmp_path / "run.safetensors"
    whole = fit(steps=100, partial=partial, checkpoint=tmp_path / "whole.safetensors")
    fit(steps=50, partial=partial, checkpoint=path)
    rest = fit(steps=100, partial=partial, resume=path, checkpoint=path)
    for name, a in whole.program.parameters.items():
        assert a.tobytes() == rest.program.parameters[name].tobytes()
    assert whole.history.loss.tobytes() == rest.history.loss.tobytes() and len(rest.history.loss) == 100
    assert whole.history.rate.tobytes() == rest.history.rate.tobytes()
    assert rest.history.validation == whole.history.validation


def test_early_stopping_continues_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    options = {"optimizer": optim.Adam(0.2), "validate_every": 1, "patience": 12}
    whole = fit(steps=300, **options)
    assert whole.best is not None and whole.steps < 300
    fit(steps=whole.best + 5, checkpoint=path, **options)
    rest = fit(steps=300, resume=path, **options)
    assert (rest.best, rest.steps) == (whole.best, whole.steps)
    for name, a in whole.program.parameters.items():
        assert a.tobytes() == rest.program.parameters[name].tobytes()


def test_equal_runs_write_equal_files(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    fit(steps=5, checkpoint=a)
    fit(steps=5, checkpoint=b)
    assert a.read_bytes() == b.read_bytes() and sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_checkpoint_is_written_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchlean.train import trainer

    steps: list[int] = []
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path, checkpoint: steps.append(checkpoint.step))
    fit(steps=10, checkpoint=tmp_path / "c", checkpoint_every=4)
    assert steps == [4, 8, 10]


OTHER: dict[str, tuple[dict[str, Any], type[TorchLeanError], str]] = {
    "program": ({"program": mlp(9)}, FileError, "belongs to another program"),
    "optimizer": ({"optimizer": optim.SGD(0.1)}, UsageError, "another optimizer"),
    "seed": ({"seed": 1}, UsageError, "another seed"),
    "batch size": ({"batch_size": 9}, UsageError, "another batch_size"),
    "partial": ({"partial": "keep"}, UsageError, "another partial"),
    "fewer steps": ({"steps": 3}, UsageError, "beyond the last step"),
}


@pytest.mark.parametrize(("change", "kind", "text"), OTHER.values(), ids=OTHER)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, change: dict[str, Any], kind: type[TorchLeanError], text: str
) -> None:
    path = tmp_path / "run"
    fit(steps=5, checkpoint=path)
    with pytest.raises(kind, match=text):
        fit(**({"steps": 10, "resume": path} | change))


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(steps=5, checkpoint=path)
    trainer = train.Trainer(losses.mse, optim.Adam(optim.Cosine(1e-2, steps=100)), progress=False)
    with pytest.raises(UsageError, match="another data"):
        trainer.fit(mlp(), (X, Y + 1), steps=10, batch_size=8, resume=path)


def edited(raw: bytes, change: Any) -> bytes:
    """The file with its header changed, the tensors as they were."""
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def metadata(**fields: Any) -> Any:
    def change(header: dict[str, Any]) -> None:
        content = json.loads(header["__metadata__"]["torchlean"]) | fields
        header["__metadata__"]["torchlean"] = json.dumps(content)

    return change


def rename(header: dict[str, Any]) -> None:
    header["value/layers.0.weights"] = header.pop("value/layers.0.weight")


def reshape(header: dict[str, Any]) -> None:
    header["value/layers.0.weight"]["shape"] = [3, 8]


DAMAGE: dict[str, Any] = {
    "empty": lambda raw: b"",
    "truncated": lambda raw: raw[:-10],
    "cut in the header": lambda raw: raw[:100],
    "text": lambda raw: b"not a checkpoint, but long enough to look at",
    "no metadata": lambda raw: edited(raw, lambda h: h.pop("__metadata__")),
    "version": lambda raw: edited(raw, metadata(version=99)),
    "step": lambda raw: edited(raw, metadata(step=-1)),
    "unknown field": lambda raw: edited(raw, metadata(more=1)),
    "unknown setting": lambda raw: edited(raw, metadata(settings={"a": 1})),
    "another name": lambda raw: edited(raw, rename),
    "another shape": lambda raw: edited(raw, reshape),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "run"
    fit(steps=5, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileError) as caught:
        fit(steps=10, resume=path)
    assert str(path) in caught.value.where


def test_a_missing_checkpoint_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        fit(steps=10, resume=tmp_path / "none")
    with pytest.raises(FileError):
        fit(steps=1, checkpoint=tmp_path / "no" / "folder")
    assert not list(tmp_path.iterdir())
