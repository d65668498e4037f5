"""Programs on disk: what is written reads back, and nothing else reads."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from torchlean import files, ops
from torchlean.errors import FileError, ShapeError
from torchlean.ir import Builder, content_hash, f32, load_program, save_program
from torchlean.ir.file import _digest, _tensors

W = np.array([[0.0, -0.0], [np.nan, np.inf], [1e-45, 3.0], [1.0, 2.0]], np.float32)


@pytest.fixture
def saved(tmp_path, small):
    save_program(tmp_path / "net", small, {"w": W})
    return tmp_path / "net"


def test_what_is_written_reads_back(saved, small):
    graph, arrays = load_program(saved, ops.ALL)
    assert graph == small and [n.where for n in graph.nodes] == [n.where for n in small.nodes]
    assert list(arrays) == ["w"] and arrays["w"].tobytes() == W.tobytes() and arrays["w"].dtype == np.float32
    again, _ = load_program(f"{saved}.json", ops.ALL)
    assert again == small
    assert sorted(os.listdir(saved.parent)) == ["net.json", "net.safetensors"]


def test_a_graph_with_every_part_reads_back(tmp_path, graph, table):
    n = 3
    arrays = {"running mean": np.zeros(n, np.float32), "layers.0.weight": np.ones((3, 2 * n + 1), ">f4")}
    save_program(tmp_path / "v1.5", graph, arrays)
    again, loaded = load_program(tmp_path / "v1.5", table)
    assert again == graph
    assert sorted(loaded) == sorted(arrays)
    assert (loaded["layers.0.weight"] == 1).all()
    text = (tmp_path / "v1.5.json").read_text()
    assert "Infinity" not in text and "NaN" not in text


def test_the_hash_is_that_of_content(saved, small):
    stated = json.loads(saved.with_suffix(".json").read_text())["sha256"]
    assert stated == content_hash(small, {"w": W})
    assert content_hash(small) != stated
    assert content_hash(small, {"w": W.reshape(2, 4)}) != stated
    assert content_hash(small, {"w": W.view(np.int32)}) != stated
    assert content_hash(small, {"v": W}) != stated
    signed = W.copy()
    signed[0, 1] = 0.0
    assert content_hash(small, {"w": signed}) != stated
    g = Builder(ops.ALL, where="elsewhere.py:1")
    x, w = g.input("x", f32["batch", 4]), g.parameter("w", f32[4, 2])
    assert content_hash(g.finish({"y": g.relu(g.matmul(x, w)) * 0.5}), {"w": W}) == stated


@pytest.mark.parametrize(
    "arrays",
    [{}, {"w": W, "v": W}, {"w": W.astype(np.float64)}, {"w": W.T}, {"w": W[0]}],
    ids=["missing", "surplus", "dtype", "shape", "rank"],
)
def test_arrays_that_do_not_fit_are_not_written(tmp_path, small, arrays):
    with pytest.raises(ShapeError, match="do not fit"):
        save_program(tmp_path / "net", small, arrays)
    assert os.listdir(tmp_path) == []


def test_a_parameter_that_is_named_as_constants_are_is_not_written(tmp_path):
    g = Builder(ops.ALL)
    graph = g.finish({"y": g.parameter("#0", f32[()]) + 0.5})
    with pytest.raises(ShapeError, match="kept for constants"):
        save_program(tmp_path / "net", graph, {"#0": np.float32(1.0)})


def edit(path, change, *, sign=True):
    """Change the JSON's content; `sign` makes its hash right again, so that the later checks are reached."""
    content = json.loads(path.with_suffix(".json").read_text())
    change(content)
    if sign and {"graph", "sha256"} <= content.keys():
        content["sha256"] = _digest(content["graph"], _tensors(f"{path}.safetensors"))
    path.with_suffix(".json").write_text(json.dumps(content))


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


