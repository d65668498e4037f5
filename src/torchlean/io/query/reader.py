"""VNN-LIB 2.0 reader: the whole language over float32 and real tensors, with linear arithmetic, every decimal exact.

Strict where the standard is: names are declared before use and once, every index is given and in range, nothing is
coerced from one type to another, so a constant beside float32 or real elements is written with a point.

Source   VNN-LIB 2.0, arXiv:2605.07451; the grammar of the official parser, VNNLIB-CPP
"""

from __future__ import annotations

import os
import re
from math import prod

from torchlean.bounds.property import Violation
from torchlean.errors import FileError
from torchlean.files import decode, read_bytes
from torchlean.io.query.form import Network, Query, Variable
from torchlean.io.query.implied import imply_bounds
from torchlean.io.vnnlib_region import Assertions
from torchlean.io.vnnlib_terms import ONE, Language, Linear, logic_of
from torchlean.io.vnnlib_text import SPACE, Expression, Place, bracketed, decimal, number

ELEMENTS = {"float32": "float32", "real": "real", "Real": "real"}  # the standard's text writes Real, its parser real
MOST = 1 << 20  # elements of all tensors together

_TOKEN = re.compile(
    r"""[()]|"(?:[^"\\\n]|\\.)*+"|<[0-9]+\.[0-9]+>|\[[^\]()"]*+\]"""
    r"""|[A-Za-z][A-Za-z0-9_-]*+(?:\s*+\[[^\]()"]*+\])?+|[^\s();"\[\]A-Za-z][^\s();"\[\]]*+|\S""",
    re.ASCII,
)
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*+"|;[^\n]*+')
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_ELEMENT = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*\[([^\]]*)\]", re.ASCII)
_INTEGERS = re.compile(r"\s*(?:[0-9]{1,9}\s*(?:,\s*[0-9]{1,9}\s*)*)?", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)
_POINT = re.compile(r"-?[0-9]{1,400}\.[0-9]{1,400}", re.ASCII)
_BOUND = re.compile(  # nearly all lines of a large file
    r"\s*+\(\s*+assert\s*+\(\s*+(<=|>=)\s++([A-Za-z][A-Za-z0-9_]*+)\s*+\[([0-9, ]*+)\]\s*+"
    r"(-?[0-9]{1,400}\.[0-9]{1,400})\s*+\)\s*+\)",
    re.ASCII,
)
_DECLARES = {"declare-input": "input", "declare-hidden": "hidden", "declare-output": "output"}
_RELATIONS = ("equal-to", "isomorphic-to")


def read_query(source: str | os.PathLike[str] | bytes) -> Query:
    """The query that a VNN-LIB 2.0 file states.

    source   a path (plain or gzip), or the uncompressed bytes
    Errors   FileError: not VNN-LIB 2.0, with the line; DataError: an input without a bound; Unsupported: another
             element type, a term that is not linear, too many alternatives or elements
    """
    where = "the query" if isinstance(source, bytes) else os.fspath(source)
    raw = source if isinstance(source, bytes) else read_bytes(source)
    return _Reader(decode(raw, where), where).read()


