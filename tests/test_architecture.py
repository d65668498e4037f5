"""The house keeps its shape: imports point one way, and the front door is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
CHECKER_MAY = {"numpy", "flint"}

# A package imports its own layer's row only where it stands in `WITHIN`, and otherwise earlier rows.
LAYERS = (
    ("errors", "lazy", "frozen", "files", "streams", "floats", "callable_module"),
    ("ir",),
    ("ops",),
    ("meaning",),
    ("passes", "grad"),
    ("run",),
    ("bounds",),
    ("nn", "optim", "data", "io"),
    ("models", "train", "verify"),
    ("rounding",),
    ("quant",),
    ("apps", "report"),
    ("cli",),
)
WITHIN = {("files", "errors"), ("floats", "errors"), ("floats", "lazy"), ("floats", "frozen"), ("grad", "passes")}
CHECKER_READERS = {"frozen", "files", "verify", "rounding", "io", "apps", "report", "cli"}  # may import torchlean_check
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def modules(package):
    return sorted((SRC / package).rglob("*.py"))


def imports(path):
    """(module, line) of every import, those inside functions too; not those under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(), str(path))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    parent = path.relative_to(SRC).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parent[: len(parent) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module == "torchlean":  # `from torchlean import ops` imports torchlean.ops
                yield from ((f"torchlean.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def room(module):
    """The layer's name of `torchlean.ROOM...`."""
    return module.split(".")[1] if "." in module else ""


def may_import(importer, imported):
    if importer == imported:
        return True
    return RANK[imported] < RANK[importer] or (importer, imported) in WITHIN


@pytest.mark.parametrize("path", modules("torchlean"), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_one_way(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    importer = parts[1]
    if importer in ("__init__", "__main__"):
        return  # the front door imports from every room
    assert importer in RANK, f"{importer} stands in no layer: add it to LAYERS and to the documentation"
    for module, line in imports(path):
        where = f"{path.relative_to(SRC)}:{line} imports {module}"
        if module.split(".")[0] == "torchlean_check":
            assert importer in CHECKER_READERS, where
        elif module.split(".")[0] == "torchlean":
            if room(module) == "__version__":
                continue
            if module == "torchlean":  # the front door: for those who use the package as its users do
                assert importer in ("apps", "report", "cli"), where
                continue
            assert room(module) in RANK, f"{where}: not a layer"
            assert may_import(importer, room(module)), f"{where}: it points the wrong way"


@pytest.mark.parametrize("path", modules("torchlean_check"), ids=lambda p: str(p.relative_to(SRC)))
def test_the_checker_stands_alone(path):
    for module, line in imports(path):
        top = module.split(".")[0]
        allowed = top == "torchlean_check" or top in CHECKER_MAY or top in sys.stdlib_module_names
        assert allowed, f"{path.relative_to(SRC)}:{line} imports {module}"


def test_every_layer_points_only_down():
    assert may_import("ops", "ir") and may_import("cli", "errors") and may_import("ir", "ir")
    assert not may_import("ir", "ops") and not may_import("grad", "run") and not may_import("passes", "grad")
    assert all(RANK[a] == RANK[b] for a, b in WITHIN)
    assert not any((b, a) in WITHIN for a, b in WITHIN)


def loaded_by(statement, *names):
    code = f"import sys\n{statement}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}} & {set(names)!r}))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SRC)}
    )
    return run.stdout.split()


def test_importing_the_package_loads_no_heavy_library():
    assert loaded_by("import torchlean", "torch", "onnx", "onnxruntime", "matplotlib", "flint") == []


@pytest.mark.parametrize("name", ["ir", "ops", "passes"])
def test_the_program_s_form_needs_no_heavy_library(name):
    assert loaded_by(f"import torchlean.{name}", "torch", "onnx", "matplotlib") == []


def test_importing_the_checker_loads_nothing_of_the_rest():
    assert loaded_by("import torchlean_check", "torchlean", "torch", "onnx", "matplotlib") == []


def test_reading_properties_does_not_load_the_ops():
    code = "import sys, torchlean.bounds.property\nprint('torchlean.ops' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SRC)}
    )
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["ops", "io.onnx", "meaning.interval_system", "run.execute"])
def test_replaying_a_witness_needs_no_arbitrary_precision(name):
    assert loaded_by(f"import torchlean.{name}", "flint") == []
