"""Lists of instances: both forms, and one error of five parts for each line that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchlean.apps.sweep import read_instances
from torchlean.errors import FileError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.onnx", "b.onnx.gz", "p.vnnlib"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def listed(folder: Path, text: str):
    (folder / "instances.csv").write_text(text)
    return read_instances(folder / "instances.csv")


def test_without_a_head(folder: Path) -> None:
    (first, second), problems = listed(folder, "a.onnx,./p.vnnlib,116\n\nb.onnx,p.vnnlib, 300.5 \n")
    assert problems == [] and (first.number, second.number) == (1, 2)
    assert first.networks == (("", folder / "a.onnx"),) and first.claim == folder / "p.vnnlib"
    assert (first.timeout, second.timeout) == (116.0, 300.5) and second.networks[0][1] == folder / "b.onnx.gz"
    assert first.title == "0001_a_p" and second.title == "0002_b_p" and first.expected == ""


def test_with_a_head_in_any_order_and_other_columns(folder: Path) -> None:
    (one,), problems = listed(folder, "\ufeffvnnlib,Expected,onnx,timeout_s,fastest\np.vnnlib,sat,a.onnx,5,nnenum\n")
    assert not problems and (one.onnx, one.vnnlib, one.timeout, one.expected) == ("a.onnx", "p.vnnlib", 5.0, "sat")
    assert one.more == {"fastest": "nnenum"}


def test_named_networks(folder: Path) -> None:
    (one,), problems = listed(folder, "\"[('f', 'a.onnx'), ('g', 'b.onnx')]\",p.vnnlib,5\n")
    assert not problems and [name for name, _ in one.networks] == ["f", "g"]
    assert [path.name for path in one.files] == ["a.onnx", "b.onnx.gz", "p.vnnlib"]


BAD = {
    "a column less": ("a.onnx,p.vnnlib", "no timeout"),
    "an empty cell": ("a.onnx,,5", "no vnnlib"),
    "a cell too many": ("a.onnx,p.vnnlib,5,6", "too many"),
    "a word for a timeout": ("a.onnx,p.vnnlib,soon", "soon"),
    "a timeout of 0": ("a.onnx,p.vnnlib,0", "above 0"),
    "a negative timeout": ("a.onnx,p.vnnlib,-3", "above 0"),
    "an infinite timeout": ("a.onnx,p.vnnlib,inf", "above 0"),
    "a timeout that is no number": ("a.onnx,p.vnnlib,nan", "above 0"),
    "a network that is not there": ("c.onnx,p.vnnlib,5", "c.onnx"),
    "a property that is not there": ("a.onnx,q.vnnlib,5", "q.vnnlib"),
    "a network that is a folder": (".,p.vnnlib,5", "directory"),
    "an empty list of networks": ("[],p.vnnlib,5", "list of networks"),
    "a list of something else": ("\"[('f', 3)]\",p.vnnlib,5", "list of networks"),
    "a call in place of a list": ("\"[__import__('os')]\",p.vnnlib,5", "list of networks"),
}


@pytest.mark.parametrize("title", BAD)
def test_a_bad_line_is_one_error_and_the_others_stand(title: str, folder: Path) -> None:
    line, word = BAD[title]
    good, problems = listed(folder, f"a.onnx,p.vnnlib,5\n{line}\na.onnx,p.vnnlib,6\n")
    assert [i.number for i in good] == [1, 3]
    (problem,) = problems
    text = str(problem)
    assert "line 2" in problem.where and word in text
    assert all(text.count(f"  {part}:") == 1 for part in ("where", "expected", "got", "fix"))


@pytest.mark.parametrize(
    ("text", "word"),
    [("onnx,vnnlib\na.onnx,p.vnnlib\n", "timeout"), ("onnx,onnx,vnnlib,timeout\n", "once"), ("\n\n", "no instance"),
     ("", "empty"), ('"a.onnx,p.vnnlib,5\n', "CSV")],
)  # fmt: skip
def test_a_list_that_is_none(text: str, word: str, folder: Path) -> None:
    with pytest.raises(FileError, match=word):
        listed(folder, text)


def test_titles_stay_apart_and_short(folder: Path) -> None:
    (folder / ("n" * 180 + ".onnx")).write_bytes(b"x")
    (folder / ("q" * 180 + ".vnnlib")).write_bytes(b"x")
    line = f"{'n' * 180}.onnx,{'q' * 180}.vnnlib,5\n"
    (first, second), _ = listed(folder, line * 2)
    assert first.title != second.title and len(first.title) <= 200
