"""VNN-LIB 1.0: every decimal exact, every form of the language, every benchmark file, every refusal."""

import gzip
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean.bounds.dnf import And, Atom, Or, clauses_of
from torchlean.bounds.property import Violation, inequality
from torchlean.bounds.region import Box, box
from torchlean.errors import DataError, FileError, TorchLeanError, Unsupported
from torchlean.io.vnnlib import read_vnnlib

BENCHMARKS = Path(__file__).resolve().parents[2].parent / "shared" / "vnncomp"
F = Fraction


def declared(inputs: int = 2, outputs: int = 2) -> str:
    x = "".join(f"(declare-const X_{i} Real)\n" for i in range(inputs))
    return x + "".join(f"(declare-const Y_{j} Real)\n" for j in range(outputs))


def bounded(inputs: int = 2, outputs: int = 2) -> str:
    bounds = "".join(f"(assert (>= X_{i} -1))\n(assert (<= X_{i} 1.0))\n" for i in range(inputs))
    return declared(inputs, outputs) + bounds


def read(text: str) -> Violation:
    return read_vnnlib(text.encode())


def only_inequality(formula: str) -> object:
    ((g,),) = [c.inequalities for c in read(bounded() + f"(assert {formula})").clauses]
    return g


def test_decimals_are_exact() -> None:
    text = declared(1, 1) + "(assert (>= X_0 -0.1))(assert (<= X_0 0.679857769000000000000000000001))"
    (clause,) = read(text).clauses
    assert clause.box == Box((F(-1, 10),), (F("0.679857769000000000000000000001"),), (1,))


@pytest.mark.parametrize("text", ["3", "-3", "+3", "0.25", "-0.5", "3.", "1e-06", "-2.5E+3", "007"])
def test_numbers_in_all_positions(text: str) -> None:
    value = F(text)
    assert only_inequality(f"(<= Y_0 {text})") == inequality({}, {0: F(1)}, -value)
    (clause,) = read(declared(1, 1) + f"(assert (<= X_0 {text}))(assert (>= X_0 -9999))").clauses
    assert clause.box.hi == (value,)


def test_relations_and_terms() -> None:
    y0, y1 = {0: F(1)}, {1: F(1)}
    assert only_inequality("(<= Y_0 Y_1)") == inequality({}, {0: F(1), 1: F(-1)}, F(0))
    assert only_inequality("(>= Y_0 Y_1)") == inequality({}, {0: F(-1), 1: F(1)}, F(0))
    assert only_inequality("(< Y_0 2)") == inequality({}, y0, F(-2), strict=True)
    assert only_inequality("(> 2 Y_1)") == inequality({}, y1, F(-2), strict=True)
    assert only_inequality("(<= (+ Y_0 (* 2 Y_1) -3) (- X_0))") == inequality({0: F(1)}, {0: F(1), 1: F(2)}, F(-3))
    assert only_inequality("(<= (- Y_0 Y_1 1.5) 0)") == inequality({}, {0: F(1), 1: F(-1)}, F(-3, 2))
    assert only_inequality("(<= (* 2 3 (- Y_0)) (/ 1 3))") == inequality({}, {0: F(-6)}, F(-1, 3))
    assert only_inequality("(<= (/ Y_0 4) (- 1))") == inequality({}, {0: F(1, 4)}, F(1))
    assert only_inequality("(<= (* X_0 (- 2 2)) Y_0)") == inequality({}, {0: F(-1)}, F(0))
    assert only_inequality("(<= (+ X_0 X_1) 0)") == inequality({0: F(1), 1: F(1)}, {}, F(0))


def test_negation_is_exact() -> None:
    assert only_inequality("(not (<= Y_0 2))") == inequality({}, {0: F(-1)}, F(2), strict=True)
    assert only_inequality("(not (not (< Y_0 2)))") == inequality({}, {0: F(1)}, F(-2), strict=True)
    clauses = read(bounded() + "(assert (not (and (<= Y_0 0) (< Y_1 0))))").clauses
    assert [g.strict for c in clauses for g in c.inequalities] == [True, False]


