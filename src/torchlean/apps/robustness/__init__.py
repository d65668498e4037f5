"""Certified accuracy over a dataset: nominal, attacked, bounded and proved, radius by radius."""

from torchlean.apps.robustness.attack import Strength, attack, violates
from torchlean.apps.robustness.examples import Examples, classes_of, read_examples
from torchlean.apps.robustness.measure import METHODS, Level, Measured, Settings, measure
from torchlean.apps.robustness.proofs import Proofs
from torchlean.apps.robustness.table import BASIS, HEAD, as_json, open_examples, rows

__all__ = [
    "BASIS",
    "HEAD",
    "METHODS",
    "Examples",
    "Level",
    "Measured",
    "Proofs",
    "Settings",
    "Strength",
    "as_json",
    "attack",
    "classes_of",
    "measure",
    "open_examples",
    "read_examples",
    "rows",
    "violates",
]
