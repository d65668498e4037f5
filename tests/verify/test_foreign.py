"""Other tools' artefacts: hints that are completed to certificates, or refused with the reason."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import torchlean_check as tc
from torchlean.cli.main import main
from torchlean.errors import FileError, TorchLeanError, Unsupported
from torchlean.verify.clock import Deadline
from torchlean.verify.dual import Neurons
from torchlean.verify.foreign import Hints, complete, import_proof, read_artefact
from torchlean.verify.foreign.cases import tree_of
from torchlean.verify.problem import Files, Problem
from torchlean.verify.refine import Refinement
from torchlean.verify.verdict import Status

spec = importlib.util.spec_from_file_location("artefacts", Path(__file__).with_name("artefacts.py"))
artefacts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(artefacts)
Marabou, all_cases, histories, saved = (getattr(artefacts, name) for name in ("Marabou", "all_cases", "histories",
                                                                               "saved"))  # fmt: skip
SIZES = (3, 9, 9, 1)
LO, HI = [-0.5] * 3, [0.5] * 3


class Task:
    """A network whose property needs splits: y <= a little below its least value, over a box."""

    def __init__(self, mlp, files, seed=1, gap=0.05):
        self.weights, self.model = mlp(SIZES, seed)
        x = np.random.default_rng(0).uniform(LO, HI, (200_000, 3))
        for k, (w, b) in enumerate(self.weights):
            x = x @ w.T.astype(np.float64) + b
            x = np.maximum(x, 0) if k < 2 else x
        self.least = float(x.min())
        self.claim = files[1](["-0.5"] * 3, ["0.5"] * 3, 1, [f"(assert (<= Y_0 {self.least - gap:.6f}))"])
        network, (region,) = tc.load(self.model, self.claim)
        self.problem = Problem(Files(self.model, self.claim), network, region, "float32", Deadline(60),
                               np.random.default_rng(0))  # fmt: skip
        boxes = {k: (lo[0], hi[0]) for k, (lo, hi) in self.problem.kernel.start().boxes.items()}
        unstable = Neurons.of(boxes)
        values = list(network.relu_inputs)
        self.neurons = [(values.index(int(v)), int(i)) for v, i in zip(unstable.value, unstable.entry, strict=True)]
        self.values = values
        self.marabou = Marabou(self.weights, LO, HI)


@pytest.fixture
def task(mlp, files):
    return Task(mlp, files)


def accepted(task, artefact) -> tc.Certificate:
    verdict = import_proof(task.model, task.claim, artefact)
    assert verdict.status is Status.UNSAT and verdict.semantics == "float32", verdict
    assert verdict.strategy.startswith("artefact: completed from ")
    for arithmetic in ("rounded", "exact"):
        assert tc.check(task.model, task.claim, verdict.certificate, arithmetic=arithmetic).status == "valid"
    return tc.decode(verdict.certificate)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def ends(pairs):
    """{name: (lower, upper)} as arrays of their own."""
    return {f"{name}.{end}": pair[i] for name, pair in pairs.items() for i, end in enumerate(("lower", "upper"))}


def splits(task, certificate):
    tree = certificate.trees[0]
    return [(task.values.index(int(v)), int(i)) for v, i in zip(tree.value, tree.index, strict=True)]


def test_the_task_needs_splits(task) -> None:
    bounds = task.problem.kernel.bound(task.problem.kernel.start(), derive=True)
    assert not bounds.refuted.all() and len(task.neurons) >= 6


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_leaves_of_alpha_beta_crown_become_a_certificate(parts, task) -> None:
    chosen = task.neurons[-3:]
    certificate = accepted(task, saved({"history": histories(all_cases(chosen), 2, parts)}))
    used = splits(task, certificate)
    assert used and used[0] in chosen  # the tree is split where the tool split it


def test_leaves_as_json_and_as_a_bare_list(task) -> None:
    leaves = histories(all_cases(task.neurons[:2]), 2)
    text = [{name: [part.tolist() for part in parts] for name, parts in leaf.items()} for leaf in leaves]
    for data in (json.dumps(text).encode(), json.dumps({"histories": text}).encode(), saved(leaves)):
        accepted(task, data)


def test_leaves_at_different_depths_become_their_tree(task) -> None:
    a, b, c = ((task.values[k], i) for k, i in task.neurons[:3])
    leaves = [{a: -1}, {a: 1, b: 1}, {a: 1, b: -1, c: 1}, {a: 1, b: -1, c: -1}]
    cases = tree_of(leaves, task.problem.network, "leaves")
    assert cases[0].neuron == a and len(cases) == 7 and Hints("leaves", cases).leaves == 4
    assert cases[cases[0].low].neuron is None and cases[cases[0].high].neuron == b


def test_a_marabou_proof_becomes_a_certificate(task) -> None:
    chosen = task.neurons[-3:]
    used = splits(task, accepted(task, task.marabou.file(chosen)))
    assert used and used[0] == chosen[0]


def test_a_marabou_tree_keeps_its_sides(task) -> None:
    """The inactive phase is closed at once, the active one is split again."""
    first, second = task.neurons[:2]
    proof = task.marabou.tree([first])
    proof["children"][1] = {"split": task.marabou.split(first, 1), **task.marabou.tree([second])}
    cases = read_artefact(json.dumps(task.marabou.data(proof)).encode(), task.problem).cases
    assert cases[cases[0].low].neuron is None
    assert cases[cases[0].high].neuron == (task.values[second[0]], second[1])


def test_a_split_that_our_boxes_decide_is_passed_by(task) -> None:
    lo, hi = (side[0] for side in task.problem.kernel.start().boxes[task.values[0]])
    (a, b), count = task.neurons[-2:], 0
    for sign, stable in ((1, np.flatnonzero(lo > 0)), (-1, np.flatnonzero(hi < 0))):
        for i in stable[:1].tolist():
            leaves = [{(0, i): -sign, b: -1}, {(0, i): -sign, b: 1}, {(0, i): sign, a: -1}, {(0, i): sign, a: 1}]
            used = splits(task, accepted(task, saved(histories(leaves, 2))))
            assert used[0] == a
            count += 1
    assert count


def test_slopes_of_a_tool_are_started_from(task) -> None:
    from torchlean.verify.foreign import completion
    from torchlean.verify.foreign.cases import Case

    k, i = task.neurons[0]
    hints = Hints("test", (Case(slopes={(task.values[k], i): 0.375, (task.values[0], 10**6): 0.5}),))
    found = completion._Completion(task.problem, hints)
    count = len(found.neurons)
    entered = found._entered(completion.Node(0, 0, -1, np.zeros(count), (0,), np.zeros(count), np.zeros(count)))
    assert entered.alpha[found.position[task.values[k], i]] == 0.375 and np.count_nonzero(entered.alpha) == 1


def test_a_root_that_refined_boxes_close_carries_them(mlp, files) -> None:
    """Not closed by the default walk, nor by slopes alone at every gap: some root needs its derivations."""
    needed = 0
    for gap in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        task = Task(mlp, files, gap=gap)
        certificate = accepted(task, saved(histories(all_cases(task.neurons[:1]), 2)))
        needed += len(certificate.trees[0].op) == 1 and any(r.derivations for r in certificate.trees[0].records)
    assert needed


def test_neurons_are_found_by_value_whatever_their_order(task) -> None:
    """Variables beyond the inputs are renumbered, and the tableau's rows turned round, as a preprocessor might."""
    data = task.marabou.data(task.marabou.tree(task.neurons[:2]))
    count = len(data["lowerBounds"])
    order = np.concatenate([np.arange(3), 3 + np.random.default_rng(0).permutation(count - 3)])
    moved = copy.deepcopy(data)
    for end in ("lowerBounds", "upperBounds"):
        moved[end] = [0.0] * count
        for old, new in enumerate(order):
            moved[end][new] = data[end][old]
    for row in moved["tableau"]:
        for entry in row:
            entry["var"] = int(order[entry["var"]])
    moved["tableau"].reverse()
    for constraint in moved["constraints"]:
        constraint["vars"] = [int(order[v]) for v in constraint["vars"]]

    def renumber(node):
        for part in node.get("split", []):
            part["var"] = int(order[part["var"]])
        for child in node.get("children", []):
            renumber(child)

    renumber(moved["proof"])
    neurons = [[case.neuron for case in read_artefact(json.dumps(d).encode(), task.problem).cases]
               for d in (data, moved)]  # fmt: skip
    assert neurons[0] == neurons[1] and neurons[0][0] == (task.values[task.neurons[0][0]], task.neurons[0][1])


