"""From a VNN-LIB expression to a formula over linear inequalities, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from torchlean.bounds.dnf import And, Atom, Logic, Not, Or
from torchlean.bounds.property import Inequality, inequality
from torchlean.errors import FileError
from torchlean.io.vnnlib_text import Expression, Place, number

_ZERO, _ONE = Fraction(0), Fraction(1)
_RELATIONS = ("<=", ">=", "<", ">")


@dataclass
class Declared:
    """The indices of the inputs and of the outputs declared so far."""

    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)


@dataclass
class _Linear:
    """A linear expression: coefficients by index, and a constant."""

    x: dict[int, Fraction] = field(default_factory=dict)
    y: dict[int, Fraction] = field(default_factory=dict)
    constant: Fraction = _ZERO

    def add(self, other: _Linear, factor: Fraction) -> None:
        for mine, theirs in ((self.x, other.x), (self.y, other.y)):
            for i, c in theirs.items():
                mine[i] = mine.get(i, _ZERO) + c * factor
        self.constant += other.constant * factor

    @property
    def is_constant(self) -> bool:
        return not any(self.x.values()) and not any(self.y.values())


def logic_of(expression: Expression, declared: Declared, place: Place) -> Logic:
    """The formula that an expression states.

    Errors   FileError: an unknown name, a wrong number of operands; Unsupported: an operator that is not linear logic
    """
    match expression:
        case [("and" | "or") as name, *parts] if parts:
            made = tuple(logic_of(part, declared, place) for part in parts)
            return And(made) if name == "and" else Or(made)
        case ["not", part]:
            return Not(logic_of(part, declared, place))
        case [("<=" | ">=" | "<" | ">") as name, left, right]:
            return Atom(_inequality(str(name), left, right, declared, place))
        case ["=", left, right]:
            return And(tuple(Atom(_inequality(name, left, right, declared, place)) for name in ("<=", ">=")))
        case [("and" | "or" | "not" | "=" | "<=" | ">=" | "<" | ">") as name, *parts]:
            raise _operands(str(name), len(parts), place)
    raise place.unsupported(
        "this is no formula that can be read",
        "and, or, not, <=, <, >=, > or =",
        _head(expression),
        "write the property with these",
    )


def _inequality(name: str, left: Expression, right: Expression, declared: Declared, place: Place) -> Inequality:
    """left <= right as left - right <= 0; left >= right as right - left <= 0."""
    if name[0] == ">":
        left, right = right, left
    form = _linear(left, declared, place)
    form.add(_linear(right, declared, place), -_ONE)
    return inequality(form.x, form.y, form.constant, strict=len(name) == 1)


def _linear(expression: Expression, declared: Declared, place: Place) -> _Linear:
    """A fresh linear form, which the caller may change."""
    if isinstance(expression, str):
        return _leaf(expression, declared, place)
    match expression:
        case ["+", first, *others] if others:
            return _summed(first, others, _ONE, declared, place)
        case ["-", only]:
            negated = _Linear()
            negated.add(_linear(only, declared, place), -_ONE)
            return negated
        case ["-", first, *others] if others:
            return _summed(first, others, -_ONE, declared, place)
        case ["*", first, *others] if others:
            product = _linear(first, declared, place)
            for other in others:
                product = _product(product, _linear(other, declared, place), place)
            return product
        case ["/", top, bottom]:
            divisor = _linear(bottom, declared, place)
            if not divisor.is_constant or divisor.constant == 0:
                raise _not_linear("division by a variable or by 0", place)
            quotient = _Linear()
            quotient.add(_linear(top, declared, place), 1 / divisor.constant)
            return quotient
        case [("+" | "-" | "*" | "/") as name, *parts]:
            raise _operands(str(name), len(parts), place)
    raise place.unsupported(
        "this is no term that can be read",
        "a number, a variable, +, -, * or /",
        _head(expression),
        "write it with these",
    )


def _summed(first: Expression, others: list[Expression], factor: Fraction, declared: Declared, place: Place) -> _Linear:
    total = _linear(first, declared, place)
    for other in others:
        total.add(_linear(other, declared, place), factor)
    return total


def _product(a: _Linear, b: _Linear, place: Place) -> _Linear:
    if not a.is_constant:
        a, b = b, a
    if not a.is_constant:
        raise _not_linear("a product of two variables", place)
    made = _Linear()
    made.add(b, a.constant)
    return made


def _leaf(word: str, declared: Declared, place: Place) -> _Linear:
    if word[:2] in ("X_", "Y_") and word[2:].isascii() and word[2:].isdigit():
        i = int(word[2:11])
        names = declared.inputs if word[0] == "X" else declared.outputs
        if word != f"{word[:2]}{i}" or i not in names:
            raise place.unknown(word[:60])
        return _Linear(x={i: _ONE}) if word[0] == "X" else _Linear(y={i: _ONE})
    return _Linear(constant=number(word, place))


def _head(expression: Expression) -> str:
    return (expression if isinstance(expression, str) else str(expression[0]) if expression else "()")[:60]


def _operands(name: str, count: int, place: Place) -> FileError:
    return place.error(f"{name} has a wrong number of operands", f"({name} a b)", f"{count} operands")


def _not_linear(got: str, place: Place) -> Exception:
    return place.unsupported("a property must be linear", "numbers times variables", got, "write a linear inequality")
