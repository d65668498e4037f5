"""What a flush to zero, or an overflow before a division, costs: the rounding rules cover it."""

import numpy as np

from torchlean import ops

TINY = 2.0**-126


def test_a_sum_of_two_flushed_operands():
    """Two operands just below 2^-126 are both flushed: the sum loses almost 2^-125."""
    x = np.array([TINY * (1 - 2.0**-23)])
    assert ops.ALL["add"].rule("rounding")((x, x), 2 * x) >= 2 * x


def norm(epsilon=1e-5, **values):
    one = {"x": 1.0, "scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0} | values
    x, *rest = (np.array([v]) for v in one.values())
    return ops.ALL["batch_norm"].rule("rounding")((x.reshape(1, 1), *rest), x.reshape(1, 1), epsilon=epsilon)


def test_a_batch_norm_whose_first_product_is_flushed():
    """(x - mean) / sqrt(var) below 2^-126 is flushed, and scale 2^40 would have made it 2^-86."""
    assert (norm(x=2.0**-87, scale=2.0**40, var=2.0**80) >= 2.0**-87).all()


def test_a_batch_norm_whose_scale_is_flushed():
    """2^-127 read as zero, where 1 / sqrt(epsilon) = 2^45 and x = 2^30 make it 2^-52."""
    assert (norm(x=2.0**30, scale=2.0**-127, var=0.0, epsilon=2.0**-90) >= 2.0**-52).all()


def test_a_batch_norm_that_overflows_before_it_gets_small():
    assert np.isinf(norm(x=2.0**120, scale=2.0**10, var=2.0**40)).all()
    assert np.isfinite(norm(x=2.0**90, scale=2.0**10, var=2.0**40)).all()
