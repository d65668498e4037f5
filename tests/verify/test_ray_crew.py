"""Parts of a search as tasks of a ray cluster: a worker that is killed loses nothing."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torchlean_check as tc
from torchlean.errors import Exhausted, InternalError, Unsupported
from torchlean.verify import inputs, ray_crew, verify_files
from torchlean.verify.clock import OutOfTime, out_of_time
from torchlean.verify.crew import Answer, Common, Part
from torchlean.verify.ray_crew import RayCrew
from torchlean.verify.shift import search_part
from torchlean.verify.verdict import Status

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")


def test_without_ray_a_crew_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unsupported, match="ray is not installed"):
        RayCrew(2)


@pytest.fixture
def boxes(mlp: Any, files: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """A true claim of three inputs that takes some hundred boxes, dealt as soon as there are a few."""
    monkeypatch.setattr(inputs, "FORK_AFTER", 0.0)
    weights, model = mlp((3, 16, 16, 1), 5)
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    for w, b in weights[:-1]:
        x = np.maximum(x @ w.T + b, 0)
    y = x @ weights[-1][0].T + weights[-1][1]
    return model, files[1](["-1.0"] * 3, ["1.0"] * 3, 1, [f"(assert (>= Y_0 {y.max() + 0.1 * np.ptp(y):.4f}))"])


@pytest.fixture
def cluster() -> Iterator[None]:
    """Of this machine, two workers; ray's own processes leave sockets that Python warns about."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


def dying(folder: Path, times: int) -> Callable[[Common, Part], Answer]:
    """The first workers end by a signal."""
    marks = str(folder)

    def search(common: Common, part: Part) -> Answer:
        for n in range(times):
            try:
                Path(marks, f"died{n}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return search_part(common, part)

    return search


def failing(common: Common, part: Part) -> Answer:
    raise ValueError("a bug on the worker")


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cluster")
def test_parts_on_workers_that_die(boxes: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed twice: the parts run again, and the proof is the one of a search that was not disturbed. Killed each time,
    or with a bug: an error.
    """
    alone = verify_files(*boxes, timeout=60, workers=1)
    monkeypatch.setattr(ray_crew, "search_part", dying(tmp_path, 2))
    verdict = verify_files(*boxes, timeout=60, workers=1, crew=RayCrew(2))
    assert verdict.status is Status.UNSAT and len(list(tmp_path.iterdir())) == 2
    assert tc.check(*boxes, verdict.certificate).status == "valid"
    assert verdict.certificate == alone.certificate and verdict.boxes == alone.boxes
    monkeypatch.setattr(ray_crew, "search_part", dying(tmp_path, 100))
    with pytest.raises(Exhausted, match="lost on the cluster"):
        verify_files(*boxes, timeout=60, workers=1, crew=RayCrew(2, retries=1))
    monkeypatch.setattr(ray_crew, "search_part", failing)
    with pytest.raises(InternalError, match="a bug on the worker"):
        verify_files(*boxes, timeout=60, workers=1, crew=RayCrew(2))


def sleeping(common: Common, part: Part) -> Answer:
    time.sleep(60)
    raise AssertionError


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cluster")
def test_the_time_limit_rings_while_workers_are_waited_for(
    boxes: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_crew, "search_part", sleeping)
    crew = RayCrew(2)
    verdict = verify_files(*boxes, timeout=4.0, workers=1, crew=crew)
    assert verdict.status is Status.TIMEOUT and not crew._running


def test_what_the_alarm_raises_inside_ray_comes_out_as_it_is() -> None:
    def rung() -> None:
        try:
            raise out_of_time(1.0)
        except OutOfTime as problem:
            raise SystemError("<cyfunction> returned a result with an exception set") from problem

    with pytest.raises(OutOfTime), ray_crew._interruptible():
        rung()
    with pytest.raises(SystemError, match="another"), ray_crew._interruptible():
        raise SystemError("another")


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_cluster_at_the_address() -> None:
    with pytest.raises(Unsupported, match="no ray cluster answers"):
        ray_crew.connect("127.0.0.1:1")
