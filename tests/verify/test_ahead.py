"""Calls that begin before their results are wanted."""

from __future__ import annotations

import hashlib
import threading

import pytest

from torchlean.cli import main
from torchlean.errors import FileError
from torchlean.verify.ahead import Ahead
from torchlean.verify.files import verify_files
from torchlean_check.format import decode


def test_the_call_runs_meanwhile_and_gives_its_result_each_time() -> None:
    begun, go = threading.Event(), threading.Event()

    def call() -> int:
        begun.set()
        assert go.wait(30)
        return 7

    ahead = Ahead(call)
    assert begun.wait(30)  # before its result is asked for
    go.set()
    assert ahead.result() == ahead.result() == 7


def test_what_the_call_raised_is_raised_where_the_result_is_wanted() -> None:
    def call() -> None:
        raise FileError("no file", where="x", expected="a file", got="nothing", fix="write it")

    ahead = Ahead(call)
    for _ in range(2):
        with pytest.raises(FileError, match="no file"):
            ahead.result()


def test_a_certificate_holds_the_digests_of_both_files(mlp, files) -> None:
    model = mlp((3, 4, 1), 0)[1]
    claim = files[1](["-0.1"] * 3, ["0.1"] * 3, 1, ["(assert (>= Y_0 1000.0))"])
    certificate = decode(verify_files(model, claim).certificate)
    assert certificate.model == hashlib.sha256(model).hexdigest()
    assert certificate.property == hashlib.sha256(claim).hexdigest()


def test_a_model_that_is_missing_or_damaged_is_one_error(tmp_path, capfd) -> None:
    claim, damaged = tmp_path / "p.vnnlib", tmp_path / "m.onnx.gz"
    claim.write_text("(declare-const X_0 Real)\n")
    damaged.write_bytes(b"\x1f\x8b" + bytes(40))
    for name, word in ((tmp_path / "none.onnx", "does not exist"), (damaged, "gzip")):
        assert main(["verify", str(name), str(claim)]) == 2
        out, err = capfd.readouterr()
        assert not out and word in err.lower() and all(part in err for part in ("where:", "expected:", "got:", "fix:"))
