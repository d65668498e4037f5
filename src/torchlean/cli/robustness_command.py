"""`torchlean robustness PROGRAM DATA`: certified accuracy, radius by radius."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torchlean.cli import values
from torchlean.streams import complain


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a classifier up to its logits: ONNX, plain or gzipped, or a program file")
    parser.add_argument("data", help=".npz with x (or X, images) and y (or Y, labels); else CSV")
    parser.add_argument("--eps", required=True, type=values.radii, help="radii, 0.01,0.02,...", metavar="E,E,...")
    parser.add_argument("--norm", default="inf", choices=("inf", "2", "1"), help="of the radii (default inf)")
    parser.add_argument("--count", type=values.count, help="the first N examples (default: all)", metavar="N")
    parser.add_argument("--scale", type=values.positive, default="1", help="divide the data by this (255 for pixels)")
    parser.add_argument("--domain", type=values.domain, help="cut each region with it (default: none)", metavar="LO,HI")
    parser.add_argument("--target", default="label", help="the label's column in CSV (default label)")
    parser.add_argument("--method", choices=("complete", "crown", "ibp"), default="complete")
    parser.add_argument("--semantics", choices=("float32", "real"), default="float32")
    parser.add_argument("--timeout", type=values.seconds, default=60.0,
                        help="seconds of wall clock for one example at one radius (60)")  # fmt: skip
    parser.add_argument("--jobs", type=values.count, default=1, help="proofs at a time (default 1)")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the attacks (default 0)")
    parser.add_argument("--certificates", help="folder for the model, claims and proofs", metavar="DIR")
    parser.add_argument("--html", help="a page: table, plot, open examples", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object, example by example")


def run(options: Any) -> int:
    """Measure and print; progress goes to standard error."""
    from torchlean.apps import robustness as app
    from torchlean.cli.columns import columns
    from torchlean.cli.programs import load
    from torchlean.cli.terminable import terminable
    from torchlean.files import check_target, make_folder

    if options.html:
        from torchlean.report import plots

        plots.require()
        check_target(options.html)
    settings = app.Settings(options.eps, options.domain, options.method, options.semantics, options.seed,
                            norm=options.norm)  # fmt: skip
    program = load(options.program)
    examples = app.read_examples(options.data, program, options.count, options.scale, options.target)

    with ExitStack() as stack:
        proofs = None
        if options.method == "complete":
            stack.enter_context(terminable())
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="torchlean-robustness-"))
            folder = make_folder(options.certificates or scratch)
            proofs = app.Proofs(_model(options.program, program), folder, options.timeout, options.semantics,
                                options.seed, options.jobs)  # fmt: skip
        measured = app.measure(program, examples, settings, proofs, complain)
    notes, rows, open_ = _notes(options, len(examples)), app.rows(measured), app.open_examples(measured)
    if options.html:
        from torchlean.report.robustness import page

        made = page(f"Robustness of {options.program}", notes, app.HEAD, rows, app.BASIS, open_)
        made.write(Path(options.html))
    if options.json:
        print(json.dumps({"program": options.program, "data": options.data, "scale": str(options.scale),
                          **app.as_json(measured)}))  # fmt: skip
        return 0
    print("\n".join(notes))
    print()
    print(columns(app.HEAD, rows, right=app.HEAD))
    print()
    print("\n".join(f"{name:9} {basis}" for name, basis in app.BASIS))
    for eps, i, why in open_:
        print(f"open      example {i} at {eps}: {why}")
    return 0


def _model(path: str, program: Any) -> bytes:
    """The ONNX bytes that the proofs are about: the file's own, or the program's export."""
    if path.endswith((".onnx", ".onnx.gz")):
        from torchlean.files import read_bytes

        return read_bytes(path)
    from torchlean.verify.program import exported

    return exported(program)[0]


def _notes(options: Any, count: int) -> list[str]:
    """What the table is about, in words."""
    scaled = "as they stand" if options.scale == 1 else f"divided by {float(options.scale):g}, rounded to float32"
    domain = options.domain and ", ".join(f"{float(end):g}" for end in options.domain)
    cut = f"cut with [{domain}]" if domain else "not cut"
    around = "boxes     |x - example| <= eps in each of the program's inputs"
    if options.norm != "inf":
        around = f"balls     |x - example|_{options.norm} <= eps over the program's inputs"
    said = "of every float32 execution" if options.semantics == "float32" else "of the real function"
    return [f"examples  the first {count} of {options.data}, {scaled}",
            f"{around}, {cut}",
            f"claims    {said}"]  # fmt: skip