NODE = ("graph", "nodes", 3)
DAMAGE = {
    "another format": (put("format", "onnx"), "no program"),
    "a newer version": (put("version", 2), "another version"),
    "version true": (put("version", True), "another version"),
    "no version": (drop("version"), "another version"),
    "an unknown field": (put("author", "x"), "unknown field"),
    "no graph": (drop("graph"), "field is missing"),
    "no hash": (drop("sha256"), "field is missing"),
    "an unknown field in a node": (put(*NODE, "device", "cuda"), "unknown field"),
    "a field missing in a node": (drop(*NODE, "types"), "field is missing"),
    "a field missing in the graph": (drop("graph", "updates"), "field is missing"),
    "nodes of another kind": (put("graph", "nodes", {}), "another kind"),
    "a node of another kind": (put(*NODE, "relu"), "not an object"),
    "a type of another kind": (put(*NODE, "types", [1]), "another kind"),
    "a shape with nan": (put(*NODE, "types", ["f32[batch, nan.0]"]), "does not read"),
    "a shape with a float": (put(*NODE, "types", ["f32[batch, 2.0]"]), "does not read"),
    "a negative shape": (put(*NODE, "types", ["f32[-1, 2]"]), "does not read"),
    "an unknown dtype": (put(*NODE, "types", ["f33[2]"]), "does not read"),
    "another type": (put(*NODE, "types", ["f32[batch, 3]"]), "breaks a rule"),
    "an unknown op": (put(*NODE, "op", "rule"), "breaks a rule"),
    "a cycle": (put(*NODE, "inputs", [[3, 0]]), "breaks a rule"),
    "a negative input": (put(*NODE, "inputs", [[-1, 0]]), "not a value"),
    "an input of another kind": (put(*NODE, "inputs", [[True, 0]]), "another kind"),
    "half an input": (put(*NODE, "inputs", [[2]]), "not a value"),
    "an attribute of no kind": (put(*NODE, "attrs", {"a": {"pickle": "x"}}), "not an attribute"),
    "a float attribute of 15 digits": (put(*NODE, "attrs", {"a": {"float": "7ff800000000000"}}), "does not read"),
    "a dimension that is none": (put(*NODE, "attrs", {"a": {"dim": "n("}}), "does not read"),
    "a dtype that is none": (put(*NODE, "attrs", {"a": {"dtype": "f33"}}), "does not read"),
    "an attribute too many": (put(*NODE, "attrs", {"a": [None, {"float": "0" * 16}]}), "breaks a rule"),
    "a constant missing": (put("graph", "nodes", 4, "attrs", {"value": {"array": "#7"}}), "constant is missing"),
    "a parameter as constant": (put("graph", "nodes", 4, "attrs", {"value": {"array": "w"}}), "constant is missing"),
    "an output missing": (put("graph", "outputs", [["y", [9, 0]]]), "breaks a rule"),
    "an output without name": (put("graph", "outputs", [[5, 0]]), "another kind"),
    "a parameter renamed": (put("graph", "nodes", 1, "attrs", "name", "v"), "do not fit"),
}


@pytest.mark.parametrize(("change", "what"), DAMAGE.values(), ids=DAMAGE)
def test_every_surprise_in_the_json_is_a_file_error(saved, change, what):
    edit(saved, change)
    with pytest.raises(FileError, match=what) as caught:
        load_program(saved, ops.ALL)
    error = caught.value
    assert "net." in error.where and error.expected and error.got and error.fix


def test_a_changed_graph_under_the_old_hash_is_refused(saved):
    edit(saved, put(*NODE, "op", "neg"), sign=False)
    with pytest.raises(FileError, match="content hash is wrong"):
        load_program(saved, ops.ALL)


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "null", '{"a": 1, "a": 1}', '{"version": NaN}', '{"version": 1.0}', '{"n": -Infinity}', "[" * 100_000,
     "1" * 5000],
    ids=["truncated", "a list", "null", "a key twice", "nan", "a float", "infinity", "deep", "a huge int"],
)  # fmt: skip
def test_json_of_another_make_is_refused(saved, text):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(FileError):
        load_program(saved, ops.ALL)