def test_equality_pins() -> None:
    (clause,) = read(bounded() + "(assert (= X_0 0.1))(assert (= Y_0 Y_1))").clauses
    assert clause.box.lo[0] == clause.box.hi[0] == F(1, 10)
    assert len(clause.inequalities) == 2


def test_bounds_intersect_and_strict_ones_stay() -> None:
    text = bounded() + "(assert (<= X_0 0.5))(assert (<= (* 2 X_0) 0.5))(assert (and (> X_1 0) (<= X_1 0.75)))"
    (clause,) = read(text).clauses
    assert clause.box == Box((F(-1), F(0)), (F(1, 4), F(3, 4)), (2,))
    assert clause.inequalities == (inequality({1: F(-1)}, {}, F(0), strict=True),)


@pytest.mark.parametrize(
    "order",
    ["(<= X_0 0.5) (<= X_0 0.75) (>= X_0 0.1) (>= X_0 0)", "(>= X_0 0) (>= X_0 0.1) (<= X_0 0.75) (<= X_0 0.5)"],
)
def test_the_tightest_of_several_bounds_counts_in_any_order(order: str) -> None:
    alone = "".join(f"(assert {bound})" for bound in re.findall(r"\([^()]+\)", order))
    for text in (alone, f"(assert (and {order}))", f"(assert (or (and {order} (<= Y_0 0)) (<= Y_0 1)))"):
        assert read(bounded(1, 1) + text).clauses[0].box == box(lo=["0.1"], hi=[0.5])


def test_clauses_share_the_box_and_keep_the_file_order() -> None:
    text = bounded(2, 3) + "(assert (or (and (>= Y_1 Y_0)) (and (>= Y_2 Y_0) (<= Y_1 0))))(assert (<= Y_0 7))"
    violation = read(text)
    one, two = violation.clauses
    assert one.box is two.box and len(violation.regions()) == 1
    assert [len(one.inequalities), len(two.inequalities)] == [2, 3]
    assert one.inequalities[-1] == two.inequalities[-1] == inequality({}, {0: F(1)}, F(-7))


def test_disjunctions_multiply_in_lexicographic_order() -> None:
    text = bounded() + "(assert (or (<= Y_0 1) (<= Y_0 2)))(assert (or (<= Y_1 3) (<= Y_1 4)))"
    constants = [[-g.constant for g in c.inequalities] for c in read(text).clauses]
    assert constants == [[1, 3], [1, 4], [2, 3], [2, 4]]


def test_alternatives_may_bound_inputs_themselves() -> None:
    text = declared(1, 1) + "(assert (or (and (>= X_0 0) (<= X_0 1) (<= Y_0 0)) (and (>= X_0 -3) (<= X_0 -2))))"
    one, two = read(text).clauses
    assert (one.box, two.box) == (box(lo=[0], hi=[1]), box(lo=[-3], hi=[-2]))
    assert len(one.inequalities) == 1 and two.inequalities == ()


def test_alternatives_that_no_input_meets_are_left_out() -> None:
    text = bounded() + "(assert (or (>= X_0 2) (and (<= 1 0) (<= Y_0 0)) (<= Y_0 5)))"
    (clause,) = read(text).clauses
    assert clause.inequalities == (inequality({}, {0: F(1)}, F(-5)),)


def test_layout_and_comments_do_not_matter() -> None:
    text = bounded(1, 1) + "(assert (or (and (<= Y_0 1) (>= X_0 0.5)) (>= Y_0 2)))"
    spread = re.sub(r"([()])", r" \1 ; é ) (\n", text)
    assert read(spread) == read(text) == read("\ufeff" + text.replace("\n", "\r\n") + "; end") == read(text + ";")
    assert read(text.replace("(assert (", "( assert(")) == read(text)


def test_a_path_may_be_plain_gzip_or_lack_its_gz(tmp_path: Path) -> None:
    raw = bounded(1, 1).encode()
    (tmp_path / "a.vnnlib").write_bytes(raw)
    (tmp_path / "b.vnnlib.gz").write_bytes(gzip.compress(raw))
    assert (
        read_vnnlib(tmp_path / "a.vnnlib")
        == read_vnnlib(str(tmp_path / "b.vnnlib.gz"))
        == read_vnnlib(tmp_path / "b.vnnlib")
        == read_vnnlib(raw)
    )


