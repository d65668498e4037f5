"""The text of a VNN-LIB file: statements, brackets and numbers, each error with its line.

Nearly all lines of a large file declare a variable or bound one input. One regular expression reads such a statement;
any other statement goes through the general tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from torchlean.errors import FileError, Unsupported

Expression: TypeAlias = "str | list[Expression]"
Simple = tuple[str, str, str]
"""("X" or "Y", index, "") declares a variable; (relation, index, number) bounds an input."""

_SIMPLE = re.compile(
    r"""(?:\s++|;[^\n]*+)*+\(\s*+(?:
        declare-const\s++(?P<kind>[XY])_(?P<declared>0|[1-9][0-9]{0,7})\s++Real
      | assert\s*+\(\s*+(?P<relation><=|>=)\s++X_(?P<input>0|[1-9][0-9]{0,7})\s++
        (?P<number>-?[0-9]{1,400}(?:\.[0-9]{0,400})?)\s*+\)
    )\s*+\)""",
    re.VERBOSE | re.ASCII,
)
SPACE = re.compile(r"(?:\s++|;[^\n]*+)*+")
_TOKEN = re.compile(r";[^\n]*+|[()]|[^\s();]++")
_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,4}))?", re.ASCII)
_DECLARE = re.compile(r"([XY])_(0|[1-9][0-9]{0,7})", re.ASCII)
QUERY_COMMANDS = ("vnnlib-version", "declare-network")
_DEEPEST = 200
_LONGEST = 2000
_TEN = [10**k for k in range(64)]


@dataclass
class Place:
    """Where the reader stands: the file, and the offset at which the present statement begins."""

    where: str
    text: str
    start: int = 0

    def line(self) -> int:
        """The line of the present statement, from 1."""
        blank = SPACE.match(self.text, self.start)
        return self.text.count("\n", 0, blank.end() if blank else self.start) + 1

    def error(self, what: str, expected: str, got: str, fix: str = "correct this statement") -> FileError:
        """A FileError at the present statement."""
        return FileError(what, where=f"{self.where}, line {self.line()}", expected=expected, got=got, fix=fix)

    def unsupported(self, what: str, expected: str, got: str, fix: str) -> Unsupported:
        """An Unsupported at the present statement."""
        return Unsupported(what, where=f"{self.where}, line {self.line()}", expected=expected, got=got, fix=fix)

    def unknown(self, name: str) -> FileError:
        """A FileError for a name that was not declared."""
        return self.error(
            "an unknown name in the property",
            "a number, or a variable X_i or Y_j declared above",
            name,
            f"declare it first: (declare-const {name} Real)",
        )


def statements(text: str, place: Place) -> Iterator[Simple | list[Expression]]:
    """The statements in file order: Simple ones, and any other assertion as ["assert", expression].

    Errors   FileError: brackets that do not match, words outside brackets, an assertion without one expression;
             Unsupported: any other command
    """
    position = 0
    match = _SIMPLE.match
    while True:
        found = match(text, position)
        if found is not None:
            place.start, position = position, found.end()
            kind, declared, relation, index, value = found.groups()
            yield (kind, declared, "") if relation is None else (relation, index, value)
            continue
        blank = SPACE.match(text, position)
        position = place.start = blank.end() if blank else position
        if position == len(text):
            return
        expression, position = bracketed(text, position, place, _TOKEN)
        yield _command(expression, place)


@lru_cache(1 << 16)  # pixels repeat
def decimal(text: str) -> Fraction:
    """A number that the regular expression for Simple statements has already recognised, exactly."""
    whole, _, fraction = text.partition(".")
    scale = len(fraction)
    return Fraction(int(whole + fraction), _TEN[scale] if scale < len(_TEN) else 10**scale)


def number(text: str, place: Place) -> Fraction:
    """A decimal, exactly.

    Errors   FileError when it is not a number; Unsupported when it is longer than any float needs
    """
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        mantissa, _, exponent = text.lower().partition("e")
        if _NUMBER.fullmatch(mantissa) and exponent.lstrip("+-").isdigit():
            raise place.unsupported("an exponent is too large", "at most 4 digits", text[:60], "write a bounded number")
        raise place.unknown(text[:60])
    sign, whole, fraction, exponent = parts.groups()
    digits = whole + (fraction or "")
    if len(digits) > _LONGEST:
        raise place.unsupported("a number is too long", f"at most {_LONGEST} digits", f"{len(digits)}", "shorten it")
    value = int(sign + digits)
    scale = len(fraction or "")
    if exponent is not None:
        scale -= int(exponent)
    if scale < 0:
        return Fraction(value * 10**-scale)
    return Fraction(value, _TEN[scale] if scale < len(_TEN) else 10**scale)


def bracketed(text: str, start: int, place: Place, token_of: re.Pattern[str]) -> tuple[list[Expression], int]:
    """One bracketed expression as nested lists, and the offset behind it.

    token_of   matches one token: a bracket, a comment, or a word
    Errors     FileError: brackets that do not match, words outside brackets; Unsupported: brackets too deep
    """
    if text[start] != "(":
        token = token_of.match(text, start)
        raise place.error(
            "a statement must begin with an opening bracket",
            "(assert ...) or a declaration",
            (token.group() if token else text[start])[:60],
            "check that this is a VNN-LIB file",
        )
    stack: list[list[Expression]] = []
    for found in token_of.finditer(text, start):
        word = found.group()
        if word == "(":
            if len(stack) == _DEEPEST:
                raise place.unsupported(
                    "brackets nest too deeply", f"at most {_DEEPEST}", "more", "flatten the formula"
                )
            stack.append([])
        elif word == ")":
            done = stack.pop()
            if not stack:
                return done, found.end()
            stack[-1].append(done)
        elif word[0] != ";":
            stack[-1].append(word)
    raise place.error(
        "the file ends inside a statement",
        "a closing bracket for each opening one",
        f"{len(stack)} not closed",
        "close the brackets of the statement that begins here, or fetch the file again",
    )


def _command(expression: list[Expression], place: Place) -> Simple | list[Expression]:
    match expression:
        case ["assert", _]:
            return expression
        case ["assert", *parts]:
            raise place.error("an assertion holds one formula", "(assert (<= X_0 1.0))", f"{len(parts)} formulas")
        case ["declare-const", str(name), "Real"]:
            found = _DECLARE.fullmatch(name)
            if found is None:
                raise place.error("a variable has another name", "X_0, X_1, ... and Y_0, Y_1, ...", name[:60])
            return found.group(1), found.group(2), ""
        case ["declare-const", *parts]:
            raise place.error("a declaration of another form", "(declare-const X_0 Real)", str(parts)[:60])
    command = expression[0] if expression else "()"
    raise place.unsupported(
        "a command that VNN-LIB 1.0 does not have",
        "declare-const or assert",
        str(command)[:60],
        "read_query reads VNN-LIB 2.0" if str(command) in QUERY_COMMANDS else "remove this statement",
    )
