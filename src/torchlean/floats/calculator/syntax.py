"""Expressions as text: + - * /, parentheses, numbers, and functions by name. Nothing is ever run as Python.

sum     = product {("+" | "-") product}
product = factor {("*" | "/") factor}
factor  = ("+" | "-") factor | number | "inf" | "nan" | name "(" sum {"," sum} ")" | "(" sum ")"
"""

from __future__ import annotations

import math
import re
from typing import NoReturn, TypeAlias

from torchlean.errors import UsageError
from torchlean.floats.calculator.number import LITERAL, Exact, check_length, literal, shortened
from torchlean.floats.elementary import FUNCTIONS
from torchlean.frozen import frozen

# Functions by name, with their number of arguments; the operators are add, sub, mul, div and neg.
ARITY: dict[str, int] = {"fma": 3, "min": 2, "max": 2} | {name: f.arity for name, f in FUNCTIONS.items()}
DEEPEST = 100  # levels of nesting

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div"}
_SIGNS = {name: sign for sign, name in _OPERATORS.items()}
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@frozen
class Number:
    """A literal, with its text and its exact value."""

    text: str
    value: Exact

    def __str__(self) -> str:
        return self.text


@frozen
class Call:
    """An operation on operands: add, sub, mul, div, neg, or a function of ARITY."""

    name: str
    arguments: tuple[Expression, ...]

    def __str__(self) -> str:
        if self.name in _SIGNS:
            return f"({self.arguments[0]} {_SIGNS[self.name]} {self.arguments[1]})"
        if self.name == "neg":
            return f"-{self.arguments[0]}"
        return f"{self.name}({', '.join(map(str, self.arguments))})"


Expression: TypeAlias = "Number | Call"


def parse(text: str) -> Expression:
    """The tree of an expression; * and / bind before + and -, and both from the left.

    A minus before an operand is the operation neg, of a number too: -0.1 is the number 0.1, rounded, then negated.

    Raises   UsageError with the position, from 1: an unknown name, a wrong number of arguments, a missing or stray
             parenthesis, an operand or operator missing, nesting beyond DEEPEST
    """
    check_length(text)
    reader = _Reader(text)
    found = reader.sum(0)
    reader.space()
    if reader.at < len(text):
        if text[reader.at] == ")":
            reader.fail("a closing parenthesis without an opening one", "the end, or an operator", "remove it")
        reader.fail("the expression does not go on like this", "an operator + - * / or the end", "0.1 + 0.2 * 3")
    return found


class _Reader:
    """A text and the place reached in it."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, signs: str) -> str:
        """The next character where it is one of these, passed over; else nothing."""
        self.space()
        if self.at < len(self.text) and self.text[self.at] in signs:
            self.at += 1
            return self.text[self.at - 1]
        return ""

    def fail(self, what: str, expected: str, fix: str, at: int | None = None) -> NoReturn:
        place = self.at if at is None else at
        raise UsageError(
            what,
            where=f"position {place + 1} of {shortened(self.text)!r}",
            expected=expected,
            got=repr(shortened(self.text[place:])) if place < len(self.text) else "the end",
            fix=fix,
        )

    def sum(self, depth: int) -> Expression:
        found = self.product(depth)
        while sign := self.take("+-"):
            found = Call(_OPERATORS[sign], (found, self.product(depth)))
        return found

    def product(self, depth: int) -> Expression:
        found = self.factor(depth)
        while sign := self.take("*/"):
            found = Call(_OPERATORS[sign], (found, self.factor(depth)))
        return found

    def factor(self, depth: int) -> Expression:
        if depth > DEEPEST:
            self.fail("too deeply nested", f"at most {DEEPEST} levels", "write it flatter")
        if sign := self.take("+-"):
            operand = self.factor(depth + 1)
            return Call("neg", (operand,)) if sign == "-" else operand
        self.space()
        start = self.at
        if self.take("("):
            found = self.sum(depth + 1)
            self.close(start)
            return found
        if number := LITERAL.match(self.text, start):
            self.at = number.end()
            return Number(number[0], literal(number[0]))
        if word := _WORD.match(self.text, start):
            self.at = word.end()
            return self.name(word[0], start, depth)
        self.fail("an operand is missing", "a number, a function or (", "put one there, as in 0.1 + 0.2 * 3")

    def name(self, name: str, start: int, depth: int) -> Expression:
        if name in ("inf", "nan"):
            return Number(name, math.inf if name == "inf" else math.nan)
        if name not in ARITY:
            self.fail("no function of this name", ", ".join(sorted(ARITY)), "sqrt(2)", start)
        opening = self.at
        if not self.take("("):
            self.fail(f"{name} needs its arguments", f"( after {name}", f"{name}(...)")
        arguments = [self.sum(depth + 1)]
        while self.take(","):
            arguments.append(self.sum(depth + 1))
        self.close(opening)
        if len(arguments) != ARITY[name]:
            many = "1 argument" if ARITY[name] == 1 else f"{ARITY[name]} arguments"
            self.fail(f"{name} takes {many}", many, f"{len(arguments)} given: add or remove some", start)
        return Call(name, tuple(arguments))

    def close(self, opening: int) -> None:
        """The parenthesis that ends what the one at `opening` began."""
        if not self.take(")"):
            if self.at < len(self.text):
                self.fail("the expression does not go on like this", "an operator, ',' or )", "0.1 + 0.2 * 3")
            self.fail("a parenthesis is not closed", "a ) for each (", "close it", opening)
