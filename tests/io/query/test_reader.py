"""VNN-LIB 2.0: every form of the language, decimals exact, and one error of five parts for each file that breaks it."""

from __future__ import annotations

import gzip
from fractions import Fraction as F

import pytest

from torchlean.bounds.property import inequality
from torchlean.errors import DataError, FileError, TorchLeanError, Unsupported
from torchlean.io.query import read_query
from torchlean.io.vnnlib_version import is_query

HEAD = "(vnnlib-version <2.0>)\n"
ONE = "(declare-network f (declare-input X float32 [1,2]) (declare-output Y float32 [2]))\n"
BOX = "(assert (and (>= X[0,0] -1.0) (<= X[0,0] 1.0)))(assert (>= X[0,1] -1.0))(assert (<= X[0,1] 1.0))\n"


def read(body: str, networks: str = ONE, head: str = HEAD, box: str = BOX):
    return read_query((head + networks + box + body).encode())


def only(formula: str):
    ((g,),) = [c.inequalities for c in read(f"(assert {formula})").violation.clauses]
    return g


def test_several_networks_and_tensors() -> None:
    networks = (
        '(declare-network f (declare-input X float32 [] "a\\"b") (declare-input A float32[3] "a")\n'
        '  (declare-hidden H float32 [1, 2] "h") (declare-output Y float32 [2] "y"))\n'
        "(declare-network g (isomorphic-to f) (declare-input C float32 []) (declare-input D float32 [3])"
        " (declare-output B float32 [2]))\n"
        "(declare-network k (equal-to g) (declare-input E float32 []) (declare-input G float32 [3])"
        " (declare-output Z float32 [2]))\n"
    )
    inputs = [name for s, v in ("XA", "CD", "EG") for name in (s, *(f"{v}[{i}]" for i in range(3)))]
    box = "".join(f"(assert (<= {n} 1.0))(assert (>= {n} 0.0))" for n in inputs)
    query = read("(assert (< (+ D[1] (* 2.0 H[0,1]) (- Z[1])) B[0]))", networks, box=box)
    assert [(n.name, n.relation, n.other) for n in query.networks] == [
        ("f", "", ""), ("g", "isomorphic-to", "f"), ("k", "equal-to", "g")]  # fmt: skip
    starts = {v.name: (v.kind, v.start, v.size, v.node) for v in query.variables}
    assert starts == {
        "X": ("input", 0, 1, 'a"b'), "A": ("input", 1, 3, "a"), "H": ("hidden", 0, 2, "h"), "Y": ("output", 2, 2, "y"),
        "C": ("input", 4, 1, ""), "D": ("input", 5, 3, ""), "B": ("output", 4, 2, ""),
        "E": ("input", 8, 1, ""), "G": ("input", 9, 3, ""), "Z": ("output", 6, 2, ""),
    }  # fmt: skip
    ((g,),) = [c.inequalities for c in query.violation.clauses]
    assert g == inequality({6: F(1)}, {1: F(2), 7: F(-1), 4: F(-1)}, F(0), strict=True)
    assert (query.violation.inputs, query.violation.outputs, query.elements) == (12, 8, {"float32"})


def test_decimals_are_exact_and_bounds_of_all_forms_make_the_box() -> None:
    box = "(assert (>= X[0,0] -0.1))(assert (and (<= X[0,0] 0.2) (and (== X[ 0 , 1 ] 00.30))))(assert (< 0.5 Y[0]))"
    (clause,) = read("(assert (<= X[0,0] 0.679857769000000000000000000001))", box=box).violation.clauses
    assert (clause.box.lo, clause.box.hi) == ((F(-1, 10), F(3, 10)), (F(1, 5), F(3, 10)))
    assert clause.inequalities == (inequality({}, {0: F(-1)}, F(1, 2), strict=True),)


def test_elements_are_row_major() -> None:
    networks = "(declare-network f (declare-input X real [2,3,2]) (declare-output Y real [3,2]))"
    names = [f"X[{i},{j},{k}]" for i in range(2) for j in range(3) for k in range(2)]
    box = "".join(f"(assert (<= {name} {n}.5))(assert (>= {name} {n}.0))" for n, name in enumerate(names))
    (clause,) = read("(assert (<= Y[2,1] (+ Y[0,1] Y[1,0])))", networks, box=box).violation.clauses
    assert clause.box.lo == tuple(map(F, range(12))) and clause.box.hi[11] == F(23, 2)
    assert clause.inequalities == (inequality({}, {5: F(1), 1: F(-1), 2: F(-1)}, F(0)),)


