"""docs/floats.md says what is so: its table is the catalog, its examples run."""

import re
from pathlib import Path

from torchlean.floats import CATALOG

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "floats.md").read_text(encoding="utf-8")


def test_the_table_of_formats_is_the_catalog():
    rows = re.findall(r"^\| `(\w+)` \| 1, (\d+), (\d+) \| (\d+) \| (-?\d+) \.\. (\d+) \| (\S+) \| 2\^(-\d+) \| (\w+) \|"
                      r" .* \| (uint\d+)", TEXT, flags=re.M)  # fmt: skip
    assert {row[0] for row in rows} == CATALOG.keys()
    for name, exponent, fraction, precision, emin, emax, largest, smallest, infinity, storage in rows:
        fmt = CATALOG[name]
        assert (fmt.exponent_bits, fmt.fraction_bits, fmt.precision) == (int(exponent), int(fraction), int(precision))
        assert (fmt.emin, fmt.emax, fmt.storage.name) == (int(emin), int(emax), storage)
        assert abs(fmt.max / float(largest) - 1) < 0.01 and fmt.smallest_subnormal == 2.0 ** int(smallest)
        assert fmt.has_infinity == (infinity == "yes")


def test_the_examples_run():
    examples = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.M | re.S)
    assert examples
    for code in examples:
        exec(code, {})
