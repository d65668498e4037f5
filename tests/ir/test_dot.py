"""The drawing: a box per node, an edge per value that is read, and text that GraphViz reads."""

import re

from torchlean.ir.dot import format_dot

STRING = r'"(?:[^"\\]|\\.)*"'
LINE = re.compile(
    rf"(digraph {STRING} \{{|  rankdir=TB;.*|  \w+ \[\w+={STRING}(, \w+=(\w+|{STRING}))*\];"
    rf"|  \w+ -> \w+ \[label={STRING}(, headlabel={STRING})?\];|\}})"
)


def test_every_node_and_edge_is_drawn(small):
    lines = format_dot(small).splitlines()
    assert sum(" -> " in line for line in lines) == sum(len(n.inputs) for n in small.nodes) + 1
    assert '  n2 [label="matmul", shape=box, tooltip="model.py:8"];' in lines
    assert '  n1 -> n2 [label="f32[4, 2]", headlabel="1"];' in lines
    assert '  n5 -> output0 [label="f32[batch, 2]"];' in lines


def test_odd_names_and_lines_are_quoted(graph):
    for line in format_dot(graph, title='a "title" \\').splitlines():
        assert LINE.fullmatch(line), line
