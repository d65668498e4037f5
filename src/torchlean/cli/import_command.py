"""`torchlean import MODEL.onnx PROGRAM`: an ONNX file as a program file."""

from __future__ import annotations

import argparse
from typing import Any

from torchlean.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an ONNX file, plain or gzip", metavar="MODEL.onnx")
    parser.add_argument("program", help="the program file to write", metavar="PROGRAM")


def run(options: Any) -> int:
    from torchlean.io.onnx import read_onnx

    if options.program.endswith((".onnx", ".onnx.gz")):
        raise UsageError(
            "the second file is to be a program file, not ONNX",
            where="PROGRAM",
            expected="a name that does not end in .onnx",
            got=options.program,
            fix="torchlean import model.onnx model.tl; torchlean export writes ONNX",
        )
    program = read_onnx(options.model)
    program.save(options.program)
    nodes = sum(1 for n in program.graph.nodes if n.inputs)
    print(f"{options.program}  {nodes} nodes, {len(program.parameters)} parameters")
    return 0