numbers = st.decimals(min_value=-9, max_value=9, places=3).map(lambda d: format(d, "f"))
variables = st.sampled_from(["X_0", "X_1", "Y_0", "Y_1"])
terms = st.recursive(
    st.one_of(numbers, variables),
    lambda t: st.one_of(
        st.tuples(st.sampled_from(["+", "-"]), t, t).map(lambda p: f"({' '.join(p)})"),
        st.tuples(numbers, t).map(lambda p: f"(* {p[0]} {p[1]})"),
        t.map(lambda p: f"(- {p})"),
    ),
    max_leaves=4,
)
relations = st.tuples(st.sampled_from(["<=", "<", ">=", ">", "="]), terms, terms).map(lambda p: f"({' '.join(p)})")
formulas = st.recursive(
    relations,
    lambda f: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), st.lists(f, min_size=1, max_size=3)).map(
            lambda p: f"({p[0]} {' '.join(p[1])})"
        ),
        f.map(lambda p: f"(not {p})"),
    ),
    max_leaves=5,
)
points = st.lists(st.fractions(min_value=-1, max_value=1, max_denominator=8), min_size=2, max_size=2)


def meaning(text: str, names: dict[str, Fraction]) -> Fraction | bool:
    """An s-expression evaluated directly, by another route than the reader's."""
    tokens = re.findall(r"[()]|[^\s()]+", text)

    def value() -> Fraction | bool:
        token = tokens.pop(0)
        if token != "(":
            return names[token] if token in names else Fraction(token)
        name, parts = tokens.pop(0), []
        while tokens[0] != ")":
            parts.append(value())
        tokens.pop(0)
        a, b = parts[0], parts[-1]
        table = {
            "and": lambda: all(parts),
            "or": lambda: any(parts),
            "not": lambda: not a,
            "<=": lambda: a <= b,
            "<": lambda: a < b,
            ">=": lambda: a >= b,
            ">": lambda: a > b,
            "=": lambda: a == b,
            "+": lambda: a + b,
            "*": lambda: a * b,
            "-": lambda: a - b if len(parts) == 2 else -a,
        }
        return table[name]()

    return value()


@given(formula=formulas, x=points, y=points)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_a_formula_means_what_it_says(formula: str, x: list[Fraction], y: list[Fraction]) -> None:
    names = {"X_0": x[0], "X_1": x[1], "Y_0": y[0], "Y_1": y[1]}
    try:
        violation = read(bounded() + f"(assert {formula})")
    except DataError:  # contradictory by itself
        assert not meaning(formula, names)
        return
    assert violation.evaluate_exact(x, y) == meaning(formula, names)


