"""Reading a graph's text back; `torchlean.ir.text` says what the text looks like."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from torchlean.errors import GraphError, ShapeError
from torchlean.frozen import frozen
from torchlean.ir import dims
from torchlean.ir.dims import Dim, Size, symbol
from torchlean.ir.graph import Attr, Graph, Literal, Node, Value
from torchlean.ir.lint import NAMED, lint
from torchlean.ir.op import OpTable
from torchlean.ir.text import float_from_hex, literal_from
from torchlean.ir.types import DTYPES, TensorType

T = TypeVar("T")
DEPTH = 40  # nesting of parentheses and graphs

_NO_GRAPH, _ABBREVIATED = "the text is not a graph", "an array is abbreviated or missing"
_TOKEN = re.compile(
    r"""(?P<space>[ \t]+) | (?P<line>\r?\n) | (?P<comment>\#[^\n]*)
      | (?P<text>"[^"\\\n]*(?:\\.[^"\\\n]*)*") | (?P<value>%\d+(?:\.\d+)?)
      | (?P<float>\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+)) | (?P<int>\d+)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*) | (?P<mark>//|[-+*=:,(){}\[\]]) | (?P<other>.)""",
    re.VERBOSE,
)


def parse_graph(text: str, table: OpTable) -> Graph:
    """The graph that `format_graph(graph, full=True)` printed; it is linted.

    Raises   GraphError that names the line and column, or what `lint` raises.
    """
    reader = _Reader(text)
    graph = reader.graph("end")
    lint(graph, table)
    return graph


