"""Tensor types: a shape and a dtype, written and printed `f32[batch, 784]`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from torchlean.errors import ShapeError
from torchlean.frozen import frozen
from torchlean.ir import dims
from torchlean.ir.dims import Shape, Size


@frozen
class DType:
    """One element format. `f32["batch", 784]` is a tensor type of it.

    name    how it is printed        numpy   the name of the numpy dtype that carries it
    kind    "float", "int" or "bool"         bits   storage width
    """

    name: str
    numpy: str
    kind: str
    bits: int

    def __getitem__(self, shape: Size | str | tuple[Size | str, ...]) -> TensorType:
        sizes = shape if isinstance(shape, tuple) else (shape,)
        return TensorType(tuple(dims.as_size(s) for s in sizes), self)

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


f64 = DType("f64", "float64", "float", 64)
f32 = DType("f32", "float32", "float", 32)
f16 = DType("f16", "float16", "float", 16)
bf16 = DType("bf16", "bfloat16", "float", 16)
f8e4m3 = DType("f8e4m3", "float8_e4m3fn", "float", 8)
f8e5m2 = DType("f8e5m2", "float8_e5m2", "float", 8)
i64 = DType("i64", "int64", "int", 64)
i32 = DType("i32", "int32", "int", 32)
u32 = DType("u32", "uint32", "int", 32)
i8 = DType("i8", "int8", "int", 8)
u8 = DType("u8", "uint8", "int", 8)
boolean = DType("bool", "bool", "bool", 8)

DTYPES: dict[str, DType] = {
    d.name: d for d in (f64, f32, f16, bf16, f8e4m3, f8e5m2, i64, i32, u32, i8, u8, boolean)
}
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}


def numpy_dtype(name: str) -> np.dtype:
    """The numpy dtype that carries a `DType`, by `DType.numpy`; ml_dtypes brings the small floats when needed."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # noqa: F401  registers its names with numpy

        return np.dtype(name)


def dtype_of(array: np.ndarray) -> DType:
    """The dtype of a numpy array. Raises ShapeError for one that the program's form lacks."""
    try:
        return _BY_NUMPY[array.dtype.name]
    except KeyError:
        raise ShapeError(
            "a tensor cannot hold this dtype",
            where="array",
            expected=", ".join(_BY_NUMPY),
            got=array.dtype.name,
            fix="convert with .astype(np.float32) or another dtype of the list",
        ) from None


@frozen
class TensorType:
    """A shape and a dtype. An empty shape is a scalar."""

    shape: Shape
    dtype: DType

    def __post_init__(self) -> None:
        for size in self.shape:
            if isinstance(size, bool) or not isinstance(size, int | dims.Dim) or (isinstance(size, int) and size < 0):
                raise ShapeError(
                    "a dimension must be a non-negative int or a symbol",
                    where=f"axis of {self.dtype}{list(self.shape)}",
                    expected="an int >= 0, or text such as batch",
                    got=repr(size),
                    fix='write the size as an int or a name: f32["batch", 784]',
                )

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def static(self) -> bool:
        """Whether every axis has a known size."""
        return all(isinstance(s, int) for s in self.shape)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as ints. Raises ShapeError when a size is symbolic."""
        known = tuple(s for s in self.shape if isinstance(s, int))
        if len(known) != len(self.shape):
            raise ShapeError(
                "this step needs known sizes",
                where=str(self),
                expected="every axis an int",
                got=str(self),
                fix="specialise the program first: program.specialise(batch=1)",
            )
        return known

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(shape, self.dtype)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(self.shape, dtype)

    def substitute(self, sizes: Mapping[str, Size]) -> TensorType:
        return self.with_shape(tuple(dims.substitute(s, sizes) for s in self.shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(s) for s in self.shape)}]"

    __repr__ = __str__


def type_of(array: np.ndarray) -> TensorType:
    """The type of a numpy array."""
    return TensorType(tuple(int(s) for s in array.shape), dtype_of(array))


_TYPE = re.compile(r"([a-z0-9]+)\[(.*)\]\Z")


def parse_type(text: str) -> TensorType:
    """Read back what `str` printed. Raises ShapeError."""
    match = _TYPE.match(text.strip())
    if match is None or match[1] not in DTYPES:
        raise ShapeError(
            "not a tensor type",
            where=repr(text),
            expected="dtype[sizes], such as f32[batch, 784]",
            got=repr(text),
            fix=f"the dtypes are {', '.join(DTYPES)}",
        )
    inner = match[2].strip()
    return TensorType(tuple(dims.parse(part) for part in inner.split(",")) if inner else (), DTYPES[match[1]])
