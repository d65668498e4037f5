"""From a VNN-LIB expression to a formula over linear inequalities, exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction

from torchlean.bounds.dnf import And, Atom, Logic, Not, Or
from torchlean.bounds.property import Inequality, inequality
from torchlean.errors import FileError
from torchlean.io.vnnlib_text import Expression, Place, number

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass
class Linear:
    """A linear expression: coefficients by index, and a constant."""

    x: dict[int, Fraction] = field(default_factory=dict)
    y: dict[int, Fraction] = field(default_factory=dict)
    constant: Fraction = ZERO

    def add(self, other: Linear, factor: Fraction) -> None:
        for mine, theirs in ((self.x, other.x), (self.y, other.y)):
            for i, c in theirs.items():
                mine[i] = mine.get(i, ZERO) + c * factor
        self.constant += other.constant * factor

    @property
    def is_constant(self) -> bool:
        return not any(self.x.values()) and not any(self.y.values())


class Language(ABC):
    """What the versions of VNN-LIB say differently.

    equal, unequal   their words for = and its opposite; "" where there is none
    negation         whether `not` may stand before a formula      division   whether / may stand in a term
    single           whether + and * may have one operand
    """

    equal: str
    unequal: str = ""
    negation: bool
    division: bool
    single: bool

    @abstractmethod
    def leaf(self, word: str, place: Place) -> Linear:
        """A variable or a number. Raises FileError for anything else."""

    def check_types(self, left: Expression, right: Expression, place: Place) -> None:
        """Raises FileError where the two sides of a comparison are not of one type."""
        return


@dataclass
class Declared(Language):
    """VNN-LIB 1.0, with the indices of the inputs and of the outputs declared so far."""

    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    equal, negation, division, single = "=", True, True, False

    def leaf(self, word: str, place: Place) -> Linear:
        if word[:2] in ("X_", "Y_") and word[2:].isascii() and word[2:].isdigit():
            i = int(word[2:11])
            names = self.inputs if word[0] == "X" else self.outputs
            if word != f"{word[:2]}{i}" or i not in names:
                raise place.unknown(word[:60])
            return Linear(x={i: ONE}) if word[0] == "X" else Linear(y={i: ONE})
        return Linear(constant=number(word, place))


def logic_of(expression: Expression, language: Language, place: Place) -> Logic:
    """The formula that an expression states.

    Errors   FileError: an unknown name, a wrong number of operands; Unsupported: an operator that is not linear logic
    """
    match expression:
        case [("and" | "or") as name, *parts] if parts:
            made = tuple(logic_of(part, language, place) for part in parts)
            return And(made) if name == "and" else Or(made)
        case ["not", part] if language.negation:
            return Not(logic_of(part, language, place))
        case [("<=" | ">=" | "<" | ">") as name, left, right]:
            language.check_types(left, right, place)
            return Atom(_inequality(str(name), left, right, language, place))
        case [str(name), left, right] if name in (language.equal, language.unequal):
            language.check_types(left, right, place)
            relations = ("<=", ">=") if name == language.equal else ("<", ">")
            sides = tuple(Atom(_inequality(relation, left, right, language, place)) for relation in relations)
            return And(sides) if name == language.equal else Or(sides)
        case [str(name), *parts] if name in _formulas(language):
            raise _operands(name, len(parts), place)
    raise place.unsupported(
        "this is no formula that can be read",
        ", ".join(_formulas(language)),
        _head(expression),
        "write the property with these",
    )


def _formulas(language: Language) -> tuple[str, ...]:
    words = ("and", "or", "not" if language.negation else "", "<=", "<", ">=", ">", language.equal, language.unequal)
    return tuple(filter(None, words))


def _inequality(name: str, left: Expression, right: Expression, language: Language, place: Place) -> Inequality:
    """left <= right as left - right <= 0; left >= right as right - left <= 0."""
    if name[0] == ">":
        left, right = right, left
    form = _linear(left, language, place)
    form.add(_linear(right, language, place), -ONE)
    return inequality(form.x, form.y, form.constant, strict=len(name) == 1)


def _linear(expression: Expression, language: Language, place: Place) -> Linear:
    """A fresh linear form, which the caller may change."""
    if isinstance(expression, str):
        return language.leaf(expression, place)
    match expression:
        case ["+", first, *others] if others or language.single:
            return _summed(first, others, ONE, language, place)
        case ["-", only]:
            negated = Linear()
            negated.add(_linear(only, language, place), -ONE)
            return negated
        case ["-", first, *others]:
            return _summed(first, others, -ONE, language, place)
        case ["*", first, *others] if others or language.single:
            product = _linear(first, language, place)
            for other in others:
                product = _product(product, _linear(other, language, place), place)
            return product
        case ["/", top, bottom] if language.division:
            divisor = _linear(bottom, language, place)
            if not divisor.is_constant or divisor.constant == 0:
                raise _not_linear("division by a variable or by 0", place)
            quotient = Linear()
            quotient.add(_linear(top, language, place), 1 / divisor.constant)
            return quotient
        case [("+" | "-" | "*" | "/") as name, *parts] if name != "/" or language.division:
            raise _operands(str(name), len(parts), place)
    raise place.unsupported(
        "this is no term that can be read",
        f"a number, a variable, +, - or *{', /' * language.division}",
        _head(expression),
        "write it with these",
    )


def _summed(first: Expression, others: list[Expression], factor: Fraction, language: Language, place: Place) -> Linear:
    total = _linear(first, language, place)
    for other in others:
        total.add(_linear(other, language, place), factor)
    return total


def _product(a: Linear, b: Linear, place: Place) -> Linear:
    if not a.is_constant:
        a, b = b, a
    if not a.is_constant:
        raise _not_linear("a product of two variables", place)
    made = Linear()
    made.add(b, a.constant)
    return made


def _head(expression: Expression) -> str:
    return (expression if isinstance(expression, str) else str(expression[0]) if expression else "()")[:60]


def _operands(name: str, count: int, place: Place) -> FileError:
    return place.error(f"{name} has a wrong number of operands", f"({name} a b)", f"{count} operands")


def _not_linear(got: str, place: Place) -> Exception:
    return place.unsupported("a property must be linear", "numbers times variables", got, "write a linear inequality")
