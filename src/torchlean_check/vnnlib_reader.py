"""VNN-LIB 1.0 bytes to regions and clauses, with every number exact.

The file states a violation: the conjunction of its assertions over X_i and Y_j. It is brought into a disjunction of
clauses; clauses with the same input box form one region. Numbers are decimals without exponents, as in SMT-LIB. Source
vnnlib.org (VNN-LIB 1.0 / SMT-LIB 2 subset); SEMANTICS 2, 4, 5.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from torchlean_check.errors import CheckError, UnsupportedError
from torchlean_check.frozen import frozen
from torchlean_check.gzipped import Bytes
from torchlean_check.hull import Floats, hull, nearest, up

MAX_BYTES, MAX_DEPTH, MAX_CLAUSES, MAX_VARIABLES, MAX_DIGITS = 1 << 26, 64, 1 << 14, 1 << 20, 400
NUMBER = re.compile(r"(-?\d+)(?:\.(\d+))?(?:[eE]([-+]?\d{1,3}))?\Z", re.ASCII)
VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,6})\Z", re.ASCII)
Key = tuple[str, int]
ZERO, ONE = Fraction(0), Fraction(1)
Linear = dict[Key | None, Fraction]  # coefficients; None: the constant
Atom = tuple[Linear, Linear, bool]  # left <= right, or < when strict
Tree = str | list["Tree"]


@frozen(eq=False)
class Inequality:
    """g = y . Y + x . X + constant;  g <= 0, or g < 0 when strict. Coefficients are sparse and exact."""

    y: dict[int, Fraction]
    x: dict[int, Fraction]
    constant: Fraction
    strict: bool


@frozen(eq=False)
class Region:
    """One input box and the clauses over it. The violation is: x in the box and, for some clause, all its inequalities.

    lo, hi          [n] the walk's box: the float32 hull, which contains the exact box
    rows_*          nearest floats of all inequalities, clause after clause; err_*: at least what they differ from the
                    exact ones
    """

    exact_lo: tuple[Fraction, ...]
    exact_hi: tuple[Fraction, ...]
    lo: Floats
    hi: Floats
    clauses: tuple[tuple[Inequality, ...], ...]
    rows_y: Floats
    rows_x: Floats
    rows_c: Floats
    err_y: Floats
    err_x: Floats
    err_c: Floats
    row_clause: npt.NDArray[np.int64]
    row_strict: npt.NDArray[np.bool_]


@frozen(eq=False)
class Property:
    inputs: int
    outputs: int
    regions: tuple[Region, ...]


def refuse(
    what: str,
    *,
    at: str,
    expected: str,
    got: str,
    fix: str = "correct the property",
    kind: type[CheckError] = CheckError,
) -> CheckError:
    return kind(what, where=f"VNN-LIB property, {at}", expected=expected, got=got[:200], fix=fix)


def _parse(text: str) -> list[Tree]:
    stack: list[list[Tree]] = [[]]
    for token in re.sub(r";[^\n\r]*", "", text).replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            stack.append([])
            if len(stack) > MAX_DEPTH:
                raise refuse(
                    "parentheses are nested too deeply",
                    at="file",
                    expected=f"at most {MAX_DEPTH} levels",
                    got="more",
                    kind=UnsupportedError,
                )
        elif token == ")":
            if len(stack) == 1:
                raise refuse(
                    "a parenthesis is closed that was not opened", at="file", expected="balanced parentheses", got=")"
                )
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) != 1:
        raise refuse(
            "the file ends inside a parenthesis",
            at="end of file",
            expected="balanced parentheses",
            got=f"{len(stack) - 1} open",
        )
    return stack[0]


@lru_cache(1 << 16)  # pixels repeat
def _number(token: str) -> Fraction | None:
    match = NUMBER.match(token)
    if match is None or len(token) > MAX_DIGITS:
        return None
    digits = match[2] or ""
    whole, power = int(match[1] + digits), int(match[3] or 0) - len(digits)
    return Fraction(whole * 10**power) if power >= 0 else Fraction(whole, 10**-power)


class _Reader:
    def __init__(self) -> None:
        self.declared: dict[str, Key] = {}

    def linear(self, term: Tree) -> Linear:
        if isinstance(term, str):
            if term in self.declared:
                return {self.declared[term]: ONE}
            number = _number(term)
            if number is not None:
                return {None: number}
            if VARIABLE.match(term):
                raise refuse(
                    f"{term} is not declared", at="a term", expected="(declare-const ... Real) before its use", got=term
                )
            raise refuse(
                "this is neither a number nor a variable",
                at="a term",
                expected="a decimal, X_i or Y_j",
                got=term,
                fix="write numbers as plain decimals",
            )
        if len(term) < 2 or term[0] not in ("+", "-", "*"):
            raise refuse(
                "this is not a linear term", at="a term", expected="(+ ...), (- ...) or (* number term)", got=str(term)
            )
        parts = [self.linear(t) for t in term[1:]]
        if term[0] == "*":
            total: Linear = {None: Fraction(1)}
            for part in parts:
                if set(total) != {None}:
                    total, part = part, total
                if set(total) != {None}:
                    raise refuse(
                        "a product of two variables is not linear",
                        at="a term",
                        expected="a constant factor",
                        got=str(term),
                        fix="state a linear property",
                        kind=UnsupportedError,
                    )
                total = {k: total[None] * v for k, v in part.items()}
            return total
        signs = [1] * len(parts) if term[0] == "+" else [-1] if len(parts) == 1 else [1] + [-1] * (len(parts) - 1)
        out: Linear = {}
        for sign, part in zip(signs, parts, strict=True):
            for k, v in part.items():
                out[k] = out.get(k, ZERO) + sign * v
        return out

    def formula(self, f: Tree, negate: bool = False) -> list[list[Atom]]:
        """The disjunction of conjunctions of f (or of its negation)."""
        if isinstance(f, str) or not f or not isinstance(f[0], str):
            raise refuse(
                "this is not a formula",
                at="an assertion",
                expected="(<= ...), (and ...), (or ...) or (not ...)",
                got=str(f),
            )
        head, *args = f
        if head in ("<=", ">=", "<", ">") and len(args) == 2:
            a, b = self.linear(args[0]), self.linear(args[1])
            less = (head[0] == "<") != negate
            strict = (len(head) == 1) != negate
            return [[(a, b, strict) if less else (b, a, strict)]]
        if head == "not" and len(args) == 1:
            return self.formula(args[0], not negate)
        if head in ("and", "or") and args:
            parts = [self.formula(a, negate) for a in args]
            if (head == "or") != negate:
                return self.limit([clause for part in parts for clause in part])
            return self.product(parts)
        raise refuse(
            "this is not a formula", at="an assertion", expected="<= >= < > with two terms, and, or, not", got=str(f)
        )

    def product(self, parts: list[list[list[Atom]]]) -> list[list[Atom]]:
        out: list[list[Atom]] = [[]]
        for part in sorted(parts, key=len):  # single clauses first, so that they are joined once
            if len(part) == 1 and len(out) == 1:
                out[0].extend(part[0])
            else:
                self.limit([[]] * (len(out) * len(part)))
                out = [a + b for a in out for b in part]
        return out

    @staticmethod
    def limit(clauses: list[list[Atom]]) -> list[list[Atom]]:
        if len(clauses) > MAX_CLAUSES:
            raise refuse(
                "the violation has too many clauses",
                at="file",
                expected=f"at most {MAX_CLAUSES}",
                got=str(len(clauses)),
                fix="split the property into several files",
                kind=UnsupportedError,
            )
        return clauses

    def declare(self, command: list[Tree]) -> None:
        plain = len(command) == 3 and command[0] == "declare-const"
        match = VARIABLE.match(command[1]) if len(command) > 1 and isinstance(command[1], str) else None
        if match is None or not (plain or (len(command) == 4 and command[2] == [])) or command[-1] != "Real":
            raise refuse(
                "this declaration is not understood",
                at="a declaration",
                expected="(declare-const X_0 Real)",
                got=str(command),
            )
        if match[0] in self.declared or len(self.declared) >= MAX_VARIABLES:
            raise refuse(
                f"{command[1]} is declared twice, or there are too many variables",
                at="a declaration",
                expected="each once",
                got=str(command),
            )
        self.declared[match[0]] = match[1], int(match[2])

    def count(self, letter: str) -> int:
        numbers = [i for k, i in self.declared.values() if k == letter]
        if not numbers or max(numbers) != len(numbers) - 1:
            raise refuse(
                f"the {letter} variables are not {letter}_0 to {letter}_n",
                at="declarations",
                expected="all numbers from 0",
                got=f"{len(numbers)} declared",
            )
        return len(numbers)


Bounds = dict[int, tuple[Fraction | None, Fraction | None]]


def _difference(left: Linear, right: Linear) -> Linear:
    out = dict(left)
    for k, v in right.items():
        out[k] = out[k] - v if k in out else -v
    return {k: v for k, v in out.items() if v or k is None}


def _bound(bounds: Bounds, left: Linear, right: Linear) -> bool:
    """Take an inequality over one input into the box. A strict one is closed, which makes the box larger."""
    if len(left) != 1 or len(right) != 1 or (None in left) == (None in right):  # neither X <= c nor c <= X
        form = _difference(left, right)
        left, right = {k: v for k, v in form.items() if k is not None}, {None: -form.get(None, ZERO)}
    variable, constant = (right, left) if None in left else (left, right)
    key, factor = next(iter(variable.items()), (None, ZERO))
    if len(variable) != 1 or key is None or key[0] != "X" or not factor:
        return False
    at = constant[None] if factor == 1 else constant[None] / factor
    lo, hi = bounds.get(key[1], (None, None))
    if (variable is left) == (factor.numerator > 0):
        hi = at if hi is None else min(hi, at)
    else:
        lo = at if lo is None else max(lo, at)
    bounds[key[1]] = (lo, hi)
    return True


def _inequality(left: Linear, right: Linear, strict: bool) -> Inequality:
    form = _difference(left, right)
    keys = [k for k in form if k is not None]
    if not keys:
        raise refuse(
            "an inequality has no variables left",
            at="an assertion",
            expected="at least one variable",
            got="a constant comparison",
        )
    return Inequality(
        {i: form[("Y", i)] for k, i in keys if k == "Y"},
        {i: form[("X", i)] for k, i in keys if k == "X"},
        form.get(None, ZERO),
        strict,
    )


def _region(
    lo: tuple[Fraction, ...], hi: tuple[Fraction, ...], clauses: list[tuple[Inequality, ...]], outputs: int
) -> Region:
    for i, (a, b) in enumerate(zip(lo, hi, strict=True)):
        if a > b:
            raise refuse(
                f"the bounds of X_{i} contradict each other", at=f"X_{i}", expected="lower <= upper", got=f"{a} > {b}"
            )
    rows = [g for clause in clauses for g in clause]
    arrays = {"y": np.zeros((len(rows), outputs)), "x": np.zeros((len(rows), len(lo))), "c": np.zeros(len(rows))}
    errors = {name: np.zeros_like(array) for name, array in arrays.items()}

    def put(name: str, place: tuple[int, ...], exact: Fraction) -> None:
        arrays[name][place] = value = nearest(exact)
        errors[name][place] = up(abs(exact - Fraction(value)))

    try:
        box = hull(lo, hi, "float32")
        for r, g in enumerate(rows):
            for i, v in g.y.items():
                put("y", (r, i), v)
            for i, v in g.x.items():
                put("x", (r, i), v)
            put("c", (r,), g.constant)
    except OverflowError:
        raise refuse(
            "a number is too large for its float format",
            at="a bound or coefficient",
            expected="finite float32 bounds",
            got="an overflow",
        ) from None
    row_clause = np.repeat(np.arange(len(clauses)), [len(c) for c in clauses])
    return Region(
        lo,
        hi,
        *box,
        tuple(clauses),
        arrays["y"],
        arrays["x"],
        arrays["c"],
        errors["y"],
        errors["x"],
        errors["c"],
        row_clause,
        np.array([g.strict for g in rows], dtype=np.bool_),
    )


def read_property(data: Bytes) -> Property:
    """The regions in the uncompressed bytes of a VNN-LIB file, in order of first appearance."""
    try:
        commands = _parse(bytes(data).decode("utf-8"))
    except UnicodeDecodeError:
        raise refuse(
            "the file is not text", at="file", expected="UTF-8", got="other bytes", fix="give the .vnnlib file"
        ) from None
    reader = _Reader()
    parts = []
    for command in commands:
        head = command[0] if isinstance(command, list) and command else None
        if head in ("declare-const", "declare-fun") and isinstance(command, list):
            reader.declare(command)
        elif head == "assert" and len(command) == 2:
            parts.append(reader.formula(command[1]))
        else:
            raise refuse(
                "this command is not understood",
                at="file",
                expected="declare-const, declare-fun, assert",
                got=str(command),
            )
    inputs, outputs = reader.count("X"), reader.count("Y")
    common: Bounds = {}
    shared: list[Inequality] = []
    for part in parts:
        if len(part) == 1:
            shared.extend(_inequality(*atom) for atom in part[0] if not _bound(common, *atom[:2]))
    grouped: dict[tuple[object, ...], tuple[Bounds, list[tuple[Inequality, ...]]]] = {}
    for atoms in reader.product([part for part in parts if len(part) > 1]):
        own: Bounds = {}
        rest = [_inequality(*atom) for atom in atoms if not _bound(own, *atom[:2])]
        clause = (*shared, *rest)
        if not clause:
            raise refuse(
                "a clause says nothing about the outputs",
                at="assertions",
                expected="an inequality over Y",
                got="bounds on inputs only",
            )
        grouped.setdefault(tuple(sorted(own.items())), (own, []))[1].append(clause)
    regions = []
    for own, clauses in grouped.values():
        box = dict(common)
        for i, (a, b) in own.items():
            lo, hi = common.get(i, (None, None))
            box[i] = (
                a if lo is None else lo if a is None else max(a, lo),
                b if hi is None else hi if b is None else min(b, hi),
            )
        lows, highs = [], []
        for i in range(inputs):
            lo, hi = box.get(i, (None, None))
            if lo is None or hi is None:
                raise refuse(
                    f"X_{i} is unbounded",
                    at=f"X_{i}",
                    expected="a lower and an upper bound",
                    got=f"lower {lo}, upper {hi}",
                )
            lows.append(lo)
            highs.append(hi)
        regions.append(_region(tuple(lows), tuple(highs), clauses, outputs))
    return Property(inputs, outputs, tuple(regions))