def test_a_farkas_vector_shares_a_relu_between_its_faces(task) -> None:
    """With weights w of f - b - aux = 0 and v of a row with f: aux has -w, f has w + v c; slope w / (w - w - v c)."""
    marabou = task.marabou
    b, f, _ = marabou.relus[0]
    aux_row = next(k for k, row in enumerate(marabou.rows) if row.get(f) == 1.0 and row.get(b) == -1.0)
    next_row = next(k for k, row in enumerate(marabou.rows) if f in row and k != aux_row)
    c = marabou.rows[next_row][f]
    proof = {"contradiction": [{"var": aux_row, "val": 0.3}, {"var": next_row, "val": -1.0 / c}]}
    (case,) = read_artefact(json.dumps(marabou.data(proof)).encode(), task.problem).cases
    assert case.slopes[task.values[0], 0] == pytest.approx(0.3)


def test_bounds_say_which_neurons_are_refined(task, monkeypatch) -> None:
    asked = {}
    forward = Refinement.forward

    def spy(self, share, only=None):
        asked.update(only)
        forward(self, share, only)

    monkeypatch.setattr(Refinement, "forward", spy)
    boxes = task.problem.kernel.start().boxes
    second = task.values[1]
    lo, hi = (side[0].copy() for side in boxes[second])
    entry = next(i for k, i in task.neurons if k == 1)
    lo[entry] *= 0.5
    arrays = {"/input": (boxes[task.values[0]][0], boxes[task.values[0]][1]), "/input.3": (lo[None], hi[None])}
    import torch
    from safetensors.numpy import save

    tensors = {name: tuple(torch.tensor(a) for a in pair) for name, pair in arrays.items()}
    flat = ends(arrays)
    for data in (saved(tensors), save(flat), npz(**{name.replace("/", ""): a for name, a in flat.items()})):
        asked.clear()
        accepted(task, data)
        assert {k: v.tolist() for k, v in asked.items()} == {task.values[0]: [], second: [entry]}


