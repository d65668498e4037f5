"""`torchlean export PROGRAM MODEL.onnx`: a program file as ONNX."""

from __future__ import annotations

import argparse
from typing import Any

from torchlean.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", help="a program file or an .onnx file", metavar="PROGRAM")
    parser.add_argument("model", help="the ONNX file to write", metavar="MODEL.onnx")


def run(options: Any) -> int:
    from torchlean.cli.programs import load
    from torchlean.io.onnx import write_onnx

    if not options.model.endswith(".onnx"):
        raise UsageError(
            "the second file is to be ONNX",
            where="MODEL.onnx",
            expected="a name that ends in .onnx",
            got=options.model,
            fix="torchlean export program.tl model.onnx",
        )
    raw = write_onnx(load(options.program).inference(), options.model)
    print(f"{options.model}  {len(raw)} bytes")
    return 0
