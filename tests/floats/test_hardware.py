"""The self-test of the machine: it passes here, and every way of computing otherwise fails it."""

import subprocess
import sys

import numpy as np
import pytest

from torchlean import floats
from torchlean.errors import ShapeError, Unsupported
from torchlean.floats import BINARY16, BINARY32, BINARY64, Rounding, hardware, soft

formats = pytest.mark.parametrize("fmt", [BINARY32, BINARY64], ids=str)


@formats
def test_this_machine_passes(fmt):
    assert hardware.failures(fmt) == ()


def directed(mode, fmt):
    def through(name):
        def operation(*arrays):
            return getattr(soft, name)(*(x.view(fmt.storage) for x in arrays), fmt, mode).bits.view(fmt.dtype)

        return operation

    return {name: through(name) for name in hardware.NUMPY}


@formats
def test_the_hash_is_that_of_software(fmt):
    assert hardware.fingerprint(fmt, directed(Rounding.NEAREST, fmt)) == hardware.RESULTS[fmt]


@formats
def test_the_hash_sees_every_difference(fmt, monkeypatch):
    """A machine that differs anywhere is looked at in full, and fails; one NaN is as good as another."""
    others = [directed(mode, fmt) for mode in Rounding if mode is not Rounding.NEAREST]
    others += [flushed(True, False), flushed(False, True), fused_products()]
    for operations in others:
        monkeypatch.setattr(hardware, "NUMPY", operations)
        assert hardware.fingerprint(fmt, operations) != hardware.RESULTS[fmt] and hardware.failures.__wrapped__(fmt)
    other = {"mul": lambda a, b: np.where(np.isnan(a * b), np.copysign(a.dtype.type(np.nan), a), a * b)}
    assert hardware.fingerprint(fmt, directed(Rounding.NEAREST, fmt) | other) == hardware.RESULTS[fmt]


def flushed(operands, results):
    """The operations of a processor that takes subnormals for zeros."""

    def flush(x):
        return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, np.copysign(np.zeros_like(x), x), x)

    def through(f):
        return lambda *xs: (flush if results else np.asarray)(f(*(flush(x) if operands else x for x in xs)))

    return {name: through(f) for name, f in hardware.NUMPY.items()}


def fused_products():
    """Products kept exactly, for the addition after them."""
    one = dict(hardware.NUMPY)

    class Product(np.ndarray):
        pass

    def mul(a, b):
        product = (a * b).view(Product)
        product.factors = (a, b)
        return product

    def sub(a, b):
        factors = getattr(a, "factors", None)
        if factors is None:
            return np.subtract(a, b)
        fmt = floats.format_of(b.dtype)
        given = [np.asarray(x).view(fmt.storage) for x in (*factors, -b)]
        return soft.fma(*given, fmt).bits.view(b.dtype)

    return one | {"mul": mul, "sub": sub}


@formats
@pytest.mark.parametrize("mode", [m for m in Rounding if m is not Rounding.NEAREST])
def test_another_rounding_direction_is_seen(mode, fmt):
    found = hardware.differences(fmt, directed(mode, fmt))
    assert "rounding to nearest, ties to even, in add" in found
    if mode is not Rounding.NEAREST_AWAY:
        assert {f"a seeded batch, in {name}" for name in hardware.NUMPY} <= set(found)
    assert hardware.differences(fmt, directed(Rounding.NEAREST, fmt)) == ()


@formats
@pytest.mark.parametrize(("operands", "results"), [(True, False), (False, True), (True, True)])
def test_flushed_subnormals_are_seen(operands, results, fmt):
    found = hardware.differences(fmt, flushed(operands, results))
    assert {f"subnormal operands and results, in {name}" for name in ("add", "sub", "mul", "div")} & set(found)
    assert hardware.differences(fmt, flushed(False, False)) == ()


@formats
def test_contraction_wide_intermediates_and_lost_specials_are_seen(fmt):
    assert hardware.differences(fmt, fused_products()) == ("a product was fused into the addition after it",)
    no_minus = hardware.NUMPY | {"mul": lambda a, b: a * b + 0.0}
    assert "signed zeros, in mul" in hardware.differences(fmt, no_minus)
    quiet = hardware.NUMPY | {"div": lambda a, b: np.nan_to_num(a / b, nan=0.0, posinf=np.inf, neginf=-np.inf)}
    assert hardware.differences(fmt, quiet)[0] == "signed zeros, in div"
    capped = hardware.NUMPY | {"add": lambda a, b: np.clip(a + b, -fmt.max, fmt.max)}
    assert "infinities, NaN and overflow, in add" in hardware.differences(fmt, capped)
    one_ulp = hardware.NUMPY | {"sqrt": lambda a: np.nextafter(np.sqrt(a), np.inf)}
    assert "a seeded batch, in sqrt" in hardware.differences(fmt, one_ulp)


@formats
def test_both_arithmetics_give_the_same_bits(fmt):
    rng = np.random.default_rng(9)
    a, b = (rng.normal(size=(2, 100_000)) * 2.0 ** rng.integers(-30, 30, (2, 100_000))).astype(fmt.dtype)
    a, b = a.view(fmt.storage), b.view(fmt.storage)
    ours, theirs = hardware.hardware_or_software(fmt), hardware.Software(fmt)
    assert ours.name == "hardware" and theirs.name == "software"
    for name in ("add", "sub", "mul", "div"):
        np.testing.assert_array_equal(getattr(ours, name)(a, b), getattr(theirs, name)(a, b))
    positive = a & fmt.storage.type(fmt.magnitude_mask)
    np.testing.assert_array_equal(ours.sqrt(positive), theirs.sqrt(positive))


def test_where_the_self_test_fails_there_is_an_error_or_the_software_by_name(monkeypatch):
    monkeypatch.setattr(hardware, "failures", lambda fmt: ("subnormal operands and results, in mul",))
    with pytest.raises(Unsupported, match="subnormal operands and results, in mul"):
        hardware.Hardware(BINARY32)
    assert hardware.hardware_or_software(BINARY32).name == "software"
    from torchlean.ir import f32, trace
    from torchlean.ops import ALL
    from torchlean.run.execute import execute

    graph = trace(ALL, lambda g, x: g.relu(x), x=f32[2])
    with pytest.raises(Unsupported, match="arithmetic is not that of IEEE 754"):
        execute(graph, {"x": np.zeros(2, np.float32)})


def test_other_formats_have_no_hardware():
    with pytest.raises(Unsupported, match="no arithmetic by hardware in float16"):
        hardware.Hardware(BINARY16)
    assert hardware.hardware_or_software(BINARY16).name == "software"
    with pytest.raises(ShapeError, match="bit patterns have the wrong dtype"):
        hardware.Hardware(BINARY32).add(np.zeros(1, np.float32), np.zeros(1, np.float32))


def test_the_numbers_need_numpy_and_flint_only():
    """A format that numpy lacks is imported only when its dtype is asked for."""
    program = (
        "import sys\nfrom torchlean import floats\n"
        "floats.soft.encode(1.5, floats.E4M3FN, rules=floats.soft.Rules(overflow=floats.soft.Overflow.SATURATE))\n"
        "print(sorted(m for m in ('ml_dtypes', 'torch', 'onnx', 'gmpy2', 'mpmath') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