def test_the_layers_that_relus_read_are_found_among_others(task) -> None:
    """auto_LiRPA saves the outputs of relus too, which have the same sizes."""
    boxes = task.problem.kernel.start().boxes
    saved_all = {}
    for k in task.values:
        lo, hi = boxes[k]
        saved_all[f"pre{k}"] = (lo, hi)
        saved_all[f"post{k}"] = (np.maximum(lo, 0), np.maximum(hi, 0))
    hints = read_artefact(npz(**ends(saved_all)), task.problem)
    assert all((hints.bounds[k][0] == boxes[k][0][0]).all() for k in task.values)


def test_wrong_hints_cost_time_and_nothing_else(mlp, files, task) -> None:
    """Bounds that are false, splits that are useless: the certificate is valid all the same, and sat stays sat."""
    boxes = task.problem.kernel.start().boxes
    false = {f"l{k}.{end}": np.full(9, v) for k in task.values for end, v in (("lower", 0.25), ("upper", 0.25))}
    accepted(task, npz(**false))
    stable = [(0, i) for i in range(9) if (task.values[0], i) not in
              {(task.values[k], e) for k, e in task.neurons}]  # fmt: skip
    assert stable or not boxes
    accepted(task, saved(histories(all_cases([*stable[:2], task.neurons[0]]), 2)))
    broken = Task(mlp, files, gap=-0.02)  # violated
    for artefact in (saved(histories(all_cases(broken.neurons[:3]), 2)), broken.marabou.file(broken.neurons[:2])):
        assert import_proof(broken.model, broken.claim, artefact).status is Status.SAT


