"""The text of a graph reads back to the same graph; text that is no graph is refused with its place."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchlean import ops
from torchlean.errors import GraphError, ShapeError
from torchlean.ir import Builder, Graph, Literal, Node, format_graph, parse_graph, trace
from torchlean.ir.types import DTYPES, f32, type_of


def wheres(graph):
    for node in graph.nodes:
        yield node.where
        for _, value in node.attrs:
            if isinstance(value, Graph):
                yield from wheres(value)


def test_full_text_reads_back_to_the_same_graph_with_its_lines(graph, table):
    text = format_graph(graph, full=True)
    again = parse_graph(text, table)
    assert again == graph and hash(again) == hash(graph)
    assert list(wheres(again)) == list(wheres(graph))
    assert format_graph(again, full=True) == text


def test_the_short_text_is_for_reading(small):
    assert format_graph(small) == "\n".join([
        "%0: f32[batch, 4] = input x    # model.py:8",
        "%1: f32[4, 2] = parameter w    # model.py:8",
        "%2: f32[batch, 2] = matmul(%0, %1)    # model.py:8",
        "%3: f32[batch, 2] = relu(%2)    # model.py:8",
        "%4: f32[] = constant {0.5}    # model.py:8",
        "%5: f32[batch, 2] = mul(%3, %4)    # model.py:8",
        "return y=%5",
    ])  # fmt: skip
    assert str(small) == format_graph(small)


def test_a_large_array_is_abbreviated_and_then_refused_by_the_reader(graph, table):
    text = format_graph(graph)
    assert "constant <float64[3, 4, 5]>" in text
    with pytest.raises(GraphError, match=r"(?s)abbreviated.*line \d+.*full=True"):
        parse_graph(text, table)


def test_several_outputs_and_updates_are_named(graph):
    text = format_graph(graph)
    assert "%3: (f32[n], i64[n]) = two(%0)" in text
    assert "%4: () = none(%3.1)" in text
    assert "\nupdate " in text and text.splitlines()[-1].startswith("return y=")


bits32 = st.integers(0, 2**32 - 1).map(lambda b: np.uint32(b).view(np.float32))
bits64 = st.integers(0, 2**64 - 1).map(lambda b: struct.unpack(">d", struct.pack(">Q", b))[0])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(bits32, max_size=12), bits64)
def test_every_float_survives(elements, attribute):
    array = np.array(elements, np.float32)
    node = Node("constant", (), (("value", Literal.of(array)),), (type_of(array),))
    graph = Graph((node,), ())
    assert parse_graph(format_graph(graph, full=True), ops.ALL) == graph
    g = Builder(ops.ALL)
    g.add_node("constant", (), {"value": attribute}, (f32[()],))
    text = format_graph(g.finish({}), full=True)
    with pytest.raises(ShapeError, match="needs an array"):  # it reads, then lint refuses a constant that is no array
        parse_graph(text, ops.ALL)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (3, 5)])
def test_every_dtype_survives(dtype, shape):
    from torchlean.ir.types import numpy_dtype

    carrier = numpy_dtype(dtype.numpy)
    size = int(np.prod(shape, dtype=int)) * carrier.itemsize
    data = bytes((np.arange(size) * 37 % 251).astype(np.uint8) & (1 if dtype.kind == "bool" else 255))
    array = np.frombuffer(data, carrier).reshape(shape)
    graph = Graph((Node("constant", (), (("value", Literal.of(array)),), (type_of(array),)),), ())
    assert parse_graph(format_graph(graph, full=True), ops.ALL) == graph


GOOD = "%0: f32[n] = input x\n%1: f32[n] = relu(%0)    # a.py:1\nreturn y=%1\n"


def test_blank_lines_and_comments_may_stand_between_lines():
    spaced = "# a graph\n\n" + GOOD.replace("\n", "\n\n  # more\n")
    assert parse_graph(spaced, ops.ALL) == trace(ops.ALL, lambda g, x: g.relu(x), x=f32["n"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1, column 1"),
        ("return y=%0 z", "line 1, column 13"),
        (GOOD.replace("%1:", "%2:"), "line 2, column 1"),
        (GOOD.replace("return", "retrun"), "line 3, column 1"),
        (GOOD.replace("f32[n] = relu", "f33[n] = relu"), "line 2, column 5"),
        (GOOD.replace("f32[n] = relu", "f32[-1] = relu"), "line 2, column 5"),
        (GOOD.replace("f32[n] = relu", "f32[n.5] = relu"), "line 2, column 9"),
        (GOOD.replace("relu(%0)", "relu(%0"), "line 2"),
        (GOOD.replace("relu(%0)", "relu(%0, a=)"), "line 2"),
        (GOOD.replace("relu(%0)", "relu(%0, a=1, a=1)"), "line 2"),
        (GOOD.replace("relu(%0)", "relu(a=1, %0)"), "line 2"),
        (GOOD.replace("relu(%0)", "relu(%0, a=1 + 2.5)"), "line 2"),
        (GOOD.replace("relu(%0)", "relu(%0, a=n // m)"), "line 2"),
        (GOOD.replace("relu(%0)", 'relu(%0, a="open)'), "line 2"),
        (GOOD.replace("relu(%0)", "relu(%0, a={return y=%0)"), "line 2"),
        (GOOD.replace("relu(%0)", 'relu(%0, a=bits("7f"))'), "line 2"),
        (GOOD.replace("relu(%0)", 'relu(%0, a=dim("a b"))'), "line 2"),
        (GOOD.replace("relu(%0)", f"relu(%0, a={'(' * 200})"), "line 2"),
        (GOOD.replace("relu(%0)", f"relu(%0, a={'-' * 200}1)"), "line 2"),
        (GOOD.replace("relu(%0)", f"relu(%0, a={'9' * 5000})"), "line 2"),
        (GOOD.replace("relu(%0)", "constant {1.0}"), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", "i8[1] = constant {300}"), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", "i8[1] = constant {1.5}"), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", "bool[1] = constant {1}"), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", "f32[2] = constant {1.0}"), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", 'f32[2] = constant base64("AAAA")'), "line 2"),
        (GOOD.replace("f32[n] = relu(%0)", 'f32[2] = constant base64("!")'), "line 2"),
        (GOOD + "more", "line 4, column 1"),
        (GOOD + "return y=%1", "line 4, column 1"),
    ],
)
def test_text_that_is_no_graph_is_refused_with_its_place(text, place):
    with pytest.raises(GraphError) as caught:
        parse_graph(text, ops.ALL)
    assert place in caught.value.where and caught.value.fix and caught.value.expected and caught.value.got


def test_what_reads_is_linted():
    with pytest.raises(GraphError, match="no op is named 'rule'"):
        parse_graph(GOOD.replace("relu", "rule"), ops.ALL)
    with pytest.raises(GraphError, match=r"(?s)states other types.*node %1 \(relu\), a.py:1"):
        parse_graph(GOOD.replace("f32[n] = relu", "f32[m] = relu"), ops.ALL)
