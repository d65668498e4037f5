"""The two arithmetics of the check: how rows of coefficients are multiplied by weights, and what error that may have.

Every product here satisfies |product(rows, matrix) - rows matrix| <= gamma(n) |rows| |matrix| + underflow, entry by
entry, n being the number of terms; `dots` the same for n-term dot products. Underflow (below 2^-800 in any bound) is
charged once, by the kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from torchlean_check.errors import CheckError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def each(values: Floats, box: Ints) -> Floats:
    """What belongs to each row's box; one row stands for all.   Shapes  [B, n], [R] -> [R, n] or [1, n]"""
    return values if len(values) == 1 else values.take(box, axis=0)


def multiply(rows: Floats, matrix: Floats) -> Floats:
    """rows @ matrix, laid out in memory as the rows are: so neither side of a convolution is copied."""
    return rows @ matrix if rows.flags.c_contiguous or not rows.flags.f_contiguous else (matrix.T @ rows.T).T


class Rounded:
    """float64 products by the BLAS: binary64 to nearest, any order, with or without FMA, no Strassen."""

    name = "rounded"

    def gamma(self, terms: int) -> float:
        return (terms + 8) * 2.0**-53 * (1.0 + 2.0**-20)

    def trim(self, rows: Floats) -> tuple[Floats, Floats | None]:
        """Rows that `product` accepts, and how far each of their entries moved (None: not at all)."""
        return rows, None

    def trim_up(self, rows: Floats) -> Floats:
        """For rows >= 0: rows that `product` accepts, at least as large."""
        return rows

    def product(self, rows: Floats, matrix: Floats) -> Floats:
        return multiply(rows, matrix)

    def against(self, rows: Floats, vector: Floats) -> Floats:
        """Shapes  [R, n], [n] -> [R]"""
        return rows @ vector

    def dots(self, a: Floats, b: Floats) -> Floats:
        """Row by row; one row stands for all.   Shapes  [R, n], [R, n] or [1, n] -> [R]"""
        return a @ b[0] if len(b) == 1 else np.einsum("rn,rn->r", a, b)

    def gram(self, a: Floats, b: Floats) -> Floats:
        """Products of rows, box by box.   Shapes  [R, m, n], [R, m, n] -> [m, m, R]"""
        return np.matmul(a, b.transpose(0, 2, 1)).transpose(1, 2, 0)


class Exact:
    """Products without any rounding, in every order, so every machine sees the same numbers.

    Rows are trimmed to 44 bits below their largest entry and cut into two integer slices of at most 22 bits; weights
    are cut into integer
    slices such that bits + log2 n <= 53. Slice products are exact integers; only their 2 K scaled sums round,
    elementwise, at most
    2 K 9 2^-53 < 2^-43 for K <= 14 slices (float32 weights need no more).
    """

    name = "exact"
    BITS = 44

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, _Slices]] = {}

    def gamma(self, terms: int) -> float:
        return 2.0**-43 + (terms + 8) * 2.0**-52

    def _quantum(self, rows: Floats) -> Floats:
        """A power of two per row: its largest entry is at most 2^44 of them, and stays so when rows are trimmed.

        Shapes  [R, n] -> [R, 1]
        """
        largest = np.abs(rows).max(axis=1, keepdims=True)
        part, exponent = np.frexp(np.where(np.isfinite(largest), largest, 1.0))
        return np.ldexp(1.0, np.maximum(exponent - (part == 0.5) - self.BITS, -900))

    def trim(self, rows: Floats) -> tuple[Floats, Floats | None]:
        q = self._quantum(rows)
        return np.rint(rows / q) * q, q[:, 0] * 0.5

    def trim_up(self, rows: Floats) -> Floats:
        q = self._quantum(rows)
        return np.ceil(rows / q) * q

    def product(self, rows: Floats, matrix: Floats) -> Floats:
        q = self._quantum(rows)
        units = rows / q
        if not (units == np.rint(units)).all():
            return np.full((len(rows), matrix.shape[1]), np.nan)  # untrimmed or not finite: fails the caller's check
        high = np.rint(units * 2.0**-22)
        low = units - high * 2.0**22
        total = np.zeros((len(rows), matrix.shape[1]), order="F" if rows.flags.f_contiguous else "C")
        for part, scale in self._cut(matrix):
            found = multiply(high, part)
            found *= 2.0**22
            found += multiply(low, part)
            found *= q
            found *= scale
            total += found
        return total

    def _cut(self, matrix: Floats) -> list[tuple[Floats, Floats]]:
        """Integer slices and their scales, smallest first; kept per matrix object.

        Shapes  [n, m] -> ([n, m], [1, m]) each
        """
        kept = self._kept.get(id(matrix))
        if kept is None or kept[0] is not matrix:
            kept = (matrix, _Slices(matrix))
            if matrix.size > 64:
                self._kept[id(matrix)] = kept
        return kept[1].parts

    def against(self, rows: Floats, vector: Floats) -> Floats:
        return self.dots(rows, vector)

    def dots(self, a: Floats, b: Floats) -> Floats:
        x = a * b
        while x.shape[1] > 1:  # one fixed tree of elementwise additions
            half = x.shape[1] // 2
            y = x[:, :half] + x[:, half : 2 * half]
            x = y if x.shape[1] % 2 == 0 else np.concatenate([y, x[:, -1:]], axis=1)
        return x[:, 0]

    def gram(self, a: Floats, b: Floats) -> Floats:
        every = range(a.shape[1])
        return np.stack([np.stack([self.dots(a[:, i], b[:, j]) for j in every]) for i in every])