def test_what_stays_open_is_counted(task, monkeypatch) -> None:
    monkeypatch.setattr("torchlean.verify.foreign.completion.SHARE", 1e-9)
    hints = read_artefact(saved(histories(all_cases(task.neurons[:3]), 2)), task.problem)
    from torchlean.verify.outcome import Stuck

    with pytest.raises(Stuck, match="8 of 8 leaves of the alpha-beta-CROWN leaves stay open at the time limit"):
        complete(task.problem, hints)


# -- refusals ----------------------------------------------------------------------------------------------------------


def marabou_changes():
    def last(data):
        node = data["proof"]
        while "children" in node:
            node = node["children"][0]
        return node

    def set_(data, *path, to):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return {
        "no tableau": (lambda d: d.pop("tableau"), "tableau"),
        "bounds of other sizes": (lambda d: d["upperBounds"].append(1.0), "different sizes"),
        "a nan bound": (lambda d: set_(d, "upperBounds", 0, to=float("nan")), "nan"),
        "a row beyond the variables": (lambda d: set_(d, "tableau", 0, 0, "var", to=10**6), "does not exist"),
        "a relu of a missing variable": (lambda d: set_(d, "constraints", 0, "vars", to=[-1, 2, 3]), "does not exist"),
        "another region": (lambda d: set_(d, "lowerBounds", 0, to=-0.75), "inputs of the region"),
        "another network": (lambda d: set_(d, "tableau", 0, 0, "val", to=7.5), "none of the network"),
        "one child": (lambda d: d["proof"]["children"].pop(), "does not cover"),
        "the same phase twice": (
            lambda d: set_(d, "proof", "children", 1, "split", to=d["proof"]["children"][0]["split"]),
            "does not cover"),
        "children of two neurons": (
            lambda d: set_(d, "proof", "children", 0, "split", 0, "var", to=d["constraints"][-1]["vars"][0]),
            "does not cover"),
        "a neuron twice on a path": (
            lambda d: [set_(d, "proof", "children", 0, "children", i, "split",
                            to=d["proof"]["children"][i]["split"]) for i in (0, 1)], "twice on one path"),
        "a split that is no neuron's": (
            lambda d: [set_(d, "proof", "children", i, "split", to=[{"var": 0, "val": 0.0, "bound": b}])
                       for i, b in ((0, "U"), (1, "L"))], "not one of a relu's input"),
        "a split elsewhere": (lambda d: set_(d, "proof", "children", 0, "split", 0, "val", to=0.5), "elsewhere"),
        "an open leaf": (lambda d: last(d).pop("contradiction"), "neither children nor"),
        "a farkas vector beyond the rows": (
            lambda d: set_(last(d), "contradiction", 0, "var", to=10**6), "does not exist"),
        "an infinite farkas number": (
            lambda d: set_(last(d), "contradiction", 0, "val", to=float("inf")), "not finite"),
    }  # fmt: skip


@pytest.mark.parametrize("name", marabou_changes())
def test_a_broken_marabou_proof_is_refused(name, task) -> None:
    change, words = marabou_changes()[name]
    with pytest.raises((FileError, Unsupported), match=words):
        import_proof(task.model, task.claim, task.marabou.file(task.neurons[:2], change))


def instead(parts):
    """The first leaf's splits of the layer of the first neuron replaced."""
    return lambda base, name, i: [{**base[0], name: parts(i)}, *base[1:]]


def bounded(lower, upper):
    return lambda base, name, i: {
        "history": base, "lower_bounds": dict.fromkeys(base[0], np.array(lower).tolist()),
        "upper_bounds": dict.fromkeys(base[0], np.array(upper).tolist())}  # fmt: skip


