"""Dimensions: integer polynomials over named symbols, in normal form.

A dimension is an `int` where it is known and a `Dim` where it is not. `Dim` is a sum of monomials; an atom of a
monomial is a symbol or the floor-division of a dimension by a positive int. Arithmetic keeps the normal form, and
equality of normal forms is the only equality: `batch` and `n` differ even when a run gives them one size.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import TypeAlias

from torchlean.errors import ShapeError
from torchlean.frozen import frozen

Monomial: TypeAlias = "tuple[Atom, ...]"
Atom: TypeAlias = "str | Floor"
Size: TypeAlias = "int | Dim"
Shape: TypeAlias = "tuple[Size, ...]"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _key(monomial: Monomial) -> tuple[int, tuple[str, ...]]:
    return (-len(monomial), tuple(str(atom) for atom in monomial))


@frozen
class Floor:
    """The atom `dim // divisor`, where no term of `dim` is a multiple of `divisor`."""

    dim: Dim
    divisor: int

    def __str__(self) -> str:
        return f"(({self.dim}) // {self.divisor})"


@frozen
class Dim:
    """A dimension that is not a known int. Build one with `symbol("batch")` and arithmetic, not directly."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Size) -> Size:
        return _collect([*_terms(self), *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> Size:
        return _collect([(m, -c) for m, c in self.terms])

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        return _collect([(a + b, c * d) for a, c in self.terms for b, d in _terms(other)])

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Size:
        if not isinstance(divisor, int) or divisor <= 0:
            raise ShapeError(
                "a dimension can be divided only by a positive int",
                where=f"({self}) // {divisor}",
                expected="a positive int",
                got=str(divisor),
                fix="divide by a literal int, or use a symbol for the quotient",
            )
        whole = _collect([(m, c // divisor) for m, c in self.terms])
        rest = _collect([(m, c % divisor) for m, c in self.terms])
        if isinstance(rest, int):
            return whole + rest // divisor
        return whole + _collect([((Floor(rest, divisor),), 1)])

    def __str__(self) -> str:
        text = ""
        for monomial, c in self.terms:
            factors = [str(a) for a in monomial]
            if abs(c) != 1 or not factors:
                factors.insert(0, str(abs(c)))
            sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
            text += sign + "*".join(factors)
        return text

    __repr__ = __str__


def _terms(size: Size) -> Iterable[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Dim) else (((), size),)


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Size:
    total: dict[Monomial, int] = {}
    for monomial, c in terms:
        ordered = tuple(sorted(monomial, key=str))
        total[ordered] = total.get(ordered, 0) + c
    kept = sorted(((m, c) for m, c in total.items() if c), key=lambda t: _key(t[0]))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Dim(tuple(kept))


def symbol(name: str) -> Dim:
    """The dimension named `name`: a Python identifier."""
    if not _NAME.match(name) or keyword.iskeyword(name):
        raise ShapeError(
            "a symbolic dimension needs a name",
            where=repr(name),
            expected="a Python identifier such as batch",
            got=repr(name),
            fix="use letters, digits and underscores, and no Python keyword",
        )
    return Dim((((name,), 1),))


def is_one(size: Size) -> bool:
    """Whether `size` is the literal 1 (a symbol never is)."""
    return isinstance(size, int) and size == 1


def symbols(size: Size) -> frozenset[str]:
    """The names that occur in `size`."""
    if isinstance(size, int):
        return frozenset()
    found: set[str] = set()
    for monomial, _ in size.terms:
        for atom in monomial:
            found |= {atom} if isinstance(atom, str) else symbols(atom.dim)
    return frozenset(found)


def substitute(size: Size, sizes: Mapping[str, Size]) -> Size:
    """`size` with every symbol named in `sizes` replaced."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for monomial, c in size.terms:
        value: Size = c
        for atom in monomial:
            if isinstance(atom, str):
                value = value * sizes.get(atom, symbol(atom))
            else:
                value = value * (substitute(atom.dim, sizes) // atom.divisor)
        total = total + value
    return total


def parse(text: str) -> Size:
    """Read back what `str` printed: `+ - *`, `// int`, names and ints.

    Raises   ShapeError when the text is no dimension.
    """
    try:
        return _evaluate(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise ShapeError(
            "not a dimension",
            where=repr(text),
            expected="an integer polynomial over names, such as 2*batch + 1",
            got=str(problem),
            fix="use +, -, * and // with a positive int",
        ) from None


_OPERATORS: dict[type[ast.operator], Callable[[Size, Size], Size]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}


def _evaluate(tree: ast.expr) -> Size:
    match tree:
        case ast.Name(id=name):
            return symbol(name)
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=ast.Constant(value=int() as divisor)):
            return _evaluate(left) // divisor
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
    raise ValueError(f"unexpected {ast.unparse(tree)}")


def numel(shape: Shape) -> Size:
    """The product of a shape's sizes."""
    return prod(shape)


def as_size(size: Size | str) -> Size:
    """A user's spelling of a dimension: an int, a `Dim`, or text."""
    return parse(size) if isinstance(size, str) else size
