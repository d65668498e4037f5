"""`torchlean floats`: a number in every format, an expression in every direction, a program in each arithmetic."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from torchlean.cli import values
from torchlean.cli.columns import fitted
from torchlean.errors import UsageError

if TYPE_CHECKING:
    from torchlean.cli.floats_choices import Arithmetic

_SIGNED = re.compile(r"-(?:[0-9.(+]|inf|nan|[a-z0-9]+\()", re.IGNORECASE)
WHERE = "the command line of torchlean floats"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser._negative_number_matcher = _SIGNED  # what begins so is VALUE, no flag
    parser.add_argument(
        "value", nargs="?", metavar="VALUE",
        help="a number (0.1, 1/3, 0x1.8p+1, inf, nan) or an expression ('0.1 + 0.2 * 3', 'exp(1)')",
    )  # fmt: skip
    parser.add_argument("--bits", metavar="FORMAT", help="VALUE is a bit pattern of this format: 0x3dcccccd, 0b0101")
    parser.add_argument(
        "--format",
        help="formats, comma-separated: all of them for a number, else float32,float64,bfloat16 by default; "
        "for a program bfloat16",
    )
    parser.add_argument(
        "--rounding",
        help="directions, comma-separated: nearest, nearest-away, toward-zero, up, down, to-odd, or IEEE 754's names; "
        "all for an expression, else nearest by default",
    )
    parser.add_argument(
        "--overflow",
        choices=("saturate", "nan"),
        help="what float8_e4m3fn, which has no infinity, gives for an overflow",
    )
    parser.add_argument("--program", metavar="PROGRAM", help="a program file or an .onnx file, in each arithmetic")
    parser.add_argument("--input", help="the program's: an .npy file; one random row by default")
    parser.add_argument("--seed", type=values.seed, help="of the program's random input (default 0)")
    parser.add_argument(
        "--ulps", type=values.ulps, help="name the first node that is farther than this from float32 (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page as well")


def run(options: Any) -> int:
    _contradictions(options)
    if options.program is not None:
        return _program(options)
    from torchlean.floats.calculator import is_number

    if options.bits is not None or is_number(options.value):
        return _number(options)
    return _expression(options)


def _number(options: Any) -> int:
    from torchlean.cli import floats_choices as choices
    from torchlean.cli import floats_tables as tables
    from torchlean.floats.calculator import look, look_at_pattern, read_number

    def at(a: Arithmetic) -> Any:
        if options.bits is None:
            return look(exact, a.format, a.mode, a.rules)
        return look_at_pattern(pattern, source, a.format, a.mode, a.rules)

    if options.bits is None:
        exact = read_number(options.value)
    else:
        source = choices.format_named(options.bits, "--bits")
        pattern = choices.pattern(options.value)
    chosen = choices.arithmetics(options, every_format=True, every_direction=False)
    looks = choices.settled([(a, at(a)) for a in chosen])
    rows = [tables.of_look(a.label, found) for a, found in looks]
    title = options.value if options.bits is None else f"{options.value}, a pattern of {source}"
    if options.html is not None:
        from torchlean.report.floats import page_of_number

        page_of_number(title, looks, tables.split(rows, ("Rounding", "Neighbours"))).write(Path(options.html))
    text = [fitted(found, right=tables.NUMBERS) for _, found in tables.split(rows, tables.LOOK)]
    _print(options, {"value": title, "rows": rows}, [title, *text])
    return 0


def _expression(options: Any) -> int:
    from torchlean.cli import floats_choices as choices
    from torchlean.cli import floats_tables as tables
    from torchlean.floats.calculator import evaluate, parse, real_value

    tree = parse(options.value)
    chosen = choices.arithmetics(options, every_format=False, every_direction=True)
    outcomes = [(a, evaluate(tree, a.format, a.mode, a.rules)) for a in chosen]
    real = real_value(tree)
    exact = tables.of_real(real)
    rows = [tables.of_outcome(a.label, found, real) for a, found in outcomes]
    if options.html is not None:
        from torchlean.report.floats import page_of_expression

        page_of_expression(options.value, exact, outcomes, real, rows).write(Path(options.html))
    found = [{**row, "steps": tables.steps(o)} for row, (_, o) in zip(rows, outcomes, strict=True)]
    text = [options.value, f"over the reals: {exact}", fitted(rows, right=tables.NUMBERS)]
    _print(options, {"expression": options.value, "exact": exact, "rows": found}, text)
    return 0


def _program(options: Any) -> int:
    from torchlean.cli import floats_choices as choices
    from torchlean.cli import floats_tables as tables
    from torchlean.cli.arithmetics import evaluated, partings, side_by_side
    from torchlean.cli.programs import load, one_input
    from torchlean.meaning import SoftFloat

    limit = 1.0 if options.ulps is None else options.ulps
    chosen = choices.arithmetics(options, every_format=False, every_direction=False, default=("bfloat16",))
    program = load(options.program)
    options.batch_size, options.seed = 1, options.seed or 0
    label, inputs = one_input(program, options)
    columns = evaluated(program, inputs, [SoftFloat(a.format, a.mode, a.rules) for a in chosen], nodes=True)
    rows = side_by_side(columns, digits=12)
    apart = [tables.of_parting(p, limit) for p in partings(columns, limit)]
    title = f"{options.program} on {label}"
    if options.html is not None:
        from torchlean.report.floats import page_of_program

        page_of_program(title, rows, apart).write(Path(options.html))
    found = {"program": options.program, "input": label, "rows": rows, "partings": apart}
    _print(options, found, [title, fitted(rows), fitted(apart)])
    return 0


def _print(options: Any, found: dict[str, Any], text: Sequence[str]) -> None:
    print(json.dumps(found) if options.json else "\n\n".join(text))


def _contradictions(options: Any) -> None:
    if (options.value is None) == (options.program is None):
        _refuse("what to look at is not clear", "either VALUE or --program PROGRAM",
                "neither" if options.value is None else "both", "torchlean floats 0.1")  # fmt: skip
    if options.program is not None and options.bits is not None:
        _refuse("--bits belongs to a number", "--bits FORMAT with VALUE", "--bits with --program", "leave --bits out")
    for name in ("input", "seed", "ulps"):
        if options.program is None and getattr(options, name) is not None:
            _refuse(f"--{name} belongs to a program", f"--{name} with --program", f"--{name} with a value",
                    f"leave --{name} out")  # fmt: skip


def _refuse(what: str, expected: str, got: str, fix: str) -> NoReturn:
    raise UsageError(what, where=WHERE, expected=expected, got=got, fix=fix)
