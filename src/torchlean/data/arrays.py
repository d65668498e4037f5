"""Datasets from numpy's files (.npy, .npz), never by pickle, and images among them."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchlean.data.dataset import Dataset
from torchlean.errors import DataError, FileError
from torchlean.files import find, read_bytes

_LIMIT = 4 << 30


def load(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file by name, or the array of a .npy file under "x".

    Errors   FileError: missing, damaged, another format, an array of Python objects, over 4 GiB uncompressed
    """
    raw = read_bytes(path)
    try:
        if raw.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _LIMIT:
                    raise _damaged(path, "more than 4 GiB uncompressed")
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if not raw.startswith(b"\x93NUMPY"):
            raise _damaged(path, "neither .npy nor .npz")
        return {"x": np.load(io.BytesIO(raw), allow_pickle=False)}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, str(error)[:200]) from error


def npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The one array of a .npy file.

    Errors   FileError: as `load`, and a file of several arrays
    """
    arrays = load(path)
    if list(arrays) != ["x"] or zipfile.is_zipfile(find(path)):
        raise _damaged(path, f"a file of named arrays: {', '.join(arrays)}")
    return arrays["x"]


def images(
    path: str | os.PathLike[str],
    x: str | None = None,
    y: str | None = None,
    channels: Literal["first", "last"] | None = None,
) -> Dataset:
    """Images with class labels from a .npz file.

    x, y      names of the two arrays; None: x or X, y or Y
    channels  which axis of [n, ?, ?, ?] counts channels; None: the one that has 1 or 3; [n, height, width] has none
    Returns   x: float32 [n, channels, height, width] in [0, 1], pixels of type uint8 divided by 255;
              y: int64 [n]
    Errors    FileError as `load`; DataError: no such array, another shape or type, channels that cannot be told, pixels
              outside [0, 1]
    """
    arrays = load(path)
    pixels, labels = _named(arrays, x or "x", path), _named(arrays, y or "y", path)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim != 4:
        raise _not_images(path, "images with 3 or 4 axes", f"shape {list(pixels.shape)}")
    elif (channels or _channels(pixels.shape, path)) == "last":
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.dtype == np.uint8:
        pixels = pixels.astype(np.float32) / np.float32(255)
    elif pixels.dtype.kind != "f" or not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise _not_images(path, "uint8 pixels, or floats in [0, 1]", f"{pixels.dtype} pixels")
    labels = labels.reshape(len(labels)) if labels.size == len(labels) else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(pixels) or bool((labels < 0).any()):
        raise _not_images(path, f"{len(pixels)} whole labels >= 0", f"{labels.dtype} {list(labels.shape)}")
    return Dataset(np.ascontiguousarray(pixels, np.float32), labels.astype(np.int64))


def _channels(shape: tuple[int, ...], path: str | os.PathLike[str]) -> Literal["first", "last"]:
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        expected = "1 or 3 channels on one of the axes 1 and 3, or channels='first' or 'last'"
        raise _not_images(path, expected, f"shape {list(shape)}")
    return "first" if first else "last"


def _named(arrays: dict[str, NDArray[Any]], name: str, path: str | os.PathLike[str]) -> NDArray[Any]:
    for spelling in (name, name.upper()):
        if spelling in arrays:
            return arrays[spelling]
    raise _not_images(path, f"an array named {name}", f"arrays {', '.join(arrays)}")


def _not_images(path: str | os.PathLike[str], expected: str, got: str) -> DataError:
    return DataError(
        "the file does not hold images with labels",
        where=os.fspath(path),
        expected=expected,
        got=got,
        fix="name the arrays with x=... and y=..., or convert them",
    )


def _damaged(path: str | os.PathLike[str], got: str) -> FileError:
    return FileError(
        "the file is not a readable numpy file",
        where=os.fspath(path),
        expected=".npy or .npz with arrays of numbers",
        got=got,
        fix="save it with numpy.save or numpy.savez, without Python objects",
    )
