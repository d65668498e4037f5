"""Random numbers: the same bits on every machine, and the distributions that they claim."""

from __future__ import annotations

import hashlib
from statistics import NormalDist

import numpy as np
import pytest

from torchlean.errors import UsageError
from torchlean.nn.random import Stream, quantile


def test_the_streams_bits_never_change() -> None:
    """Words of Philox 4x64-10, and normals made of them by IEEE operations: a digest stands for every machine."""
    stream = Stream(0, "0.weight")
    assert stream.bits(2).tolist() == [9707470755400210690, 12061630675316119446]
    digest = hashlib.sha256(stream.normal((1000,)).tobytes()).hexdigest()
    assert digest == "d465c3b6126a43a378cfe9a697883f4bf4075210f4524fafc35c7aa47abd944c"


def test_names_and_seeds_give_different_numbers_and_shapes_a_prefix() -> None:
    a, b, c = (Stream(s, n).uniform((4,)) for s, n in ((0, "a"), (0, "b"), (1, "a")))
    assert not np.any(a == b) and not np.any(a == c)
    assert np.array_equal(Stream(0, "a").uniform((2, 3)).ravel()[:4], a)


def test_uniform_is_a_multiple_of_a_power_of_two_in_the_unit_interval() -> None:
    u = Stream(3, "u").uniform((10_000,))
    assert np.all((u >= 0) & (u < 1)) and np.all(u * 2.0**53 == np.floor(u * 2.0**53))
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002


def test_quantile_agrees_with_the_standard_library() -> None:
    p = np.array([1e-16, 1e-10, 1e-3, 0.07, 0.0750001, 0.3, 0.5, 0.77, 0.925, 0.999, 1 - 1e-15])
    want = np.array([NormalDist().inv_cdf(float(v)) for v in p])
    # The standard library runs the same algorithm with the platform's log.
    np.testing.assert_allclose(quantile(p), want, rtol=1e-14, atol=0)


def test_normals_have_the_moments_of_a_normal() -> None:
    z = Stream(0, "z").normal((100_000,))
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01 and abs((z**4).mean() - 3) < 0.1
    assert abs(np.mean(np.abs(z) > 1.959963985) - 0.05) < 0.003


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_a_seed_is_an_unsigned_integer(seed: object) -> None:
    with pytest.raises(UsageError, match="a seed is an unsigned 64-bit integer"):
        Stream(seed, "x")  # type: ignore[arg-type]
