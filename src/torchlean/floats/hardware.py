"""binary32 and binary64 arithmetic by the processor, through numpy, where a self-test finds it equal to SoftFloat.

The test runs once a process and format. What SoftFloat gives is known by its hash, so that it is loaded only where a
result differs, to say which. The test sees the rounding of the thread that runs it: whoever
changes the processor's mode afterwards (some libraries flush subnormals) breaks what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any, Protocol

import numpy as np

from torchlean.errors import Unsupported
from torchlean.floats.bits import Bits, is_nan, patterns
from torchlean.floats.formats import BINARY32, BINARY64, Format

Operation = Callable[..., Any]
NUMPY: Mapping[str, Operation] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt,
}  # fmt: skip


RESULTS = {
    BINARY32: "d3bd67df240324f1e965304a46d5110f72ac953743745b55c4f5104508e17b8b",
    BINARY64: "f24f4595a56ed2732904eb182b9128e9b7de541e7da4ba645583e57c705aafcd",
}  # SHA-256 of what SoftFloat gives on the self-test's operands, as `fingerprint` has it


class Arithmetic(Protocol):
    """Rounding to nearest-even, on bit patterns of one format; results without flags."""

    @property
    def name(self) -> str: ...
    @property
    def fmt(self) -> Format: ...
    def add(self, a: Bits, b: Bits) -> Bits: ...
    def sub(self, a: Bits, b: Bits) -> Bits: ...
    def mul(self, a: Bits, b: Bits) -> Bits: ...
    def div(self, a: Bits, b: Bits) -> Bits: ...
    def sqrt(self, a: Bits) -> Bits: ...


class Software:
    """`Arithmetic` by floats.soft, for any format with infinities."""

    name = "software"

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt

    def add(self, a: Bits, b: Bits) -> Bits:
        return _soft("add", self.fmt, a, b)

    def sub(self, a: Bits, b: Bits) -> Bits:
        return _soft("sub", self.fmt, a, b)

    def mul(self, a: Bits, b: Bits) -> Bits:
        return _soft("mul", self.fmt, a, b)

    def div(self, a: Bits, b: Bits) -> Bits:
        return _soft("div", self.fmt, a, b)

    def sqrt(self, a: Bits) -> Bits:
        return _soft("sqrt", self.fmt, a)


def _soft(operation: str, fmt: Format, *operands: Bits) -> Bits:
    from torchlean.floats import soft

    found: Bits = getattr(soft, operation)(*operands, fmt).bits
    return found


class Hardware:
    """`Arithmetic` by numpy. A NaN result is a NaN; its sign and payload are the processor's.

    Raises Unsupported where the self-test fails, and for other formats than binary32 and binary64.
    """

    name = "hardware"

    def __init__(self, fmt: Format) -> None:
        require(fmt)
        self.fmt = fmt

    def _run(self, operation: str, *operands: Bits) -> Bits:
        given = [patterns(x, self.fmt, f"hardware.{operation}") for x in operands]
        return _patterns_of(NUMPY[operation], self.fmt, given)

    def add(self, a: Bits, b: Bits) -> Bits:
        return self._run("add", a, b)

    def sub(self, a: Bits, b: Bits) -> Bits:
        return self._run("sub", a, b)

    def mul(self, a: Bits, b: Bits) -> Bits:
        return self._run("mul", a, b)

    def div(self, a: Bits, b: Bits) -> Bits:
        return self._run("div", a, b)

    def sqrt(self, a: Bits) -> Bits:
        return self._run("sqrt", a)


def hardware_or_software(fmt: Format) -> Arithmetic:
    """The processor's arithmetic where it passed the self-test, floats.soft elsewhere; `name` says which it is."""
    return Hardware(fmt) if fmt in (BINARY32, BINARY64) and not failures(fmt) else Software(fmt)


def require(fmt: Format) -> None:
    """Raises Unsupported unless this machine's arithmetic in the format passed the self-test."""
    if fmt not in (BINARY32, BINARY64):
        raise Unsupported(
            f"no arithmetic by hardware in {fmt}",
            where="floats.hardware",
            expected="float32 or float64",
            got=fmt.name,
            fix="floats.soft computes in every format",
        )
    found = failures(fmt)
    if found:
        raise Unsupported(
            f"this machine's {fmt} arithmetic is not that of IEEE 754",
            where="floats.hardware, self-test",
            expected="results equal to floats.soft, bit for bit",
            got="; ".join(found),
            fix="turn off flush-to-zero and fast-math modes in this process, or compute with floats.soft",
        )


