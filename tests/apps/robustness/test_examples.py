"""Examples reach the program in its own shape, or are refused with the reason."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import torchlean as tl
from torchlean import nn
from torchlean.apps.robustness import read_examples
from torchlean.errors import DataError, FileError, ShapeError, UsageError

MNIST = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist_test_uint8.npz"


def classifier(*shape):
    size = int(np.prod(shape))
    return tl.trace(nn.Sequential(nn.Flatten(), nn.Linear(size, 3)), tl.f32[("batch", *shape)], seed=0)


def saved(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


IMAGES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def test_pixels_are_divided_once_and_channels_come_first(tmp_path) -> None:
    path = saved(tmp_path, X=IMAGES, y=np.array([[2], [0]], np.uint8))
    read = read_examples(path, classifier(3, 4, 5), scale=Fraction(255))
    assert read.x.shape == (2, 1, 3, 4, 5) and read.x.dtype == np.float32 and read.y.tolist() == [2, 0]
    assert (read.x[:, 0] == (IMAGES / 255).astype(np.float32).transpose(0, 3, 1, 2)).all()
    assert len(read_examples(path, classifier(3, 4, 5), count=1)) == 1
    with pytest.raises(ShapeError, match="several channels"):
        read_examples(path, classifier(60))


@pytest.mark.parametrize(("data", "shape"), [((4, 5, 1), (20,)), ((4, 5), (1, 4, 5)), ((20,), (20,)), ((1, 20), (20,))])
def test_one_channel_is_flattened_row_major(tmp_path, data, shape) -> None:
    x = np.arange(40, dtype=np.float32).reshape(2, *data)
    read = read_examples(saved(tmp_path, images=x, labels=np.array([0.0, 1.0])), classifier(*shape))
    assert read.x.shape == (2, 1, *shape) and (read.x.ravel() == np.arange(40)).all()


def test_a_table_has_its_label_in_a_column(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("a,label,b\n0.5,2,1\n0.25,0,2\n")
    read = read_examples(tmp_path / "t.csv", classifier(2))
    assert read.x.reshape(2, 2).tolist() == [[0.5, 1], [0.25, 2]] and read.y.tolist() == [2, 0]
    with pytest.raises(DataError, match="lacks a column"):
        read_examples(tmp_path / "t.csv", classifier(2), target="class")


X, Y = np.zeros((2, 4), np.float32), np.array([0, 1])


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"y": Y}, DataError, "x or X or images"),
        ({"x": X}, DataError, "y or Y or labels"),
        ({"x": X, "y": np.array([0, 3])}, DataError, "example 1"),
        ({"x": X, "y": np.array([-1, 0])}, DataError, "example 0"),
        ({"x": X, "y": np.array([0.5, 1])}, DataError, "whole"),
        ({"x": X, "y": np.array([np.nan, 1])}, DataError, "whole"),
        ({"x": X, "y": np.array([0, 1, 2])}, DataError, "label"),
        ({"x": X, "y": np.eye(2, 3)}, DataError, "label"),
        ({"x": X, "y": np.array(1)}, DataError, "label"),
        ({"x": X[:0], "y": Y[:0]}, DataError, "no example"),
        ({"x": X + np.inf, "y": Y}, DataError, "finite"),
        ({"x": X * np.nan, "y": Y}, DataError, "finite"),
        ({"x": np.full((2, 4), 1e300), "y": Y}, DataError, "finite"),
        ({"x": X.astype(complex), "y": Y}, DataError, "numbers"),
        ({"x": np.zeros(2), "y": Y}, DataError, "numbers"),
        ({"x": np.zeros((2, 5)), "y": Y}, ShapeError, "do not fit"),
        ({"x": np.array([["a"] * 4] * 2, dtype=object), "y": Y}, FileError, "numpy file"),
    ],
)
def test_bad_examples_are_refused(tmp_path, arrays, error, said) -> None:
    with pytest.raises(error, match=said):
        read_examples(saved(tmp_path, **arrays), classifier(4))


def test_a_program_of_one_output_is_no_classifier(tmp_path) -> None:
    program = tl.trace(nn.Linear(4, 1), tl.f32["n", 4])
    with pytest.raises(UsageError, match="classifier"):
        read_examples(saved(tmp_path, x=X, y=Y), program)


@pytest.mark.skipif(not MNIST.exists(), reason="the MNIST test images are not in ../shared/data")
def test_mnist_as_the_benchmark_networks_take_it() -> None:
    read = read_examples(
        MNIST, tl.trace(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), tl.f32[1, 784, 1]), 3, Fraction(255)
    )
    assert read.x.shape == (3, 1, 784, 1) and read.y.tolist() == [7, 2, 1] and read.x.max() == 1
