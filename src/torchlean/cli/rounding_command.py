"""`torchlean rounding PROGRAM --region ...`: how far each node's float32 value may be from the real one."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from torchlean.bounds.region import Box, box
from torchlean.cli import values
from torchlean.cli.columns import columns
from torchlean.cli.programs import load, read_array
from torchlean.errors import UsageError
from torchlean.files import atomic_write_all, check_target, find, read_bytes
from torchlean.meaning.show import outward
from torchlean.rounding.analysis import ORDERS, NodeError, Table, analyse
from torchlean.rounding.subject import LOSSES, STEPS, gradient, step
from torchlean.run.program import Program

HEAD = ("node", "op", "shape", "float32", "real", "|difference|", "ulps", "may be")
PLAIN = (".vnnlib", ".vnnlib.gz")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--region", nargs="+", metavar="NAME=LO:HI",
                        help="a range for every entry of each input (NAME=V pins it), or one .vnnlib file")  # fmt: skip
    parser.add_argument("--center", help="an .npy file: the middle of the only input's box")
    parser.add_argument("--eps", help="its radius, a decimal")
    parser.add_argument("--batch-size", type=values.count, default=1, help="rows of a symbolic batch axis (default 1)")
    parser.add_argument("--order", choices=ORDERS, default="any", help="every order of sums, or the reference's")
    parser.add_argument("--gradient", action="store_true", help="the gradient of --loss by every parameter")
    parser.add_argument("--step", choices=sorted(STEPS), help="one step of an optimizer on --loss")
    parser.add_argument("--loss", choices=sorted(LOSSES), default="mse", help="of --gradient and --step (default mse)")
    parser.add_argument("--certificate", metavar="FILE", help="write the claims that torchlean-check derives again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    if options.certificate is not None:
        check_target(options.certificate)
        if options.order != "any":
            raise _usage("a certificate speaks of every order", "--certificate with --order any", options.order,
                         "leave --order out")  # fmt: skip
    given = load(options.program)
    program = subject(given.inference() if options.step is None else given, options)
    region = region_of(program, options)
    table = analyse(program, region, options.order)
    files = written(program, region, options) if options.certificate is not None else ()
    if options.json:
        print(json.dumps({"order": table.order, "nodes": [_record(n) for n in table.nodes], "files": files}))
        return 0
    print(layout(table))
    if files:
        print("\ncertificate  " + " ".join(files))
        print(f"check        torchlean-check {' '.join(files)}")
    return 0


def subject(program: Program, options: Any) -> Program:
    """The program to analyse."""
    if options.gradient and options.step is not None:
        raise _usage("a step holds the gradient", "--gradient or --step", "both", "leave --gradient out")
    if options.gradient:
        return gradient(program, options.loss)
    return program if options.step is None else step(program, options.step, options.loss)


def region_of(program: Program, options: Any) -> dict[str, Box]:
    """The boxes that --region, or --center and --eps, give."""
    if (options.region is None) == (options.center is None) or (options.center is None) != (options.eps is None):
        raise _usage("the region is missing, or given twice", "--region, or --center with --eps",
                     "a part of them", "--region x=-1:1")  # fmt: skip
    types = program.graph.source_types("input")
    if options.center is not None:
        if len(types) != 1:
            raise _usage("--center takes a program with one input", "one input", ", ".join(types), "use --region")
        return {next(iter(types)): box(read_array(options.center), options.eps)}
    words = options.region
    if len(words) == 1 and words[0].endswith(PLAIN):
        return _from_file(program, words[0])
    found: dict[str, Box] = {}
    for word in words:
        name, sign, ends = word.rpartition("=")
        if not sign or name not in types or name in found:
            raise _usage("a region names each input once", ", ".join(f"{n}=LO:HI" for n in types), word,
                         " ".join(f"{n}=-1:1" for n in types))  # fmt: skip
        low, _, high = ends.partition(":")
        shape = tuple(s if isinstance(s, int) else options.batch_size for s in types[name].shape)
        one = box(lo=[low], hi=[high or low])
        found[name] = Box(one.lo * math.prod(shape), one.hi * math.prod(shape), shape)
    return found


def _from_file(program: Program, path: str) -> dict[str, Box]:
    from torchlean.io.vnnlib import read_vnnlib
    from torchlean.rounding.certificate import split

    regions = read_vnnlib(path).regions()
    size = sum(math.prod(s if isinstance(s, int) else 1 for s in t.shape)
               for t in program.graph.source_types("input").values())  # fmt: skip
    if len(regions) != 1 or regions[0][0].size != size:
        raise _usage("the property must state one box over all entries of the inputs", f"one box of {size}",
                     ", ".join(f"a box of {b.size}" for b, _ in regions), "--region NAME=LO:HI")  # fmt: skip
    return split(regions[0][0], program)


def written(program: Program, region: dict[str, Box], options: Any) -> tuple[str, ...]:
    """Writes the certificate, and the model and the region where they are not files already; the three paths."""
    from torchlean.rounding.certificate import certify

    plain = not options.gradient and options.step is None and options.batch_size == 1
    own_model = plain and options.program.endswith((".onnx", ".onnx.gz"))
    own_region = options.region is not None and options.region[0].endswith(PLAIN)
    target = Path(options.certificate)
    model = find(options.program) if own_model else str(target.with_suffix(".onnx"))
    text = find(options.region[0]) if own_region else str(target.with_suffix(".vnnlib"))
    made = certify(program, region, read_bytes(model) if own_model else None, read_bytes(text) if own_region else None)
    atomic_write_all(
        {options.certificate: made.certificate}
        | ({} if own_model else {model: made.model})
        | ({} if own_region else {text: made.region})
    )
    return model, text, options.certificate


def layout(table: Table) -> str:
    """One line a value; parameters and constants are left out."""
    rows = [_cells(n) for n in table.nodes if n.op not in ("parameter", "state", "constant")]
    return columns(HEAD, rows, right=("|difference|", "ulps"))


def _cells(n: NodeError) -> list[str]:
    def pair(ends: tuple[float, float]) -> str:
        return f"[{outward(ends[0], 6, down=True)}, {outward(ends[1], 6)}]"

    flags = [word for word, on in (("inf", n.overflow), ("nan", n.nan), ("undefined", n.undefined)) if on]
    label = f"%{n.number}" + (f" {n.name}" if n.name else "")
    shape = f"{n.dtype}[{', '.join(map(str, n.shape))}]"
    return [label, n.op, shape, pair(n.computed), pair(n.real), outward(n.difference, 3), outward(n.ulps, 3),
            ", ".join(flags)]  # fmt: skip


def _record(n: NodeError) -> dict[str, Any]:
    """JSON has no infinities: they are text, as are all numbers, in the shortest decimal that reads back."""
    return {
        "node": n.number, "op": n.op, "name": n.name, "where": n.where, "shape": list(n.shape), "dtype": n.dtype,
        "float": [repr(v) for v in n.computed], "real": [repr(v) for v in n.real], "difference": repr(n.difference),
        "ulps": repr(n.ulps), "overflow": n.overflow, "nan": n.nan, "undefined": n.undefined,
    }  # fmt: skip


def _usage(what: str, expected: str, got: str, fix: str) -> UsageError:
    return UsageError(what, where="torchlean rounding", expected=expected, got=got, fix=fix)