def test_relations_and_terms() -> None:
    assert only("(<= Y[0] Y[1])") == inequality({}, {0: F(1), 1: F(-1)}, F(0))
    assert only("(> 2.0 Y[1])") == inequality({}, {1: F(1)}, F(-2), strict=True)
    assert only("(<= (+ Y[0] (* 2.0 Y[1]) -3.0) (- X[0,0]))") == inequality({0: F(1)}, {0: F(1), 1: F(2)}, F(-3))
    assert only("(<= (- Y[0] Y[1] 1.5 X[0,1]) (* 2.0 3.0))") == inequality({1: F(-1)}, {0: F(1), 1: F(-1)}, F(-15, 2))
    assert only("(>= (* (- 2.0 2.0) X[0,0]) (+ Y[0]))") == inequality({}, {0: F(1)}, F(0))
    equal = read("(assert (== Y[0] 0.5))").violation.clauses
    assert [[g.strict for g in c.inequalities] for c in equal] == [[False, False]]
    unequal = read("(assert (!= Y[0] 0.5))").violation.clauses
    assert [[g.strict for g in c.inequalities] for c in unequal] == [[True], [True]]


@pytest.mark.parametrize("space", ["\n; comment ) (\n", "\t \r\n", "  "])
def test_space_and_comments(space: str) -> None:
    text = (HEAD + ONE + BOX + "(assert (<= Y[0] 1.0))").replace(" ", space).replace("1.0))(", f"1.0)){space}(")
    assert read_query(text.encode()).violation == read("(assert (<= Y[0] 1.0))").violation
    tight = (HEAD + ONE + BOX + "(assert (<= Y[0] 1.0))").replace("] ", "]").replace("assert (", "assert(")
    assert read_query(tight.encode()).violation == read("(assert (<= Y[0] 1.0))").violation


def test_real_in_both_spellings_and_gzip(tmp_path) -> None:
    texts = [ONE.replace("float32", name) for name in ("real", "Real")]
    first, second = (read("(assert (<= Y[0] 1.0))", text) for text in texts)
    assert first == second and first.elements == {"real"}
    (tmp_path / "q.vnnlib.gz").write_bytes(gzip.compress((HEAD + ONE + BOX + "(assert (<= Y[0] 1.0))").encode()))
    assert read_query(tmp_path / "q.vnnlib").elements == {"float32"}


@pytest.mark.parametrize(
    ("text", "query"),
    [("(vnnlib-version <2.0>)", True), ("\ufeff; (assert\n\n ( declare-network f", True), ("", False),
     ("(declare-const X_0 Real)", False), ("(assert (<= X_0 1.0))", False), ("; (vnnlib-version <2.0>)", False),
     ("(vnnlib-versions", False), ("hello (vnnlib-version <2.0>)", False)],
)  # fmt: skip
def test_versions_are_told_apart(text: str, query: bool) -> None:
    assert is_query(text.encode()) is query