X0 = "(assert (<= X_0 1))(assert (>= X_0 0))"
REFUSED = {
    "empty": ("", FileError, "declares no inputs"),
    "no inputs": ("(declare-const Y_0 Real)", FileError, "declares no inputs"),
    "no outputs": ("(declare-const X_0 Real)" + X0, FileError, "declares no outputs"),
    "no upper bound": (declared(1, 1) + "(assert (>= X_0 0))", DataError, "no upper bound of X_0"),
    "no lower bound": (declared(2, 1) + X0 + "(assert (<= X_1 0))", DataError, "no lower bound of X_1"),
    "unbounded in one alternative": (
        declared(1, 1) + "(assert (>= X_0 0))(assert (or (<= X_0 1) (<= Y_0 0)))",
        DataError,
        "no upper bound of X_0",
    ),
    "lo above hi": (declared(1, 1) + "(assert (<= X_0 0))(assert (>= X_0 0.1))", DataError, "lo = 0.1, hi = 0.0"),
    "lo above hi in the only alternative": (bounded() + "(assert (or (<= X_0 -2)))", DataError, "no input at all"),
    "contradiction": (bounded() + "(assert (<= 1 0))", DataError, "no input at all"),
    "undeclared": (bounded(1, 1) + "\n(assert (<= X_1 0))", FileError, "line 6"),
    "undeclared in a formula": (bounded(1, 1) + "\n\n(assert (or (<= Y_1 0)))", FileError, "line 7"),
    "used before declared": ("(assert (<= X_0 1))" + declared(1, 1), FileError, "unknown name"),
    "another name": (bounded() + "(assert (<= Z 0))", FileError, "unknown name"),
    "leading zero": (bounded() + "(assert (or (<= Y_00 0)))", FileError, "Y_00"),
    "leading zero in a bound": (bounded() + "(assert (<= X_00 0))", FileError, "X_00"),
    "declared twice": (declared(1, 1) + "(declare-const X_0 Real)", FileError, "declared twice"),
    "a gap": ("(declare-const X_1 Real)(declare-const Y_0 Real)", FileError, "X_0"),
    "another type": ("(declare-const X_0 Int)", FileError, "declaration of another form"),
    "another variable": ("(declare-const input Real)", FileError, "another name"),
    "open bracket": (bounded() + "\n(assert (or (<= Y_0 0)\n(and", FileError, "line 10"),
    "truncated declaration": ("(declare-const X_0", FileError, "ends inside a statement"),
    "close bracket": (bounded() + ")", FileError, "must begin with an opening bracket"),
    "loose word": (bounded() + "assert", FileError, "line 9"),
    "onnx bytes": ("\x08\x07\x12", FileError, "opening bracket"),
    "version 2": ("(vnnlib-version <2.0>)", Unsupported, "read_query reads VNN-LIB 2.0"),
    "another command": (bounded() + "(check-sat)", Unsupported, "check-sat"),
    "an empty statement": ("()", Unsupported, r"\(\)"),
    "two formulas": (bounded() + "(assert (<= Y_0 0) (<= Y_1 0))", FileError, "one formula"),
    "no formula": (bounded() + "(assert)", FileError, "one formula"),
    "a term as a formula": (bounded() + "(assert Y_0)", Unsupported, "no formula"),
    "implication": (bounded() + "(assert (=> (<= Y_0 0) (<= Y_1 0)))", Unsupported, "=>"),
    "an empty or": (bounded() + "(assert (or))", FileError, "operands"),
    "three operands": (bounded() + "(assert (<= Y_0 0 1))", FileError, "operands"),
    "one operand": (bounded() + "(assert (<= Y_0))", FileError, "operands"),
    "a sum of one": (bounded() + "(assert (<= (+ Y_0) 1))", FileError, "operands"),
    "a formula as a term": (bounded() + "(assert (<= (and Y_0 Y_1) 1))", Unsupported, "no term"),
    "a product of outputs": (bounded() + "(assert (<= (* Y_0 Y_1) 1))", Unsupported, "linear"),
    "division by zero": (bounded() + "(assert (<= (/ Y_0 0) 1))", Unsupported, "linear"),
    "nan": (bounded() + "(assert (<= Y_0 nan))", FileError, "unknown name"),
    "infinity": (declared(1, 1) + "(assert (<= X_0 inf))", FileError, "unknown name"),
    "a huge exponent": (bounded() + "(assert (<= Y_0 1e99999))", Unsupported, "exponent"),
    "too many digits": (bounded() + f"(assert (<= Y_0 {'1' * 3000}))", Unsupported, "too long"),
    "too many digits in a bound": (bounded() + f"(assert (<= X_0 {'1' * 3000}))", Unsupported, "too long"),
    "too deep": (bounded() + "(assert " + "(not " * 5000 + "(<= Y_0 0)" + ")" * 5001, Unsupported, "nest too deeply"),
    "too many alternatives": (
        bounded() + "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 30,
        Unsupported,
        "too many alternatives",
    ),
}


@pytest.mark.parametrize("title", REFUSED)
def test_bad_files_are_refused(title: str) -> None:
    text, kind, message = REFUSED[title]
    with pytest.raises(TorchLeanError, match=message) as caught:
        read(text)
    assert type(caught.value) is kind
    assert all((caught.value.what, caught.value.where, caught.value.expected, caught.value.got, caught.value.fix))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(FileError, match="byte 1"):
        read_vnnlib(b"(\xff")


