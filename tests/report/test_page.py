"""The page carries everything in itself, and every text is only text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from torchlean import ops
from torchlean.ir import Builder, Graph, f32
from torchlean.report import Page, plots
from torchlean.report.graph import draw

ODD = "<script>alert('1')</script> & \"quoted\" </pre> \u00fc \u4e2d \x00 ]]> %s {x}"


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "use", "stop"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def names(self) -> set[str]:
        return {name for name, _ in self.tags}


def odd_page() -> Page:
    page = Page(ODD, ODD)
    page.section(ODD)
    page.text(ODD)
    page.verdict(ODD, ODD)
    page.code(ODD)
    page.table((ODD, "n"), [(ODD, 1), (None, 0.5)])
    page.figure("<svg></svg>", ODD)
    return page


def test_odd_text_stays_text() -> None:
    read = Tags(odd_page().html())
    assert read.open == [] and "script" not in read.names()
    places = 11  # title, h1, lead, h2, p, verdict twice, pre, th, td, figcaption
    assert sum("alert('1')" in text for text in read.texts) == places


def test_a_page_is_one_utf8_file(tmp_path: Path) -> None:
    page = Page("Grüße", "lead")
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes().decode() == page.html()
    assert page.html().startswith("<!doctype html>") and '<meta charset="utf-8">' in page.html()


def residual() -> Graph:
    """x -> linear -> relu -> linear -> add x -> relu -> add the first relu; two outputs, one with an odd name."""
    g = Builder(ops.ALL)
    x = g.input("x", f32["batch", 4])
    first = g.relu(g.linear(x, g.parameter("w<1>", f32[4, 4]), g.parameter("b1", f32[4])))
    middle = g.add(x, g.linear(first, g.parameter("w2", f32[4, 4]), g.parameter("b2", f32[4])))
    return g.finish({"y": g.add(g.relu(middle), first), "middle": middle})


def test_a_residual_graph_shows_its_skips() -> None:
    drawing = draw(residual())
    read = Tags(drawing)
    paths = [a for name, a in read.tags if name == "path"]
    assert sum(name == "rect" for name, _ in read.tags) == 7
    assert [a["class"] for a in paths].count("edge") == 6 and [a["class"] for a in paths].count("skip") == 2
    assert "w<1> f32[4, 4], b1 f32[4]" in read.texts and "add: f32[batch, 4]  = y" in read.texts
    # Overlapping skips run in lanes of their own.
    lanes = [a["d"].split(" h")[1].split()[0] for a in paths if a["class"] == "skip" and a["d"]]
    assert len(set(lanes)) == 2


def test_a_drawing_holds_all_that_is_drawn() -> None:
    read = Tags(draw(residual()))
    (_, frame), *rest = read.tags
    width, height = int(frame["width"] or 0), int(frame["height"] or 0)
    for name, found in rest:
        if name == "rect":
            assert int(found["x"] or 0) + int(found["width"] or 0) <= width
            assert int(found["y"] or 0) + int(found["height"] or 0) <= height


def test_the_smallest_graph() -> None:
    g = Builder(ops.ALL)
    x = g.input("x", f32[1])
    assert draw(g.finish({"y": x})).count("<rect") == 1


def test_plots_are_svg_of_text_and_equal_for_equal_numbers() -> None:
    pytest.importorskip("matplotlib")
    samples = np.random.default_rng(0).normal(size=500)
    drawings = [
        lambda: plots.interval(samples, (-4.25, 4.5), (-3.9, 4.1), "miles & <gallons>"),
        lambda: plots.curve(np.geomspace(9, 1, 50), [(10, 5.0), (50, 1.5)], "mpg²"),
        lambda: plots.curve(np.ones(1), [], "mpg²"),
        lambda: plots.interval(np.ones(3), (1.0, 1.0), (1.0, 1.0), "mpg"),
    ]
    for make in drawings:
        one = make()
        assert one.startswith("<svg") and one == make()
        assert "script" not in Tags(one).names() and "<image" not in one
    assert "-4.2500" in drawings[0]() and "miles &amp; &lt;gallons&gt;" in drawings[0]()
