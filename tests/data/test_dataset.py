"""Datasets: what an order promises, and what a dataset refuses."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from torchlean.data import Dataset
from torchlean.errors import DataError, ShapeError, UsageError


def counted(n: int) -> Dataset:
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return Dataset(x, x[:, :1] * 10, ("a", "b"), ("c",))


def test_an_epoch_has_every_row_once_and_keeps_x_with_y() -> None:
    data = counted(10)
    batches = list(data.batches(4, seed=3))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert np.array_equal(np.sort(x[:, 0]), data.x[:, 0]) and np.array_equal(x[:, :1] * 10, y)
    assert not np.array_equal(x, data.x)


def test_the_last_batch_may_be_dropped_and_the_order_kept() -> None:
    data = counted(10)
    assert [len(x) for x, _ in data.batches(4, seed=0, last="drop")] == [4, 4]
    assert np.array_equal(np.concatenate([x for x, _ in data.batches(3)]), data.x)


def test_an_order_depends_on_seed_and_epoch_alone() -> None:
    data = counted(50)
    orders = [tuple(data.order(seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9
    assert orders == [tuple(counted(50).order(seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert all(sorted(o) == list(range(50)) for o in orders)


def test_orders_are_the_same_on_every_machine() -> None:
    assert counted(8).order(seed=0).tolist() == [6, 7, 2, 1, 3, 5, 0, 4]
    assert counted(8).order(seed=2**64 - 1, epoch=5).tolist() == [2, 0, 3, 7, 6, 5, 1, 4]


def test_each_place_is_as_likely_as_another() -> None:
    data = counted(5)
    places = np.zeros((5, 5), int)
    for seed in range(2000):
        places[np.arange(5), data.order(seed=seed)] += 1
    assert abs(places - 400).max() < 90  # 5 standard deviations


def test_a_stream_has_full_batches_and_resumes_anywhere() -> None:
    data = counted(10)
    whole = [x for x, _ in islice(data.stream(4, seed=1), 9)]
    assert all(len(x) == 4 for x in whole)
    for start in range(9):
        resumed = [x for x, _ in islice(data.stream(4, seed=1, start=start), 9 - start)]
        assert np.array_equal(resumed, whole[start:])
    assert np.array_equal(np.concatenate(whole[2:4]), data.x[data.order(seed=1, epoch=1)[:8]])


def test_a_split_has_every_row_once() -> None:
    data = counted(10)
    one, two = data.split(0.8, seed=0)
    assert (len(one), len(two)) == (8, 2)
    assert np.array_equal(np.sort(np.concatenate([one.x, two.x])[:, 0]), data.x[:, 0])
    assert np.array_equal(one.y, one.x[:, :1] * 10) and one.names == data.names
    again, _ = counted(10).split(0.8, seed=0)
    assert np.array_equal(one.x, again.x)
    assert not np.array_equal(one.x, data.split(0.8, seed=1)[0].x)


def test_columns() -> None:
    assert counted(3).columns("b", "a") == (1, 0)


X = np.zeros((3, 2), np.float32)
REFUSED = {
    "counts": (lambda: Dataset(X, X[:2]), ShapeError, "one row for each example"),
    "a number": (lambda: Dataset(np.float32(1)[()].reshape(()), X), ShapeError, "one row"),
    "names": (lambda: Dataset(X, X, ("a",)), ShapeError, "a name for each column"),
    "no rows": (lambda: Dataset(X[:0], X[:0]), DataError, "at least one row"),
    "nan": (lambda: Dataset(X, np.array([0, np.nan, 0])), DataError, r"y\[1\]"),
    "infinity": (lambda: Dataset(np.where(np.eye(3, 2) > 0, np.inf, 0), X), DataError, r"x\[0, 0\]"),
    "text": (lambda: Dataset(np.array([["a"], ["b"]]), np.zeros(2)), ShapeError, "numbers"),
    "objects": (lambda: Dataset(np.array([[None]]), np.zeros(1)), ShapeError, "numbers"),
    "no such column": (lambda: counted(3).columns("weight"), UsageError, "expected: a, b"),
    "columns without names": (lambda: Dataset(X, X).columns("a"), UsageError, "column names"),
    "batch of 0": (lambda: next(counted(3).batches(0)), UsageError, "at least 1"),
    "batch too large to drop": (lambda: next(counted(3).batches(4, last="drop")), UsageError, "1 to 3"),
    "stream too large": (lambda: next(counted(3).stream(4, seed=0)), UsageError, "1 to 3"),
    "negative seed": (lambda: counted(3).order(seed=-1), UsageError, "seed"),
    "split of all": (lambda: counted(3).split(1.0, seed=0), UsageError, "both sides"),
    "split of nothing": (lambda: counted(3).split(0.1, seed=0), UsageError, "both sides"),
    "split by nan": (lambda: counted(3).split(float("nan"), seed=0), UsageError, "both sides"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_datasets_are_refused(title: str) -> None:
    make, kind, text = REFUSED[title]
    with pytest.raises(kind, match=text) as caught:
        make()
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))


def test_data_needs_neither_torch_nor_the_network() -> None:
    code = (
        "import sys, torchlean.data; print([m for m in ('torch', 'onnx', 'ssl', 'urllib.request') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
