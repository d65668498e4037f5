"""docs/certificate.md shows calls as they are: every name exists, and takes what is given."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import torchlean_check as tc

TEXT = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text()
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.M | re.S))
HOMES = {"tc": tc, "kernel": tc.Kernel, "state": tc.State, "builder": tc.TreeBuilder}
CALLS = [n for n in ast.walk(ast.parse(CODE)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]


@pytest.mark.parametrize("call", CALLS, ids=ast.unparse)
def test_calls(call):
    name = ast.unparse(call.func)
    own = () if name.startswith("tc.") else ("self",)
    inspect.signature(eval(name, dict(HOMES))).bind_partial(*own, *call.args, **{k.arg: k.value for k in call.keywords})


@pytest.mark.parametrize(("name", "kind"), [("outcome", tc.Replay), ("verdict", tc.Verdict)])
def test_results(name, kind):
    read = set(re.findall(rf"\b{name}\.(\w+)", CODE))
    assert read and read <= set(inspect.signature(kind).parameters)
