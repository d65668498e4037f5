"""`torchlean quantize PROGRAM --weights int8 --out FILE`: a program in fewer bits, and how far it is from the first."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentTypeError
from typing import Any

import numpy as np

from torchlean.cli.columns import columns
from torchlean.cli.programs import load, read_array
from torchlean.errors import UsageError
from torchlean.run.program import Program

FORMATS = ("none", "int8", "int4", "f16", "bf16", "f8e4m3", "f8e5m2")
METHODS = ("minmax", "percentile", "mse")
NUMBERS = ("elements", "bits", "bytes", "bits packed", "least", "largest", "worst step", "difference")


def radius(text: str) -> str:
    """A decimal of at least 0, read exactly."""
    from torchlean.bounds.exact import exact
    from torchlean.errors import TorchLeanError

    try:
        if exact(text, "--radius") >= 0:
            return text
    except TorchLeanError:
        pass
    raise ArgumentTypeError(f"expected a decimal of at least 0, got {text!r}")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("--weights", choices=FORMATS, default="int8", help="how weights are stored (default int8)")
    parser.add_argument("--activations", choices=FORMATS, default="none", help="how activations are rounded")
    parser.add_argument("--calibration", help="an .npy file of inputs, for int8 and int4 activations")
    parser.add_argument("--method", choices=METHODS, default="minmax", help="of calibration (default minmax)")
    parser.add_argument("--overflow", choices=("saturate", "ieee"), help="of f16, bf16, f8e4m3, f8e5m2")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for each weight, not for each channel")
    parser.add_argument("--region", help="an .npy file of one input: the centre of a box to bound the difference over")
    parser.add_argument("--radius", type=radius, help="of that box, a decimal (default 0: the point itself)")
    parser.add_argument("--out", help="where to write the quantized program: a program file, or .onnx")
    parser.add_argument("--report", action="store_true", help="every parameter, and with --region every node")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Any) -> int:
    from torchlean.quant import quantize_program, stored

    if options.radius is not None and options.region is None:
        raise UsageError("a radius needs a centre", where="--radius", expected="--region x.npy --radius R",
                         got=f"--radius {options.radius}", fix="name the centre with --region")  # fmt: skip
    program = load(options.program)
    data = None if options.calibration is None else _rows(program, options.calibration)
    made = quantize_program(
        program, options.weights, options.activations, calibration_data=data, per_channel=not options.per_tensor,
        method=options.method, overflow=options.overflow,
    )  # fmt: skip
    answer: dict[str, Any] = {"before": _size(program), "after": _size(made)}
    if options.report or options.json:
        answer["parameters"] = [
            {"name": s.name, "type": s.type, "elements": s.elements, "bits": s.bits, "bytes": s.bytes}
            for s in stored(made)
        ]
    if options.region is not None:
        answer.update(_difference(program, made, options))
    if options.out is not None:
        _write(made, options.out)
    print(json.dumps(answer) if options.json else _text(answer, options))
    return 0


def _rows(program: Program, path: str) -> np.ndarray:
    """Inputs as the program takes them: float64 is rounded once."""
    array, dtype = read_array(path), program.input_type.dtype
    return array.astype(dtype.numpy) if array.dtype.kind == "f" and dtype.kind == "float" else array


def _size(program: Program) -> dict[str, int]:
    from torchlean.quant import stored

    rows = stored(program)
    return {"bytes": sum(s.bytes for s in rows), "packed": sum(s.packed for s in rows)}


def _difference(program: Program, made: Program, options: Any) -> dict[str, Any]:
    from torchlean.bounds.region import box
    from torchlean.quant import difference

    centre = _rows(program, options.region)
    found = difference(program, made, box(centre, options.radius or 0))
    steps = [
        {"node": s.number, "op": s.op, "least": s.value[0], "largest": s.value[1], "worst step": s.noise,
         "difference": s.difference, "where": s.where}
        for s in found.steps
    ]  # fmt: skip
    return {"difference": found.largest, "semantics": found.semantics, "nodes": steps}


def _write(program: Program, path: str) -> None:
    if path.endswith(".onnx"):
        from torchlean.io.onnx import write_onnx

        write_onnx(program, path)
    else:
        program.save(path)


def _text(answer: dict[str, Any], options: Any) -> str:
    before, after = answer["before"], answer["after"]
    packed = "" if after["packed"] == after["bytes"] else f" ({after['packed']} with four bits a code)"
    lines = [f"weights {options.weights}, activations {options.activations}",
             f"parameters  {before['bytes']} bytes -> {after['bytes']} bytes{packed}"]  # fmt: skip
    if "difference" in answer:
        bound = _up(answer["difference"])
        lines.append(f"difference  at most {bound} in any output, for every float32 execution of both")
    if options.out is not None:
        lines.append(f"written     {options.out}")
    for part in ("parameters", "nodes") if options.report else ():
        rows = answer.get(part, [])
        if rows:
            text = [[_outward(name, v) for name, v in row.items()] for row in rows]
            lines += ["", columns(list(rows[0]), text, right=NUMBERS)]
    return "\n".join(lines)


def _outward(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{-float(_up(-value)):.3e}" if name == "least" else _up(value)


def _up(value: float) -> str:
    """Four digits, rounded upward: what is printed is as true as what was proved."""
    if not np.isfinite(value) or value == 0:
        return str(value)
    text, moved = f"{value:.3e}", value
    while float(text) < value:
        moved += abs(value) * 1e-4
        text = f"{moved:.3e}"
    return text


__all__ = ["arguments", "run"]
