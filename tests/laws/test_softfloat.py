"""Every op by integers has the bits that it has by numpy: the reference execution is IEEE 754's, op by op."""

import numpy as np
import pytest
from law_cases import CASES

from torchlean import floats
from torchlean.ir import f32
from torchlean.meaning import Float, SoftFloat, to_numpy
from torchlean.meaning.evaluate import evaluate


def patterns(x):
    """Bits, with one pattern for every NaN; integers and bools as they are."""
    if x.dtype.kind != "f":
        return x
    return np.where(np.isnan(x), np.nan, x).astype(x.dtype).view(floats.format_of(x.dtype).storage)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_softfloat_has_the_bits_of_the_reference(case):
    graph, values = case.graph(f32), case.values(f32)
    found = [evaluate(graph, N, {k: N.constant(v) for k, v in values.items()}) for N in (SoftFloat(), Float())]
    assert found[0].keys() == found[1].keys()
    for name, theirs in found[1].items():
        ours = to_numpy(found[0][name])
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(patterns(ours), patterns(theirs))