def test_many_blanks_before_an_error_do_not_take_long() -> None:
    with pytest.raises(FileError, match="opening bracket"):
        read(bounded() + " \n;x\n" * 50_000 + "x")


def test_every_truncation_is_refused_or_is_a_whole_file() -> None:
    text = bounded() + "(assert (or (and (>= Y_0 Y_1)) (<= Y_0 -0.5)))\n"
    whole = 0
    for end in range(len(text)):
        try:
            read(text[:end])
            whole += 1
        except TorchLeanError:
            pass
    assert whole == 3  # behind the last bound, behind its line, and before the last line's end


def test_a_large_file_of_either_kind_keeps_its_numbers() -> None:
    n = 3000
    lines = [f"(declare-const X_{i} Real)" for i in range(n)] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (<= X_{i} {i}.25))\n(assert (>= X_{i} -{i}.5))" for i in range(n)]
    alternatives = " ".join(f"(and (<= X_0 {k}e-4) (>= Y_0 {k}))" for k in range(n))
    violation = read("\n".join(lines) + f"(assert (or {alternatives}))")
    assert len(violation.clauses) == n
    assert violation.clauses[7].box.hi[0] == F(7, 10_000) and violation.clauses[7].box.hi[1:] == tuple(
        F(i) + F(1, 4) for i in range(1, n)
    )


def slowly(text: str) -> Violation:
    """The benchmark files' language by the plainest route: regular expressions and the definitions."""
    text = re.sub(r";[^\n]*", "", text)
    inputs, outputs = (len(re.findall(rf"\(declare-const {kind}_\d+ Real\)", text)) for kind in "XY")
    atom = re.compile(r"\(\s*(<=|>=)\s+(\S+)\s+([^\s()]+)\s*\)")

    def one(relation: str, left: str, right: str) -> Atom:
        x: dict[int, Fraction] = {}
        y: dict[int, Fraction] = {}
        constant, sign = F(0), 1 if relation == "<=" else -1
        for side, name in ((sign, left), (-sign, right)):
            if name[0] in "XY":
                (x if name[0] == "X" else y)[int(name[2:])] = F(side)
            else:
                constant += side * F(name)
        return Atom(inequality(x, y, constant))

    parts = []
    for body in re.split(r"\(\s*assert\b", text)[1:]:
        if "(or" in re.sub(r"\s", "", body):
            groups = re.split(r"\(\s*and\b", body)[1:]
            parts.append(Or(tuple(And(tuple(one(*m) for m in atom.findall(g))) for g in groups)))
        else:
            parts.append(one(*atom.findall(body)[0]))
    everything = Box((F(-(10**9)),) * inputs, (F(10**9),) * inputs, (inputs,))
    return Violation(inputs, outputs, clauses_of(And(tuple(parts)), everything, "test"))


def benchmark_files() -> list[Path]:
    return sorted(BENCHMARKS.glob("*/vnnlib/**/*.gz"))


@pytest.mark.skipif(not benchmark_files(), reason="the benchmark files are not here")
def test_the_benchmark_files_read_as_their_text_says() -> None:
    seen: dict[str, int] = {}
    for path in benchmark_files():
        name = path.relative_to(BENCHMARKS).parts[0]
        raw = gzip.decompress(path.read_bytes())
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > (2 if len(raw) < 100_000 else 1) and name != "acasxu":
            continue
        assert read_vnnlib(path) == slowly(raw.decode()), path
    assert len(seen) == 14


@pytest.mark.skipif(not benchmark_files(), reason="the benchmark files are not here")
def test_properties_known_by_hand() -> None:
    six = read_vnnlib(BENCHMARKS / "acasxu/vnnlib/prop_6.vnnlib")
    assert (six.inputs, six.outputs, len(six.clauses), len(six.regions())) == (5, 5, 8, 2)
    bounds = {str(c.box.lo[0]) for c in six.clauses}
    assert bounds == {"-129289109/1000000000"}
    quadrotor = read_vnnlib(BENCHMARKS / "lsnc/vnnlib/quadrotor2d_output_0.vnnlib")
    assert all(len(c.inequalities) == 2 for c in quadrotor.clauses)