BAD = {
    "no version": ((ONE + BOX + "(assert (<= Y[0] 1.0))"), FileError, "begins with its version"),
    "version 3": ("(vnnlib-version <3.0>)", Unsupported, "<3.0>"),
    "version 2.1": ("(vnnlib-version <2.1>)", Unsupported, "<2.1>"),
    "version without brackets": ("(vnnlib-version 2.0)", FileError, "begins with its version"),
    "empty": ("", FileError, "empty"),
    "comments only": ("; a\n", FileError, "empty"),
    "no network": (HEAD, FileError, "without an assertion"),
    "an assertion before networks": (HEAD + "(assert (<= Y[0] 1.0))", FileError, "before all networks"),
    "a network after assertions": (HEAD + ONE + BOX + ONE.replace("f ", "g "), FileError, "after an assertion"),
    "a command of 1.0": (HEAD + "(declare-const X_0 Real)", FileError, "declare-const"),
    "cut off": (HEAD + ONE[:-5], FileError, "ends inside a statement"),
    "a bracket too many": (HEAD + ONE + BOX + ")", FileError, "opening bracket"),
    "text behind": (HEAD + ONE + BOX + "hello", FileError, "hello"),
    "no output": (HEAD + "(declare-network f (declare-input X float32 [2]))", FileError, "an input and an output"),
    "output before input": (
        HEAD + "(declare-network f (declare-output Y float32 [2]) (declare-input X float32 [2]))", FileError, "order"),
    "hidden after output": (
        HEAD + '(declare-network f (declare-input X float32 [2]) (declare-output Y float32 [2])'
        ' (declare-hidden H float32 [1] "h"))', FileError, "order"),
    "hidden without a name": (
        HEAD + "(declare-network f (declare-input X float32 [2]) (declare-hidden H float32 [1])"
        " (declare-output Y float32 [2]))", FileError, "double quotes"),
    "some names only": (
        HEAD + '(declare-network f (declare-input X float32 [2] "x") (declare-output Y float32 [2]))',
        FileError, "without a name"),
    "a name twice": (HEAD + ONE.replace("Y float32", "X float32"), FileError, "is taken"),
    "a network's name twice": (
        HEAD + ONE + "(declare-network f (declare-input A float32 [2]) (declare-output B float32 [2]))",
        FileError, "is taken"),
    "a name with a dash": (HEAD + ONE.replace("X float32", "X-1 float32"), FileError, "letters, digits"),
    "and as a name": (HEAD + ONE.replace("X float32", "and float32"), FileError, "is taken"),
    "an integer type": (HEAD + ONE.replace("Y float32", "Y int64"), Unsupported, "int64"),
    "float64": (HEAD + ONE.replace("Y float32", "Y float64"), Unsupported, "float64"),
    "a size of 0": (HEAD + ONE.replace("[2]", "[0]"), FileError, "without elements"),
    "a negative size": (HEAD + ONE.replace("[2]", "[-2]"), FileError, "element type and a shape"),
    "no shape": (HEAD + ONE.replace("Y float32 [2]", "Y float32"), FileError, "element type and a shape"),
    "a huge tensor": (HEAD + ONE.replace("[2]", "[99999,99999]"), Unsupported, "too large"),
    "equal to nothing": (HEAD + ONE.replace("f (", "f (equal-to g) ("), FileError, "no network above"),
    "equal to another shape": (
        HEAD + ONE + "(declare-network g (equal-to f) (declare-input A float32 [2]) (declare-output B float32 [2]))",
        FileError, "in order"),
    "two relations": (
        HEAD + ONE + "(declare-network g (equal-to f) (isomorphic-to f) (declare-input A float32 [1,2])"
        " (declare-output B float32 [2]))", Unsupported, "two relations"),
    "unbounded": (HEAD + ONE + "(assert (<= X[0,0] 1.0))(assert (<= Y[0] 1.0))", DataError, "X[0,"),
    "lo > hi": (HEAD + ONE + BOX + "(assert (>= X[0,1] 2.0))", DataError, "X[0,1]"),
    "binary": (bytes(range(256)).decode("latin-1"), FileError, "opening bracket"),
}  # fmt: skip
BAD_FORMULAS = {
    "(<= X[0] 1.0)": "one index for each axis", "(<= X 1.0)": "one index for each axis",
    "(<= X[0,0,0] 1.0)": "one index for each axis", "(<= X[0,2] 1.0)": "out of range",
    "(<= X[0,-1] 1.0)": "one index for each axis", "(<= X[0,1.0] 1.0)": "one index for each axis",
    "(<= X[0 1] 1.0)": "one index for each axis", "(<= X[0,] 1.0)": "one index for each axis",
    "(<= Z[0] 1.0)": "neither a number", "(<= X_0 1.0)": "neither a number", "(<= Y[0] 1e3)": "neither a number",
    "(<= Y[0] -.5)": "neither a number", "(<= Y[0] +1.0)": "neither a number", "(<= Y[0] 1.)": "neither a number",
    "(<= Y[0] nan)": "neither a number", "(<= Y[0] 1)": "mixes types", "(<= 1 Y[0])": "mixes types",
    "(<= (+ Y[0] 2) 1.0)": "mixes types", "(= Y[0] 1.0)": "no formula", "(not (<= Y[0] 1.0))": "no formula",
    "(=> (<= Y[0] 1.0) (<= Y[1] 1.0))": "no formula", "true": "no formula", "(<= Y[0])": "wrong number",
    "(or)": "wrong number", "(<= (* Y[0] Y[1]) 1.0)": "must be linear", "(<= (/ Y[0] 2.0) 1.0)": "no term",
    "(<= (max Y[0] Y[1]) 1.0)": "no term", "(<= (-) 1.0)": "wrong number", "(and (<= Y[0] 1.0) 5)": "no formula",
}  # fmt: skip


def refused(text: str, kind: type[TorchLeanError], word: str) -> None:
    with pytest.raises(kind) as caught:
        read_query(text.encode())
    told = str(caught.value)
    assert word in told and all(told.count(f"  {part}:") == 1 for part in ("where", "expected", "got", "fix")), told


@pytest.mark.parametrize("title", BAD)
def test_bad_queries_are_refused(title: str) -> None:
    refused(*BAD[title])


@pytest.mark.parametrize("formula", BAD_FORMULAS)
def test_bad_formulas_are_refused(formula: str) -> None:
    refused(HEAD + ONE + BOX + f"(assert {formula})\n", TorchLeanError, BAD_FORMULAS[formula])
    with pytest.raises(TorchLeanError, match="line 4"):
        read(f"(assert {formula})")


def test_two_types_are_not_compared() -> None:
    refused(HEAD + ONE.replace("Y float32", "Y real") + BOX + "(assert (<= X[0,0] Y[0]))", FileError, "mixes types")