class _Reader(Language):
    """One pass over a file: the version, networks, assertions."""

    equal, unequal, negation, division, single = "==", "!=", False, False, True

    def __init__(self, text: str, where: str) -> None:
        self.text = text = _COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else " " * len(found[0]), text)
        self.place = Place(where, text)
        self.networks: list[Network] = []
        self.variables: dict[str, Variable] = {}
        self.sizes = {"x": 0, "y": 0}
        self.flat: dict[tuple[str, str], int] = {}
        self.assertions = Assertions(where, self._element_name)

    def read(self) -> Query:
        position, asserted = self._version(), False
        while True:
            found = _BOUND.match(self.text, position)
            if found is not None and self.sizes["y"]:
                self.place.start = position
                relation, name, index, value = found.groups()
                variable = self.variables.get(name)
                if variable is not None and variable.kind == "input":
                    self.assertions.bound(relation, self._index(variable, index), decimal(value))
                    position, asserted = found.end(), True
                    continue
            blank = SPACE.match(self.text, position)
            position = self.place.start = blank.end() if blank else position
            if position == len(self.text):
                break
            statement, position = bracketed(self.text, position, self.place, _TOKEN)
            match statement:
                case ["assert", formula] if self.networks:
                    self._assert(formula)
                    asserted = True
                case ["declare-network", str(name), *parts] if not asserted:
                    self.networks.append(self._network(name, parts))
                case _:
                    raise self._misplaced(statement, asserted)
        if not asserted:
            raise self.place.error("the query ends without an assertion", "networks, then at least one assertion",
                                   f"{len(self.networks)} networks", "add an assertion")  # fmt: skip
        imply_bounds(self.assertions, self.sizes["x"])
        violation: Violation = self.assertions.violation(self.sizes["x"], self.sizes["y"])
        return Query(tuple(self.networks), violation)

    def _version(self) -> int:
        blank = SPACE.match(self.text)
        start = self.place.start = blank.end() if blank else 0
        if start == len(self.text):
            raise self.place.error("the query is empty", "(vnnlib-version <2.0>) first", "nothing", "write the query")
        statement, position = bracketed(self.text, start, self.place, _TOKEN)
        match statement:
            case ["vnnlib-version", "<2.0>"]:
                return position
            case ["vnnlib-version", str(version)] if re.fullmatch("<[0-9]+[.][0-9]+>", version):
                raise self.place.unsupported("another version of VNN-LIB", "<2.0>", version, "write a query of 2.0")
        raise self.place.error("a query begins with its version", "(vnnlib-version <2.0>)", str(statement)[:60],
                               "add this line before all others")  # fmt: skip

    def _misplaced(self, statement: list[Expression], asserted: bool) -> FileError:
        head = str(statement[0])[:60] if statement else "()"
        if head == "assert":
            what = "an assertion holds one formula" if self.networks else "an assertion before all networks"
        elif head == "declare-network":
            what = "a network is declared after an assertion" if asserted else "a network needs a name"
        else:
            what = "a command that VNN-LIB 2.0 does not have"
        return self.place.error(what, "networks, then assertions of one formula each", head)

    # -- declarations ----------------------------------------------------------------------------------------------

    def _network(self, name: str, parts: list[Expression]) -> Network:
        if not _NAME.fullmatch(name) or any(network.name == name for network in self.networks):
            raise self.place.error("a network's name is none, or is taken", "a letter, then letters, digits, _; once",
                                   name[:60])  # fmt: skip
        relation = other = ""
        made: dict[str, list[Variable]] = {"input": [], "hidden": [], "output": []}
        order = list(made)
        reached = -1
        for part in parts:
            match part:
                case [str(word), str(named)] if word in _RELATIONS and reached < 0:
                    if relation:
                        raise self.place.unsupported("a network with two relations", "one", f"{relation} and {word}",
                                                     "keep one of them")  # fmt: skip
                    relation, other = word, named
                case [str(word), str(named), str(typed), *node] if word in _DECLARES and len(node) <= 1:
                    kind = _DECLARES[word]
                    if order.index(kind) < reached:
                        raise self.place.error("variables are declared out of order", "inputs, hidden, outputs", word)
                    reached = order.index(kind)
                    made[kind].append(self._variable(kind, named, typed, node))
                case _:
                    raise self.place.error("a part of a network that cannot be read",
                                           '(declare-input NAME TYPE [SIZES]) or declare-hidden with a "name" behind',
                                           str(part)[:80])  # fmt: skip
        network = Network(name, relation, other, tuple(made["input"]), tuple(made["hidden"]), tuple(made["output"]))
        self._check_network(network)
        return network

    def _check_network(self, network: Network) -> None:
        if not network.inputs or not network.outputs:
            raise self.place.error("a network needs an input and an output", "at least one of each",
                                   f"{len(network.inputs)} inputs, {len(network.outputs)} outputs")  # fmt: skip
        ends = (*network.inputs, *network.outputs)
        if len({bool(v.node) for v in ends}) != 1:
            raise self.place.error("a network ties some of its variables by name and others by order",
                                   "an ONNX name for each input and output, or for none",
                                   ", ".join(v.name for v in ends if not v.node) + " without a name")  # fmt: skip
        if not network.relation:
            return
        other = next((n for n in self.networks if n.name == network.other), None)
        if other is None:
            raise self.place.error(f"{network.relation} names no network above", "one declared before", network.other)
        theirs = [[(v.shape, v.element) for v in side] for side in (other.inputs, other.outputs)]
        if theirs != [[(v.shape, v.element) for v in side] for side in (network.inputs, network.outputs)]:
            raise self.place.error(f"a network {network.relation} another has its tensors, in order",
                                   ", ".join(map(str, (*other.inputs, *other.outputs))),
                                   ", ".join(map(str, ends)))  # fmt: skip

    def _variable(self, kind: str, name: str, typed: str, node: list[Expression]) -> Variable:
        if not _NAME.fullmatch(name) or name in ("and", "or") or name in self.variables:
            raise self.place.error("a variable's name is none, or is taken", "a letter, then letters, digits, _; once",
                                   name[:60])  # fmt: skip
        found = _ELEMENT.fullmatch(typed)
        if found is None or not _INTEGERS.fullmatch(found[2]):
            raise self.place.error("a variable has an element type and a shape", f"{name} float32 [1,5]", typed[:60])
        if found[1] not in ELEMENTS:
            raise self.place.unsupported("an element type that no proof here is about", "float32 or real", found[1],
                                         "declare the tensor as float32 or real")  # fmt: skip
        shape = tuple(map(int, found[2].split(","))) if found[2].strip() else ()
        if 0 in shape:
            raise self.place.error("a tensor without elements", "sizes from 1", typed[:60])
        if not all(isinstance(n, str) and len(n) > 2 and n[0] == n[-1] == '"' for n in node) or len(node) < (
            kind == "hidden"
        ):
            raise self.place.error("an ONNX name stands in double quotes, and a hidden variable needs one",
                                   f'(declare-{kind} {name} {typed} "name")', str(node)[:60])  # fmt: skip
        side = "x" if kind == "input" else "y"
        start, self.sizes[side] = self.sizes[side], self.sizes[side] + prod(shape)
        if sum(self.sizes.values()) > MOST:
            raise self.place.unsupported("the query's tensors are too large", f"at most {MOST} elements", "more",
                                         "ask about a smaller network")  # fmt: skip
        text = re.sub(r"\\(.)", r"\1", str(node[0])[1:-1]) if node else ""
        self.variables[name] = Variable(name, kind, ELEMENTS[found[1]], shape, text, start)
        return self.variables[name]

    # -- formulas --------------------------------------------------------------------------------------------------

    def _assert(self, formula: Expression) -> None:
        """Bounds of inputs, also in a conjunction, go straight to the box; anything else is a formula."""
        match formula:
            case ["and", *parts] if parts:
                for part in parts:
                    self._assert(part)
                return
            case [("<=" | ">=" | "==") as relation, str(word), str(value)] if _POINT.fullmatch(value):
                variable, index = self._reference(word) if word[0].isalpha() else (None, "")
                if variable is not None and variable.kind == "input":
                    at, exact = self._index(variable, index), decimal(value)
                    for side in ("<=", ">=") if relation == "==" else (str(relation),):
                        self.assertions.bound(side, at, exact)
                    return
        self.assertions.add(logic_of(formula, self, self.place))

    def leaf(self, word: str, place: Place) -> Linear:
        if _NUMBER.fullmatch(word):
            return Linear(constant=number(word, place))
        variable, index = self._reference(word)
        at = self._index(variable, index)
        return Linear(x={at: ONE}) if variable.kind == "input" else Linear(y={at: ONE})

    def check_types(self, left: Expression, right: Expression, place: Place) -> None:
        """One element type on both sides; constants beside it written with a point."""
        types: dict[str, str] = {}
        waiting = [left, right]
        while waiting:
            part = waiting.pop()
            if isinstance(part, list):
                waiting += part[1:]
            elif _NUMBER.fullmatch(part):
                types.setdefault("constant" if "." in part else "integer", part[:60])
            else:
                types.setdefault(self._reference(part)[0].element, part[:60])
        elements = [name for name in types if name in ELEMENTS]
        if len(elements) > 1 or ("integer" in types and len(types) > 1):
            raise place.error("a comparison mixes types, and VNN-LIB 2.0 converts none",
                              "elements of one type, and constants written with a point",
                              ", ".join(f"{word} ({name})" for name, word in types.items()),
                              "write 1.0 for 1, or declare the tensors with one type")  # fmt: skip

    def _reference(self, word: str) -> tuple[Variable, str]:
        name, bracket, index = word.partition("[")
        variable = self.variables.get(name.rstrip())
        if variable is None:
            raise self.place.error("neither a number nor a declared variable",
                                   "a decimal without exponent, or an element such as X[0,1]", word[:60],
                                   "declare the variable, or write the number in full")  # fmt: skip
        if bracket and not variable.shape:
            raise self.place.error("a scalar takes no index", variable.name, word[:60])
        return variable, index[:-1]

    def _index(self, variable: Variable, index: str) -> int:
        """The place in the flat vector of an element, by its index as written."""
        key = (variable.name, index)
        at = self.flat.get(key)
        if at is None:
            parts = index.split(",") if index.strip() else []
            if not _INTEGERS.fullmatch(index) or len(parts) != len(variable.shape):
                raise self.place.error("an element has one index for each axis",
                                       f"{len(variable.shape)} indices from 0",
                                       f"{variable.name}[{index[:60]}]")  # fmt: skip
            at = 0
            for part, size in zip(map(int, parts), variable.shape, strict=True):
                if part >= size:
                    raise self.place.error("an index is out of range", f"{variable} and indices below its sizes",
                                           f"{variable.name}[{index[:60]}]")  # fmt: skip
                at = at * size + part
            at = self.flat[key] = at + variable.start
        return at

    def _element_name(self, i: int) -> str:
        """The input at a place of the flat vector, as the query writes it."""
        owner = next(v for v in self.variables.values() if v.kind == "input" and v.start <= i < v.start + v.size)
        rest, index = i - owner.start, []
        for size in reversed(owner.shape):
            rest, part = divmod(rest, size)
            index.append(str(part))
        return f"{owner.name}[{','.join(reversed(index))}]" if index else owner.name


