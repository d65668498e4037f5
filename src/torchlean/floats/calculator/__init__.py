"""Numbers and expressions looked at one by one: in every format, in every direction, beside their exact values."""

from torchlean.floats.calculator.evaluate import Outcome, Step, evaluate
from torchlean.floats.calculator.look import Look, look, look_at_pattern, pattern_text, shortest
from torchlean.floats.calculator.number import is_number, read_number
from torchlean.floats.calculator.real import Real, real_value
from torchlean.floats.calculator.syntax import ARITY, Expression, parse

__all__ = [
    "ARITY",
    "Expression",
    "Look",
    "Outcome",
    "Real",
    "Step",
    "evaluate",
    "is_number",
    "look",
    "look_at_pattern",
    "parse",
    "pattern_text",
    "read_number",
    "real_value",
    "shortest",
]
