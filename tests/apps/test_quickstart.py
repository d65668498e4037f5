"""The tour, short: files, a proof that the checker accepts, predictions inside it, and a page that needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import torchlean as tl
from torchlean.apps import quickstart as tour
from torchlean.cli import main

SOURCE = Path(__file__).resolve().parents[2] / "src"
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own, on import


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`torchlean quickstart` with few steps: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(SOURCE))  # for the checker's own process
        capture = _Capture()
        patch.setattr(sys, "stdout", capture)
        code = main(["quickstart", "--steps", "150", "--timeout", "5"])
    return SimpleNamespace(folder=folder, code=code, out="".join(capture.parts))


class _Capture:
    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def files(toured: SimpleNamespace) -> list[Path]:
    return [toured.folder / "quickstart" / name for name in ("model.onnx", "claim.vnnlib", "proof.tlcert")]


def test_it_writes_its_files_and_nothing_else(toured: SimpleNamespace) -> None:
    assert toured.code == 0
    found = sorted(str(p.relative_to(toured.folder)) for p in toured.folder.rglob("*") if p.is_file())
    assert found == ["quickstart.html", *(f"quickstart/{n}" for n in ("claim.vnnlib", "model.onnx", "proof.tlcert"))]


def test_it_tells_every_chapter(toured: SimpleNamespace) -> None:
    for said in (
        "392 cars with all features, 6 left out",
        "the best linear fit",
        "= relu(",
        "For every car with weight between",
        "gap to the proof",
        "\nvalid ",
    ):
        assert said in toured.out, said


def test_the_checker_accepts_the_files(toured: SimpleNamespace) -> None:
    assert tl.check(*files(toured)).status == "valid"
    command = [sys.executable, "-m", "torchlean_check", *map(str, files(toured))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(SOURCE)})
    assert done.returncode == 0 and done.stdout.startswith("valid ")


def test_sampled_predictions_lie_inside_the_proved_interval(toured: SimpleNamespace) -> None:
    low, high = map(float, re.search(r"proved +(\S+) <= mpg <= (\S+)", toured.out).groups())  # type: ignore[union-attr]
    reached = tuple(map(float, re.search(r"reached +(\S+) \.\.\. (\S+)", toured.out).groups()))  # type: ignore[union-attr]
    claim = files(toured)[1].read_text()
    bounds = np.array(
        [
            [float(v) for v in re.findall(rf"\((?:>=|<=) X_{i} (\S+?)\)", claim)]
            for i in range(claim.count("declare-const X_"))
        ]
    )
    assert bounds.shape == (7, 2) and low <= reached[0] <= reached[1] <= high
    lo, hi = bounds.min(axis=1).astype(np.float32), bounds.max(axis=1).astype(np.float32)
    program = tl.read_onnx(files(toured)[0])
    random = np.random.default_rng(5)
    points = (lo + (hi - lo) * random.random((2000, 7), np.float32)).clip(lo, hi).astype(np.float32)
    corners = np.where(random.random((128, 7)) < 0.5, lo, hi).astype(np.float32)
    predicted = np.concatenate([np.asarray(program(p[None])).ravel() for p in (*points[:200], *corners)])
    assert (predicted >= low).all() and (predicted <= high).all()


def test_the_page_carries_everything_in_itself(toured: SimpleNamespace) -> None:
    page = (toured.folder / "quickstart.html").read_text()
    assert not re.search(r"<(script|link|img|iframe|object|embed|base)\b|@import|url\((?!#)|javascript:", page)
    assert set(re.findall(r'(?:src|(?<!:)href)="([^#"][^"]*)"', page)) == set()
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert all(
        a.startswith(("http://www.w3.org/", "http://purl.org/", "http://creativecommons.org/")) for a in addresses
    )
    for said in ("10,000 sampled predictions", "held out", "valid ", "doi:10.24432/C5859H", "best linear fit"):
        assert said in page, said


def test_the_gap_and_the_samples_of_a_proof() -> None:
    proof = tour.Proof(
        np.zeros(1),
        tl.box(np.zeros(1), 0.1),
        1.0,
        4.0,
        (1.5, 3.75),
        np.zeros(3),
        None,
        0.0,  # type: ignore[arg-type]
    )
    assert proof.gap == 0.75


def test_the_interval_is_printed_rounded_outward() -> None:
    from torchlean.apps.quickstart import Proof

    proof = Proof(np.zeros(7), None, 10.90596, 12.53644, (11.0, 12.0), np.zeros(1), None, 0.0)  # type: ignore[arg-type]
    assert proof.printed == ("10.9059", "12.5365")