@pytest.mark.parametrize(
    ("old", "new", "got"),
    [
        ('"version": 1', '"version": 1, "version": 1', "a key twice"),
        ('"op": "relu"', '"op": "relu", "op": "relu"', "a key twice"),
        ('"version": 1', '"version": 1.0', "the number 1.0"),
        ('"version": 1', '"version": 1e0', "the number 1e0"),
        ('"version": 1', '"version": NaN', "the number NaN"),
    ],
)
def test_json_that_other_readers_would_take_is_refused(saved, old, new, got):
    path = saved.with_suffix(".json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FileError, match=f"(?s)damaged or no JSON.*{got}"):
        load_program(saved, ops.ALL)


def test_each_truncation_is_refused(saved):
    for suffix, steps in ((".json", 40), (".safetensors", 20)):
        path = saved.with_suffix(suffix)
        raw = path.read_bytes()
        for end in range(0, len(raw) - 1, max(1, len(raw) // steps)):
            path.write_bytes(raw[:end])
            with pytest.raises(FileError):
                load_program(saved, ops.ALL)
        path.write_bytes(raw)
    load_program(saved, ops.ALL)


def test_each_flipped_bit_in_the_numbers_is_refused(saved):
    path = saved.with_suffix(".safetensors")
    raw = path.read_bytes()
    for at in range(len(raw) - 36, len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(FileError, match="content hash is wrong"):
            load_program(saved, ops.ALL)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({}, "do not fit|constant is missing"),
        ({"w": W}, "constant is missing"),
        ({"w": W, "#0": np.float32(0.5), "#1": W}, "do not fit"),
        ({"w": W, "#0": np.float32(0.5), "v": W}, "do not fit"),
        ({"w": W.astype(np.float16), "#0": np.float32(0.5)}, "do not fit"),
        ({"w": W, "#0": np.float64(0.5)}, "breaks a rule"),
        ({"w": W.astype(np.complex64), "#0": np.float32(0.5)}, "unknown dtype"),
    ],
    ids=["none", "a constant missing", "a constant too many", "surplus", "dtype", "a constant's dtype", "complex"],
)
def test_other_arrays_are_refused(saved, arrays, what):
    stored = {name: np.asarray(a) for name, a in arrays.items()}
    saved.with_suffix(".safetensors").write_bytes(safetensors.numpy.save(stored))
    if "complex" not in str(stored.get("w", W).dtype):
        edit(saved, lambda content: None)
    with pytest.raises(FileError, match=what):
        load_program(saved, ops.ALL)


def test_a_missing_or_empty_file_of_the_pair_is_refused(saved):
    saved.with_suffix(".safetensors").write_bytes(b"")
    with pytest.raises(FileError, match="empty"):
        load_program(saved, ops.ALL)
    saved.with_suffix(".safetensors").unlink()
    with pytest.raises(FileError, match="does not exist"):
        load_program(saved, ops.ALL)
    saved.with_suffix(".json").unlink()
    with pytest.raises(FileError, match="does not exist"):
        load_program(saved, ops.ALL)


def test_a_torn_pair_is_refused(saved, small, tmp_path):
    save_program(tmp_path / "other", small, {"w": W * 2})
    os.replace(tmp_path / "other.safetensors", saved.with_suffix(".safetensors"))
    with pytest.raises(FileError, match="content hash is wrong"):
        load_program(saved, ops.ALL)


def test_a_full_disk_leaves_the_old_pair_whole(saved, small, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.parent.iterdir()}
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # the second file of the pair
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FileError, match="disk is full"):
        save_program(saved, small, {"w": W * 2})
    assert {p.name: p.read_bytes() for p in saved.parent.iterdir()} == before


def test_a_folder_that_is_missing_is_named(tmp_path, small):
    with pytest.raises(FileError, match=r"cannot be written"):
        save_program(tmp_path / "none" / "net", small, {"w": W})
