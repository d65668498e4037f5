"""The table itself: every record is whole, and the page in docs shows it."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest

from torchlean import ops
from torchlean.errors import MissingRule
from torchlean.ir import EXPAND, Linear, Missing, Onnx
from torchlean.ir.op import Derived

DOCS = Path(__file__).resolve().parents[2] / "docs"
each_op = pytest.mark.parametrize("op", ops.ALL.values(), ids=lambda op: op.name)


def test_the_page_shows_the_table() -> None:
    spec = importlib.util.spec_from_file_location("op_table", DOCS / "op_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "ops.md").read_text() == module.table(), "run: python docs/op_table.py > docs/ops.md"


def test_names_are_distinct() -> None:
    assert sum(len(family.OPS) for family in ops.FAMILIES) == len(ops.ALL)


@each_op
def test_every_field_is_written(op: ops.Op) -> None:
    for field in ("type_rule", "meaning", "vjp", "batch", "interval", "relax", "rounding", "lower", "onnx"):
        rule = getattr(op, field)
        assert callable(rule) or isinstance(rule, Missing | Derived | Linear | Onnx), field
        if isinstance(rule, Missing):
            assert rule.why
            with pytest.raises(MissingRule, match=op.name):
                op.rule(field)


@each_op
def test_definitions_are_described(op: ops.Op) -> None:
    for field in ("meaning", "vjp", "batch", "relax", "rounding", "interval"):
        rule = getattr(op, field)
        if inspect.isfunction(rule) and rule.__name__ not in ("rule", "<lambda>", "no_inputs_vjp"):
            assert rule.__doc__, f"{field}: {rule.__name__}"


def test_composites_alone_are_expanded() -> None:
    for op in ops.ALL.values():
        fields = (op.vjp, op.batch, op.relax, op.rounding, op.lower, op.onnx)
        assert op.composite or all(f is not EXPAND for f in fields), op.name
