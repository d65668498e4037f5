"""bench/: exponents of fits, what float32 loses, and which instances are open."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchlean import ops
from torchlean.apps.sweep import Instance, Row
from torchlean.io.onnx import write_onnx
from torchlean.ir import Builder, f32
from torchlean.run.program import Program
from torchlean_check.network import Affine, Dense

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_the_exponent_of_a_power(bench, power) -> None:
    scaling = bench("scaling")
    points = [(n, 3.0 * n**power) for n in (64.0, 128.0, 512.0, 1024.0)]
    assert scaling.exponent(points) == pytest.approx(power, abs=1e-12)  # the logarithms are rounded
    assert math.isnan(scaling.exponent(points[:1])) and math.isnan(scaling.exponent([points[0]] * 3))


def test_start_up_is_taken_off_before_a_fit(bench) -> None:
    """And what start-up hides does not enter; exponents of all sizes, and of the larger half."""
    scaling = bench("scaling")
    rows = [{"cost": "root, width", "size": 0, "processor s": 0.2, "peak MB": 40.0}]
    costs = {512: 10.0, 2: 0.04, 64: 0.1, 128: 0.4, 256: 1.6}
    rows += [{"cost": "root, width", "size": n, "processor s": 0.2 + t, "peak MB": 40.5} for n, t in costs.items()]
    points = scaling.growing(rows, "processor s")
    assert [size for size, _ in points] == [64, 128, 256, 512]
    assert scaling.exponent(points[:3]) == pytest.approx(2.0)
    told = scaling.exponents(rows)
    assert told["root, width: time"].endswith(f"over 4, size^{math.log2(10 / 1.6):.2f} over the larger 2")
    assert told["root, width: memory"] == "no growth to fit"


def row(status, semantics="", seconds=1.0, expected="unsat", number=1) -> Row:
    return Row(number, "onnx/f.onnx", f"vnnlib/p_{number}.vnnlib", 20.0, status, semantics, seconds, 2 * seconds, 80.0,
               "", 0.0, 0.0, 0, 0, expected, "")  # fmt: skip


def test_lost_are_what_only_the_reals_solve(bench) -> None:
    pairs = [
        (row("unsat", "real"), row("unsat", "float32", 1.5)),
        (row("unsat", "real"), row("unsat", "real", 9.0)),  # asked for float32, shown for the reals
        (row("unsat", "real"), row("timeout", "float32", 20.0)),
        (row("timeout", "real", 20.0), row("sat", "float32", expected="sat")),
        (row("sat", "real", 2.0, "sat"), row("sat", "float32", 2.0, "sat")),
    ]
    found = bench("semantics").line("a set", pairs)
    assert (found["instances"], found["solved, real"], found["solved, float32"]) == (5, 4, 3)
    assert (found["lost"], found["real only"], found["wrong"]) == (2, 1, 0)
    assert (found["real s"], found["float32 s"], found["s ratio"]) == (3.0, 3.5, 3.5 / 3.0)
    assert found["float32 processor s"] == 7.0
    assert bench("semantics").line("none", pairs[2:3])["s ratio"] == "none solved"


def test_open_instances_of_every_form_of_table(bench, tmp_path) -> None:
    opened = bench("open_instances")
    whole = [{"onnx": "onnx/f.onnx", "vnnlib": f"vnnlib/p_{i}.vnnlib", "status": status, "semantics": semantics,
              "timeout": 20.0, "seconds": 20.1, "expected": "unsat", "reason": reason}
             for i, status, semantics, reason in ((1, "unsat", "float32", ""), (2, "unknown", "float32", "why"),
                                                  (3, "timeout", "float32", "the time limit was reached"),
                                                  (4, "unsat", "real", ""), (5, "sat", "float32", ""))]  # fmt: skip
    old = [{"set": "one", "onnx": "x/f.onnx", "prop": "p_1.vnnlib", "verdict": "timeout", "sem": "", "seconds": 60.2,
            "expected": "unsat"}]  # fmt: skip
    (tmp_path / "vnncomp_one.json").write_text(json.dumps({"summary": {}, "instances": whole}))
    (tmp_path / "vnncomp_gpu.json").write_text(json.dumps(old))
    known = opened.tables(tmp_path)
    instances = [Instance(i, "onnx/f.onnx", f"vnnlib/p_{i}.vnnlib", (("", Path("f")),), Path("p"), 99.0, "unsat")
                 for i in range(1, 7)]  # fmt: skip
    at = [(i, {place: opened.match(i, known[("one", place)]) for place in opened.PLACES}) for i in instances]
    rows = {r["property"]: (r["2 cores"], r["GPU"]) for r in opened.open_rows("one", at)}
    assert rows == {
        "p_1": ("unsat for float32", "timeout after 60 s"),
        "p_2": ("unknown: why", "not run"),
        "p_3": ("timeout of 20 s", "not run"),
        "p_4": ("unsat over the reals only", "not run"),
        "p_5": ("WRONG: sat", "not run"),
        "p_6": ("not run", "not run"),
    }
    count = opened.counts("one", at)
    assert (count["solved, 2 cores"], count["solved, GPU"]) == ("1 of 5", "0 of 1")
    with pytest.raises(ValueError, match="2 rows"):
        opened.match(instances[0], known[("one", "2 cores")][:1] * 2)


def test_adverse_orders_add_up_what_each_operation_may_err_by(bench) -> None:
    """2 - 3 + 1/2: the partial sums are 2.5 and -0.5 one way, -3, -1 and -0.5 the other; a zero is not added."""
    adverse = bench("adverse_orders")
    zero = np.zeros(1)
    node = Affine(((Dense(np.array([[2.0, -1.0, 5.0]])), 0),), np.full(1, 0.5), 1, (1,), zero, False, 0, zero, zero, "")
    found = adverse.adverse(node, [np.array([1.0, 3.0, 0.0])])
    assert found == pytest.approx([2.0**-24 * (5.5 + 2.5 + 0.5)])
    other = adverse.adverse(node, [np.array([1.0, 8.0, 0.0])])
    assert other == pytest.approx([2.0**-24 * (10.5 + 6.0 + 5.5)])


def test_a_request_to_terminate_ends_what_runs(tmp_path, silent) -> None:
    """The first line stands; the second instance's search is still reading its model."""
    g = Builder(ops.ALL)
    y = g.relu(g.input("x", f32["batch", 1]))
    write_onnx(Program(g.finish({"y": y}), {}), tmp_path / "net.onnx")
    claim = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0.0))(assert (<= X_0 1.0))"
    (tmp_path / "p.vnnlib").write_text(f"{claim}(assert (>= Y_0 2.0))")
    (tmp_path / "instances.csv").write_text("net.onnx,p.vnnlib,300\nsilent.onnx,p.vnnlib,300\n")
    command = [sys.executable, str(BENCH / "vnncomp.py"), ".", "--data", str(tmp_path), "--no-save"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        silent.wait()
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "" and not silent.is_read()
    assert out.split()[:3] == ["net", "p", "unsat"] and "valid" in out and len(out.splitlines()) == 1