@cache
def failures(fmt: Format) -> tuple[str, ...]:
    """What the self-test found wrong with numpy's arithmetic in the format; empty where it passed."""
    return () if fingerprint(fmt, NUMPY) == RESULTS[fmt] else differences(fmt, NUMPY)


def fingerprint(fmt: Format, operations: Mapping[str, Operation]) -> str:
    """SHA-256 of all results of the self-test on float arrays, every NaN as one."""
    a, b = (np.concatenate([x[i] for x in _areas(fmt).values()]) for i in (0, 1))
    results = [_patterns_of(f, fmt, (a,) if name == "sqrt" else (a, b)) for name, f in sorted(operations.items())]
    found = np.concatenate([*results, _fused(fmt, operations)])
    return sha256(np.where(is_nan(found, fmt), np.array(fmt.nan_bits, fmt.storage), found).tobytes()).hexdigest()


def differences(fmt: Format, operations: Mapping[str, Operation]) -> tuple[str, ...]:
    """The self-test of given operations on float arrays: each area of IEEE 754 in which a result differs, by name.

    operations   add, sub, mul, div, sqrt
    Method       results on telling operands and on a seeded batch, compared with floats.soft; a NaN equals a NaN
    """
    areas = _areas(fmt)
    a, b = (np.concatenate([x[i] for x in areas.values()]) for i in (0, 1))
    area = np.repeat(list(areas), [x.shape[1] for x in areas.values()])
    found = []
    for name, operation in operations.items():
        operands = (a,) if name == "sqrt" else (a, b)
        ours, theirs = _soft(name, fmt, *operands), _patterns_of(operation, fmt, operands)
        wrong = (ours != theirs) & ~(is_nan(ours, fmt) & is_nan(theirs, fmt))
        found += [f"{where}, in {name}" for where in dict.fromkeys(area[wrong].tolist())]
    if _fused(fmt, operations).any():
        found.append("a product was fused into the addition after it")
    return tuple(found)


def _fused(fmt: Format, operations: Mapping[str, Operation]) -> Bits:
    """(1 + ulp)^2 - (1 + 2 ulp): zeros, where a product fused into the addition after it would keep 1 ulp^2."""
    one = fmt.bias << fmt.fraction_bits
    near, twice = np.full(16, one + 1, fmt.storage), np.full(16, one + 2, fmt.storage)
    return _patterns_of(lambda a, b: operations["sub"](operations["mul"](a, a), b), fmt, (near, twice))


def _areas(fmt: Format) -> dict[str, Bits]:
    """Telling operands, [2, n] patterns, by what they tell."""
    step, minus = 1 << fmt.fraction_bits, fmt.magnitude_mask + 1
    one, infinity, nan = fmt.bias << fmt.fraction_bits, fmt.last_number_bits, fmt.nan_bits
    half_ulp = one - fmt.precision * step  # 2^-precision
    batch = np.random.default_rng(754).integers(0, 1 << 32, (4, 1000), dtype=np.uint64)
    wide = (batch[:2] << np.uint64(32)) | batch[2:]
    anything = wide >> np.uint64(64 - fmt.width)
    ordinary = wide % np.uint64(8 * step) + np.uint64(one - 4 * step)
    pairs = {
        "rounding to nearest, ties to even": [
            (one, half_ulp), (one + 1, half_ulp), (one | minus, half_ulp | minus), (one, half_ulp + 1),
            (one + 3, one + step // 2), (one, one + step + step // 2), (one + 1, one + 1),
        ],
        "subnormal operands and results": [
            (1, 1), (step - 1, 1), (step, step - 1), (step + 1, step | minus), (step, one - step), (1, one - step),
            (3, one - step), (step - 1, one + step), (step + 3, one + step), (1, half_ulp),
        ],
        "signed zeros": [
            (0, minus), (minus, minus), (one, one | minus), (minus, one), (1, minus | 1), (0, one | minus),
        ],
        "infinities, NaN and overflow": [
            (infinity, infinity | minus), (infinity, 0), (one, 0), (one, minus), (0, 0), (nan, one), (one, nan),
            (fmt.max_bits, fmt.max_bits), (fmt.max_bits, one), (fmt.max_bits, half_ulp), (one | minus, one),
        ],
    }  # fmt: skip
    found = {area: np.array(given, fmt.storage).T for area, given in pairs.items()}
    return found | {"a seeded batch": np.concatenate([anything, ordinary], axis=1).astype(fmt.storage)}


def _patterns_of(operation: Operation, fmt: Format, operands: Any) -> Bits:
    with np.errstate(all="ignore"):
        result = operation(*(x.view(fmt.dtype) for x in operands))
    return np.asarray(result, fmt.dtype).view(fmt.storage)
