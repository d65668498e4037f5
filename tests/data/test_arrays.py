"""Arrays and images from numpy's files, without pickle."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from torchlean import data
from torchlean.errors import DataError, FileError, TorchLeanError

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)
LABELS = np.array([3, 0, 9], np.uint8)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_npz_and_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3.0))
    assert data.load(tmp_path / "a.npy")["x"].tolist() == [0, 1, 2]
    both = data.load(saved(tmp_path / "b.npz", u=np.ones(2), v=np.eye(2)))
    assert sorted(both) == ["u", "v"] and both["v"].shape == (2, 2)


def test_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3.0))
    assert data.npy(tmp_path / "a.npy").tolist() == [0, 1, 2]
    with pytest.raises(FileError, match="named arrays: x"):
        data.npy(saved(tmp_path / "b.npz", x=np.ones(2)))


@pytest.mark.parametrize("layout", ["last", "first", "none"])
def test_images_come_channels_first_in_unit_range(layout: str, tmp_path: Path) -> None:
    first = RNG.integers(0, 256, (3, 1 if layout == "none" else 3, 5, 6), dtype=np.uint8)
    pixels = {"last": first.transpose(0, 2, 3, 1), "first": first, "none": first[:, 0]}[layout]
    images = data.images(saved(tmp_path / "i.npz", X=pixels, y=LABELS[:, None]))
    assert images.x.dtype == np.float32 and images.y.dtype == np.int64
    assert np.array_equal(images.x, (first / 255).astype(np.float32)) and images.y.tolist() == [3, 0, 9]


def test_unclear_channels_may_be_told(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, 3, 5, 3), dtype=np.uint8)
    path = saved(tmp_path / "i.npz", x=pixels, y=LABELS)
    assert data.images(path, channels="first").x.shape == (3, 3, 5, 3)
    assert data.images(path, channels="last").x.shape == (3, 3, 3, 5)


def test_float_pixels_and_other_names(tmp_path: Path) -> None:
    pixels = RNG.random((3, 1, 4, 4))
    path = saved(tmp_path / "i.npz", inputs=pixels, labels=LABELS)
    assert np.array_equal(data.images(path, x="inputs", y="labels").x, pixels.astype(np.float32))


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.array([{}], dtype=object))
    return stream.getvalue()


def packed(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


GRAY = np.zeros((3, 4, 4), np.uint8)
REFUSED: dict[str, tuple[Callable[[], bytes], type, str]] = {
    "objects": (pickled, FileError, "readable numpy file"),
    "truncated": (lambda: packed(x=GRAY, y=LABELS)[:-40], FileError, "readable numpy file"),
    "damaged": (lambda: packed(x=GRAY, y=LABELS).replace(bytes(48), b"\1" * 48), FileError, "readable numpy file"),
    "another format": (lambda: b"\x89PNG", FileError, "neither"),
    "truncated npy": (lambda: b"\x93NUMPY\x01\x00", FileError, "readable numpy file"),
    "no labels": (lambda: packed(x=GRAY), DataError, "array named y"),
    "five channels": (lambda: packed(x=np.zeros((3, 4, 4, 5), np.uint8), y=LABELS), DataError, "1 or 3 channels"),
    "unclear channels": (lambda: packed(x=np.zeros((3, 3, 4, 3), np.uint8), y=LABELS), DataError, "'first' or 'last'"),
    "flat": (lambda: packed(x=np.zeros((3, 16), np.uint8), y=LABELS), DataError, "3 or 4 axes"),
    "pixels to 255": (lambda: packed(x=GRAY + 255.0, y=LABELS), DataError, r"floats in \[0, 1\]"),
    "nan pixels": (lambda: packed(x=GRAY + np.nan, y=LABELS), DataError, r"floats in \[0, 1\]"),
    "signed pixels": (lambda: packed(x=GRAY.astype(np.int32), y=LABELS), DataError, "uint8 pixels"),
    "two labels": (lambda: packed(x=GRAY, y=LABELS[:2]), DataError, "3 whole labels"),
    "real labels": (lambda: packed(x=GRAY, y=LABELS + 0.5), DataError, "whole labels"),
    "negative labels": (lambda: packed(x=GRAY, y=-np.ones(3, int)), DataError, "whole labels"),
    "one-hot labels": (lambda: packed(x=GRAY, y=np.eye(3, dtype=int)), DataError, "whole labels"),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_images_are_refused(title: str, tmp_path: Path) -> None:
    make, kind, message = REFUSED[title]
    (tmp_path / "i.npz").write_bytes(make())
    with pytest.raises(TorchLeanError, match=message) as caught:
        data.images(tmp_path / "i.npz")
    assert type(caught.value) is kind
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))


@pytest.mark.skipif(not SAMPLES.exists(), reason="the sample data are not here")
def test_the_sample_files() -> None:
    cifar = data.images(SAMPLES / "cifar10_test_1000_uint8.npz")
    assert cifar.x.shape == (1000, 3, 32, 32) and cifar.y.max() == 9
    mnist = data.images(SAMPLES / "mnist_test_uint8.npz")
    assert mnist.x.shape == (10000, 1, 28, 28) and mnist.y[:5].tolist() == [7, 2, 1, 0, 4]