@frozen
class _Token:
    kind: str
    text: str
    line: int
    column: int


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.tokens: list[_Token] = []
        line, start = 1, 0
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup or "other"
            if kind != "space":
                self.tokens.append(_Token(kind, match[0], line, match.start() - start + 1))
            if kind == "line":
                line, start = line + 1, match.end()
        self.tokens.append(_Token("end", "the end of the text", line, len(text) - start + 1))
        self.at = 0
        self.depth = 0

    # Tokens

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def peek(self, text: str) -> bool:
        return self.token.kind in ("mark", "word") and self.token.text == text

    def accept(self, text: str) -> bool:
        found = self.peek(text)
        self.at += found
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.refuse(repr(text))

    def kind(self, kind: str, expected: str) -> str:
        return self.take().text if self.token.kind == kind else self.refuse(expected)

    def refuse(self, expected: str, token: _Token | None = None, what: str = "") -> NoReturn:
        token = token or self.token
        raise GraphError(
            what or _NO_GRAPH,
            where=f"line {token.line}, column {token.column}",
            expected=expected,
            got={"line": "the end of the line", "end": token.text}.get(token.kind, repr(token.text[:60])),
            fix="write the text with format_graph(graph, full=True)",
        )

    def checked(self, make: Callable[[], T], token: _Token, expected: str) -> T:
        """make(), its refusals told with the place in the text."""
        try:
            return make()
        except (ShapeError, ValueError, OverflowError, TypeError, struct.error) as error:
            got = error.what if isinstance(error, ShapeError) else str(error)
            self.refuse(f"{expected} ({got})", token)

    def nested(self, read: Callable[[], T]) -> T:
        self.depth += 1
        if self.depth > DEPTH:
            self.refuse(f"at most {DEPTH} levels of nesting")
        result = read()
        self.depth -= 1
        return result

    # Lines

    def graph(self, closing: str) -> Graph:
        """Lines up to and including `return`, then `closing`: "}" or "end"."""
        nodes: list[Node] = []
        updates: tuple[tuple[str, Value], ...] = ()
        self.blank_lines()
        while self.token.kind == "value":
            nodes.append(self.node(nodes))
            self.blank_lines()
        if self.accept("update"):
            updates = self.roots()
            self.blank_lines()
        self.expect("return")
        outputs = self.roots()
        self.blank_lines()
        if closing == "end":
            self.kind("end", "nothing after `return`")
        else:
            self.expect(closing)
        return Graph(tuple(nodes), outputs, updates)

    def blank_lines(self) -> None:
        while self.token.kind in ("line", "comment"):
            self.at += 1

    def roots(self) -> tuple[tuple[str, Value], ...]:
        found: list[tuple[str, Value]] = []
        while self.token.kind in ("word", "text"):
            name = self.name()
            self.expect("=")
            found.append((name, self.value()))
            if not self.accept(","):
                break
        if self.token.kind not in ("line", "end", "comment"):
            self.refuse("name=%value, ... and the end of the line")
        return tuple(found)

    def node(self, nodes: list[Node]) -> Node:
        if self.token.text != f"%{len(nodes)}":
            self.refuse(f"%{len(nodes)}, the next node's number")
        self.take()
        self.expect(":")
        if self.peek("("):
            types = self.sequence("(", ")", self.type)
        else:
            types = [self.type()]
        self.expect("=")
        op = self.kind("word", "the name of an op")
        inputs: tuple[Value, ...] = ()
        attrs: tuple[tuple[str, Attr], ...]
        if self.peek("("):
            inputs, attrs = self.arguments()
        elif op in NAMED and len(types) == 1:
            attrs = (("name", self.name()), ("type", types[0]))
        elif op == "constant" and len(types) == 1:
            attrs = (("value", self.elements(types[0])),)
        else:
            self.refuse("(inputs and attributes)")
        where = self.where()
        return Node(op, inputs, attrs, tuple(types), where)

    def where(self) -> str:
        where = ""
        if self.token.kind == "comment":
            token = self.take()
            where = token.text[1:].strip()
            if where.startswith('"'):
                where = self.checked(lambda: str(json.loads(where)), token, "a source line")
        if self.token.kind not in ("line", "end"):
            self.refuse("the end of the line")
        return where

    def arguments(self) -> tuple[tuple[Value, ...], tuple[tuple[str, Attr], ...]]:
        inputs: list[Value] = []
        attrs: dict[str, Attr] = {}

        def one() -> None:
            if self.token.kind == "value" and not attrs:
                inputs.append(self.value())
                return
            start = self.token
            name = self.kind("word", "name=value")
            self.expect("=")
            if name in attrs:
                self.refuse("each attribute once", start)
            attrs[name] = self.attribute()

        self.sequence("(", ")", one)
        return tuple(inputs), tuple(sorted(attrs.items()))

    def value(self) -> Value:
        node, _, index = self.kind("value", "a value such as %3")[1:].partition(".")
        return Value(int(node), int(index or 0))

    def name(self) -> str:
        if self.token.kind == "text":
            return self.text()
        return self.kind("word", "a name")

    def text(self) -> str:
        token = self.token
        found = self.kind("text", "a JSON string")
        return self.checked(lambda: str(json.loads(found)), token, "a JSON string")

    # Attribute values

    def attribute(self) -> Attr:
        """A sum: only dimensions have operators."""
        return self.operators(self.product, {"+": lambda a, b: a + b, "-": lambda a, b: a - b})

    def product(self) -> Attr:
        return self.operators(self.atom, {"*": lambda a, b: a * b, "//": lambda a, b: a // b})

    def operators(self, operand: Callable[[], Attr], table: dict[str, Callable[[Any, Any], Size]]) -> Attr:
        left = operand()
        while self.token.kind == "mark" and self.token.text in table:
            token = self.take()
            right = operand()
            if not (_is_size(left) and _is_size(right)):
                self.refuse("a dimension on both sides", token)
            operator, a, b = table[token.text], left, right
            left = self.checked(lambda: operator(a, b), token, "a dimension")  # noqa: B023  called at once
        return left

    def atom(self) -> Attr:
        token = self.token
        if token.kind in ("text", "int", "float"):
            return self.number() if token.kind != "text" else self.text()
        if self.accept("-"):
            operand = self.nested(self.atom)
            if isinstance(operand, int | float | Dim) and not isinstance(operand, bool):
                return -operand
            self.refuse("a number or dimension after -", token)
        if self.peek("("):
            return self.nested(self.parentheses)
        if self.accept("{"):
            return self.nested(lambda: self.graph("}"))
        if token.kind != "word":
            self.refuse("an attribute's value", what=_ABBREVIATED if token.text == "<" else _NO_GRAPH)
        if token.text in DTYPES:
            return self.dtype_type_or_array()
        self.take()
        return self.word(token)

    def word(self, token: _Token) -> Attr:
        constants: dict[str, Attr] = {
            "None": None, "True": True, "False": False, "inf": float("inf"), "nan": float("nan"),
        }  # fmt: skip
        if token.text in constants:
            return constants[token.text]
        if token.text in ("bits", "dim") and self.accept("("):
            text = self.text()
            result: Attr
            if token.text == "dim":
                result = self.checked(lambda: dims.parse(text), token, "a dimension")
            else:
                result = self.checked(lambda: float_from_hex(text), token, "16 hex digits")
            self.expect(")")
            return result
        return self.checked(lambda: symbol(token.text), token, "a dimension or another value")

    def number(self) -> int | float:
        token = self.take()
        return self.checked(lambda: (int if token.kind == "int" else float)(token.text), token, "a number")

    def parentheses(self) -> Attr:
        """`(a)` groups, `(a,)` and `(a, b)` are tuples."""
        self.expect("(")
        items: list[Attr] = []
        comma = False
        while not self.peek(")"):
            items.append(self.attribute())
            if not (comma := self.accept(",")):
                break
        self.expect(")")
        return items[0] if len(items) == 1 and not comma else tuple(items)

    def dtype_type_or_array(self) -> Attr:
        if self.tokens[self.at + 1].text != "[":
            return DTYPES[self.take().text]
        type = self.type()
        return self.elements(type) if self.peek("{") or self.peek("base64") else type

    def type(self) -> TensorType:
        token = self.token
        name = self.kind("word", "a type such as f32[batch, 64]")
        if name not in DTYPES:
            self.refuse(f"a dtype: {', '.join(DTYPES)}", token)
        sizes = self.sequence("[", "]", self.size)
        return self.checked(lambda: TensorType(tuple(sizes), DTYPES[name]), token, "a type")

    def size(self) -> Size:
        """A dimension in a type: here every word is a symbol, also one spelt like a keyword."""
        token = self.token
        start, depth = self.at, 0
        while self.token.kind in ("word", "int", "mark") and (depth or self.token.text not in (",", "]")):
            depth += {"(": 1, ")": -1}.get(self.take().text, 0)
        text = " ".join(t.text for t in self.tokens[start : self.at])
        return self.checked(lambda: dims.parse(text), token, "a dimension")

    def elements(self, type: TensorType) -> Literal:
        token = self.token
        if self.accept("base64"):
            self.expect("(")
            text = self.text()
            self.expect(")")
            return self.checked(lambda: _from_base64(type, text), token, f"the bytes of {type}")
        if not self.peek("{"):
            self.refuse("the elements in braces, or base64(...)", what=_ABBREVIATED)
        items = self.sequence("{", "}", self.element)
        wanted: tuple[Any, ...] = {"bool": (bool,), "int": (int,)}.get(type.dtype.kind, (int, float))
        if not all(x.__class__ in wanted for x in items):
            self.refuse(f"elements of {type.dtype}", token)
        return self.checked(lambda: literal_from(type, items), token, f"the elements of {type}")

    def element(self) -> float | int | bool:
        token = self.token
        value = self.atom()
        return value if isinstance(value, bool | int | float) else self.refuse("a number", token)

    def sequence(self, opening: str, closing: str, item: Callable[[], T]) -> list[T]:
        """Items between brackets, separated by commas; a last comma is allowed."""
        self.expect(opening)
        items: list[T] = []
        while not self.peek(closing):
            items.append(item())
            if not self.accept(","):
                break
        self.expect(closing)
        return items


def _is_size(value: Attr) -> bool:
    return isinstance(value, int | Dim) and not isinstance(value, bool)


def _from_base64(type: TensorType, text: str) -> Literal:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    literal = Literal(type.dtype.numpy, type.sizes, data)
    if literal.array.tobytes() != data:
        raise ValueError("wrong number of bytes")
    return literal
