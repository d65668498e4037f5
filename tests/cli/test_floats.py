"""`floats`: numbers, expressions and programs looked at, in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchlean.floats import CATALOG
from torchlean.io.onnx import read_onnx


def rows(ran: Any) -> dict[str, dict[str, str]]:
    assert ran.code == 0 and ran.err == ""
    return {row["format"]: row for row in json.loads(ran.out)["rows"]}


def test_a_number_in_every_format(run: Callable[..., Any]) -> None:
    found = rows(run("floats", "0.1", "--json"))
    assert list(found) == list(CATALOG)
    assert found["float32"] == {
        "format": "float32",
        "sign": "0",
        "exponent": "01111011",
        "fraction": "10011001100110011001101",
        "pattern": "0x3dcccccd",
        "hexadecimal": "0x1.99999ap-4",
        "value": "0.100000001490116119384765625",
        "class": "positive normal",
        "error": "+1.49e-9",
        "relative": "+1.49e-8",
        "in ulps": "+0.2",
        "flags": "inexact",
        "below": "0.0999999940395355224609375",
        "above": "0.10000000894069671630859375",
        "ulp": "2^-27",
    }
    text = run("floats", "0.1").out
    assert all(cell in text for cell in found["float32"].values())
    assert "0.1000000000000000055511... (56 digits)" in text and found["float64"]["value"] not in text


@pytest.mark.parametrize(
    ("value", "pattern", "flags"),
    [
        ("1/3", "0x3eaaaaab", "inexact"),
        ("-1/3", "0xbeaaaaab", "inexact"),
        ("-1e-3", "0xba83126f", "inexact"),
        ("-0x1.8p+1", "0xc0400000", "none"),
        ("-0", "0x80000000", "none"),
        ("-inf", "0xff800000", "none"),
        ("nan", "0x7fc00000", "none"),
        ("1e-46", "0x00000000", "inexact, underflow"),
        ("1e39", "0x7f800000", "inexact, overflow"),
    ],
)
def test_spellings(value: str, pattern: str, flags: str, run: Callable[..., Any]) -> None:
    row = rows(run("floats", value, "--format", "binary32", "--json"))["float32"]
    assert (row["pattern"], row["flags"]) == (pattern, flags)


def test_a_bit_pattern(run: Callable[..., Any]) -> None:
    found = rows(run("floats", "0x7f800001", "--bits", "float32", "--format", "float32,float16", "--json"))
    assert found["float32"]["hexadecimal"] == "snan(0x1)" and found["float32"]["flags"] == "none"
    assert found["float16"]["class"] == "quiet nan" and found["float16"]["flags"] == "invalid"
    found = rows(run("floats", "0b0_0111_000", "--bits", "float8_e4m3fn", "--json"))
    assert {row["value"] for row in found.values()} == {"1"}


def test_the_directions_of_a_number(run: Callable[..., Any]) -> None:
    ran = run("floats", "0.1", "--format", "float32", "--rounding", "up,roundTowardNegative,to-odd", "--json")
    found = [(label.removeprefix("float32, "), row["pattern"]) for label, row in rows(ran).items()]
    assert found == [("toward +inf", "0x3dcccccd"), ("toward -inf", "0x3dcccccc"), ("to odd", "0x3dcccccd")]


def test_both_policies_of_fp8_where_they_differ(run: Callable[..., Any]) -> None:
    both = rows(run("floats", "1000", "--json"))
    values = {label: row["value"] for label, row in both.items() if label.startswith("float8_e4m3fn")}
    assert values == {"float8_e4m3fn, saturate": "448", "float8_e4m3fn, nan": "nan"}
    for policy, value in (("saturate", "448"), ("nan", "nan")):
        found = rows(run("floats", "1000", "--format", "float8_e4m3fn", "--overflow", policy, "--json"))
        assert found[f"float8_e4m3fn, {policy}"]["value"] == value


def test_an_expression_in_every_direction(run: Callable[..., Any]) -> None:
    ran = run("floats", "0.1 + 0.2 * 3", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and found["exact"] == "0.7" and len(found["rows"]) == 18
    results = {(r["format"], r["rounding"]): r for r in found["rows"]}
    nearest = results["float64", "to nearest, ties to even"]
    assert float(nearest["result"]) == 0.1 + 0.2 * 3 and nearest["in ulps"] == "+0.6"
    assert [s["step"] for s in nearest["steps"]] == ["0.1", "0.2", "3", "(0.2 * 3)", "(0.1 + (0.2 * 3))"]
    assert results["float32", "toward -inf"]["pattern"] == "0x3f333332"
    text = run("floats", "0.1 + 0.2 * 3").out
    assert "over the reals: 0.7" in text and all(r["pattern"] in text for r in found["rows"])


@pytest.mark.parametrize(
    ("text", "exact", "result", "flags"),
    [
        ("1 / 0", "no value: a division by zero", "inf", "divide by zero"),
        ("-sqrt(2)", "about -1.41421356237309504880168872420969807857", "-1.4142135", "inexact"),
        ("(1/3)", "1/3, about 0.3333333333333333333333333333333333333333", "0.33333334", "inexact"),
        ("log(-1)", "no value: outside of the domain of log", "nan", "invalid"),
        ("-(1 + 1)", "-2", "-2", "none"),
        ("1e2000 * 1e2000 * 1e2000", "1e+6000", "inf", "inexact, overflow"),
    ],
)
def test_expressions(text: str, exact: str, result: str, flags: str, run: Callable[..., Any]) -> None:
    ran = run("floats", text, "--format", "float32", "--rounding", "nearest", "--json")
    found = json.loads(ran.out)
    (row,) = found["rows"]
    assert (found["exact"], row["result"], row["flags"]) == (exact, result, flags)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "neither"),
        (("0.1", "--program", "net.onnx"), "both"),
        (("",), "an operand is missing"),
        (("one",), "no function of this name"),
        (("0.1.2",), "position 4 of '0.1.2'"),
        (("1e5000",), "a power between"),
        (("9" * 1001,), "1001 characters"),
        (("(1 + 2",), "position 1 of '(1 + 2'"),
        (("1 + 2)",), "position 6 of '1 + 2)'"),
        (("sine(1)",), "no function of this name"),
        (("pow(2)",), "pow takes 2 arguments"),
        (("0.1", "--format", "float31"), "no format of this name"),
        (("0.1", "--format", "float32,"), "no format of this name"),
        (("0.1", "--format", "float32,binary32"), "a name is given twice"),
        (("0.1", "--rounding", "sideways"), "no rounding direction of this name"),
        (("0.1", "--rounding", "up,roundTowardPositive"), "a name is given twice"),
        (("0.1", "--format", "float8_e4m3fn"), "--overflow saturate or --overflow nan"),
        (("1 + 1", "--format", "float8_e4m3fn"), "--overflow saturate or --overflow nan"),
        (("0.1", "--overflow", "infinity"), "infinity"),
        (("0.1", "--bits", "float32"), "this is no bit pattern"),
        (("0x1g", "--bits", "float32"), "this is no bit pattern"),
        (("0x100000000", "--bits", "float32"), "wider than its format"),
        (("0x1", "--bits", "float31"), "no format of this name"),
        (("0.1", "--input", "x.npy"), "--input belongs to a program"),
        (("0.1", "--seed", "1"), "--seed belongs to a program"),
        (("0.1", "--ulps", "1"), "--ulps belongs to a program"),
        (("--program", "net.onnx", "--bits", "float32"), "--bits belongs to a number"),
        (("--program", "net.onnx", "--ulps", "nan"), "--ulps"),
        (("--program", "net.onnx", "--ulps", "-1"), "--ulps"),
        (("--program", "net.onnx", "--format", "float8_e4m3fn"), "--overflow saturate or --overflow nan"),
        (("--program", "absent.onnx"), "absent.onnx"),
        (("0.1", "--html", "absent/page.html"), "absent"),
        (("0.1", "--form", "float32"), "--form"),
        (("0.1", "--json", "--json"), "given twice"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, tuple) else "",
)
def test_bad_input_is_one_error(words: tuple[str, ...], said: str, folder: Path, run: Callable[..., Any]) -> None:
    run("floats", *words).fails(2, said)


def test_a_program_in_each_arithmetic(folder: Path, run: Callable[..., Any]) -> None:
    x = np.array([[0.1, -0.7]], np.float32)
    np.save("x.npy", x)
    formats = ("--format", "float32,bfloat16,float8_e4m3fn", "--overflow", "nan", "--rounding", "nearest,up")
    ran = run("floats", "--program", "net.onnx", "--input", "x.npy", *formats, "--ulps", "2.5", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0 and [r["value"] for r in found["rows"]] == ["y[0]", "y[1]"]
    y = np.asarray(read_onnx("net.onnx")(x)).ravel()
    for row, value in zip(found["rows"], y, strict=True):
        assert np.float32(row["float32"]) == np.float32(row["float32 to nearest, ties to even"]) == value
        assert abs(float(row["bfloat16 to nearest, ties to even"]) - value) < 0.02 * abs(value) + 0.01
    apart = {p["system"]: p for p in found["partings"]}
    assert list(apart) == [*list(found["rows"][0])[2:8], "real"]
    head = "first node beyond 2.5 ulps"
    same = apart["float32 to nearest, ties to even"]
    assert (same["outputs differ by, ulps"], same[head], same["there, ulps"]) == ("0", "none", "-")
    up = apart["bfloat16 toward +inf"]
    assert (
        up[head] == "%3 linear"
        and float(up["there, ulps"]) > 2.5
        and float(apart["real"]["outputs differ by, ulps"]) > 0
    )
    shown = run("meanings", "net.onnx", "--input", "x.npy", "--json")
    for row, other in zip(found["rows"], json.loads(shown.out)["rows"], strict=True):
        assert all(row[head] == text for head, text in other.items())


def test_partings_count_infinities_and_whole_numbers() -> None:
    from torchlean.cli.arithmetics import Column, partings
    from torchlean.floats import BFLOAT16, BINARY32

    def column(head: str, *values: Any) -> Column:
        arrays = {f"n{i}": np.asarray(v) for i, v in enumerate(values)}
        return Column(head, BFLOAT16 if head == "b" else BINARY32, arrays, {"y": arrays["n0"]})

    one, inf = np.float32(1), np.float32(np.inf)
    near = np.nextafter(one, np.float32(2))
    first = column("f", one, [inf, np.float32(np.nan)], [3, 4])
    found = partings(
        [first, column("r", near, [inf, np.float32(np.nan)], [3, 6]), column("b", near, [inf, one], [3, 4])], 1.5
    )
    assert [(p.outputs, p.node, p.ulps) for p in found] == [(1.0, "n2", 2.0), (2.0**-16, "n1", np.inf)]
    assert partings([first, column("r", near, [inf, np.float32(np.nan)], [3, 6])], 2.0)[0].node is None


class Links(HTMLParser):
    """Every address in a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("href", "src", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    ("words", "drawings"),
    [
        (("0.1",), 7),
        (("1e39", "--format", "float32,float64"), 2),
        (("nan", "--format", "float32"), 1),
        (("1000",), 8),
        (("0.1 + 0.2 * 3",), 3),
        (("exp(1) / 0",), 0),
        (("nan + 1",), 0),
        (("--program", "net.onnx"), 0),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_the_page_carries_everything_in_itself(
    words: tuple[str, ...], drawings: int, folder: Path, run: Callable[..., Any]
) -> None:
    ran = run("floats", *words, "--html", "page.html", "--json")
    page = Path("page.html").read_text(encoding="utf-8")
    read = Links(page)
    assert ran.code == 0 and read.addresses == [] and "script" not in read.tags and read.tags.count("svg") == drawings
    found = json.loads(ran.out)
    for row in found["rows"]:
        shown = [text for head, text in row.items() if head in ("result", "pattern", "hexadecimal", "float32", "error")]
        assert all(any(text in words for words in read.texts) for text in shown), row


def test_a_page_shows_each_bit_and_the_exact_value(folder: Path, run: Callable[..., Any]) -> None:
    run("floats", "0.1", "--format", "float16", "--html", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert [page.count(f'class="{kind}"/>') for kind in ("sign", "exponent", "fraction")] == [1, 5, 10]
    texts = Links(page).texts
    assert {"0x1.994p-4", "0x1.998p-4", "0x1.99cp-4", "exact"} <= set(texts)