class _Slices:
    def __init__(self, matrix: Floats) -> None:
        bits = 53 - 22 - max(int(matrix.shape[0] - 1).bit_length(), 1)
        if bits < 8:
            raise CheckError(
                "a sum has too many terms for exact arithmetic",
                where="network",
                expected="fewer than 2^22 terms",
                got=str(matrix.shape[0]),
                fix="use rounded arithmetic",
            )
        scale = np.ldexp(1.0, np.frexp(np.abs(matrix).max(axis=0, keepdims=True))[1] - bits)
        parts = []
        rest = matrix
        while rest.any():
            part = np.rint(rest / scale)
            rest = rest - part * scale  # exact: part * scale agrees with rest in its leading bits
            parts.append((part, scale))
            scale = scale * 2.0**-bits
            if len(parts) > 14:
                raise CheckError(
                    "the weights spread too widely for exact arithmetic",
                    where="network",
                    expected="float32 weights",
                    got="more than 14 slices",
                    fix="use rounded arithmetic",
                )
        self.parts = parts[::-1]


Arithmetic = Rounded | Exact


def arithmetic(name: str) -> Arithmetic:
    if name not in ("rounded", "exact"):
        raise CheckError(
            "unknown arithmetic", where="argument arithmetic", expected="rounded or exact", got=name, fix="choose one"
        )
    return Rounded() if name == "rounded" else Exact()


def self_test() -> None:
    """Refuse a machine whose float64 is not binary64 to nearest with subnormals and infinities."""
    one, eps = np.ones(4), np.full(4, 2.0**-53)
    with np.errstate(all="ignore"):
        checks = {
            "rounding to nearest even": bool((one + eps == 1.0).all() and (one + 3 * eps == 1.0 + 2.0**-51).all()),
            "no extended precision": bool(((one + eps) - 1.0 == 0.0).all()),
            "subnormals": bool((one * 2.0**-1074 > 0.0).all() and (one * 2.0**-1022 * 0.5 == 2.0**-1023).all()),
            "infinities and nan": bool(
                np.isinf(one * 1e308 * 10).all()
                and np.isnan(np.inf * (one - 1)).all()
                and not (np.full(4, np.nan) > 0).any()
            ),
            "products": bool(
                (
                    np.full((3, 3), 2.0**26 + 1) @ np.full((3, 3), 2.0**25 + 1) == 3 * (2.0**51 + 2.0**26 + 2.0**25 + 1)
                ).all()
            ),
            "subnormal products": bool((np.full((2, 2), 2.0**-540) @ np.full((2, 2), 2.0**-530) == 2.0**-1069).all()),
        }
    failed = [name for name, ok in checks.items() if not ok]
    if failed:
        raise CheckError(
            "this machine's float64 does not follow IEEE 754",
            where="start-up self-test",
            expected="binary64 to nearest",
            got=", ".join(failed),
            fix="run on another machine, without flush-to-zero",
        )