CROWN = {
    "no leaves": (lambda base, name, i: [], "no leaves"),
    "a leaf is missing": (lambda base, name, i: base[:-1], "do not cover every case"),
    "a neuron that does not exist": (instead(lambda i: ([99], [1.0], [0.0])), "does not exist"),
    "a negative index": (instead(lambda i: ([-1], [1.0], [0.0])), "does not exist"),
    "contradicting splits": (instead(lambda i: ([i, i], [1.0, -1.0], [0.0, 0.0])), "contradict"),
    "a sign that is none": (instead(lambda i: ([i], [0.5], [0.0])), "whole numbers"),
    "a sign of two": (instead(lambda i: ([i], [2.0], [0.0])), "contradict"),
    "fewer signs than indices": (instead(lambda i: ([i, i], [1.0], [0.0])), "different lengths"),
    "a point beside 0": (instead(lambda i: ([i], [1.0], [0.5])), "elsewhere than at 0"),
    "a layer without signs": (instead(lambda i: ([i],)), "not understood"),
    "another number of layers": (
        lambda base, name, i: [{**leaf, "/more": ([], [], [])} for leaf in base], "not those of the network"),
    "no mapping": (lambda base, name, i: [3, 4], "no mapping"),
    "bounds of another size": (bounded(np.zeros((1, 7)), np.ones((1, 7))), "other sizes"),
    "bounds of two sizes": (bounded(np.zeros((1, 9)), np.ones((1, 7))), "different sizes"),
    "bounds upside down": (bounded(np.ones((1, 9)), np.zeros((1, 9))), "above its upper"),
    "nan bounds": (bounded(np.full((1, 9), np.nan), np.ones((1, 9))), "nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", CROWN)
def test_broken_leaves_are_refused(name, task) -> None:
    change, words = CROWN[name]
    base = histories(all_cases(task.neurons[:2]), 2)
    layer, entry = task.neurons[0]
    with pytest.raises(FileError, match=words):
        import_proof(task.model, task.claim, saved(change(base, list(base[0])[layer], entry)))


class Attack:
    def __reduce__(self):
        return (print, ("this must not run",))


def files_that_are_nothing():
    whole = saved({"history": []})
    return {
        "empty json": (b"{}", "no known kind"),
        "truncated json": (b'{"proof": {"children": [', "not JSON"),
        "text": (b"hello there", "no known kind"),
        "a plain pickle": (pickle.dumps({"results": "safe"}), "plain pickle is never loaded"),
        "a pickle that runs": (pickle.dumps(Attack()), "plain pickle is never loaded"),
        "a torch file that runs": (saved(Attack()), "none of torch.save"),
        "a truncated torch file": (whole[: len(whole) // 2], "cannot be read|none of torch"),
        "alethe": (b"(assume h1 (= a b))", "Alethe"),
        "deep json": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        "results alone": (saved({"results": "safe", "time": 1.0}), "no leaves"),
        "an npz of objects": (npz(a=np.array([{}], object)), "cannot be read"),
        "an npz of other arrays": (npz(a=np.zeros(3)), "no bound"),
        "a damaged safetensors": (b"\xff\0\0\0\0\0\0\0{garbage", "damaged"),
    }


@pytest.mark.parametrize("name", files_that_are_nothing())
def test_files_that_are_no_artefact_are_refused(name, task, capsys) -> None:
    data, words = files_that_are_nothing()[name]
    with pytest.raises(TorchLeanError) as error:
        import_proof(task.model, task.claim, data)
    assert any(word in str(error.value) for word in words.split("|")), str(error.value)
    assert error.value.fix and "must not run" not in capsys.readouterr().out


def test_a_network_of_curves_is_refused(files) -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    claim = files[1](["-1.0"] * 2, ["1.0"] * 2, 2, ["(assert (>= Y_0 2.0))"])
    with pytest.raises(Unsupported, match="affine nodes and relus"):
        import_proof(model, claim, saved([{}]))


def test_the_command(task, tmp_path, capsys) -> None:
    names = ("m.onnx", "p.vnnlib", "proof.json")
    contents = (task.model, task.claim, task.marabou.file(task.neurons[:2]))
    for name, data in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in names]
    out = str(tmp_path / "c.tlcert")
    assert main(["import-proof", *paths, "--certificate", out]) == 0
    assert capsys.readouterr().out.startswith("unsat ")
    assert main(["check", *paths[:2], out]) == 0
    assert capsys.readouterr().out.startswith("valid")
    (tmp_path / "proof.json").write_bytes(contents[2][:-5])
    assert main(["import-proof", *paths]) == 2
    error = capsys.readouterr().err
    assert paths[2] in error and "not JSON" in error
    assert main(["import-proof", *paths[:2]]) == 2
    assert "required" in capsys.readouterr().err
