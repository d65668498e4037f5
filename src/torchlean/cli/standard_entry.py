"""`torchlean-vnnlib`: the command line that VNN-LIB 2.0 prescribes for solvers.

    torchlean-vnnlib --name | --version
    torchlean-vnnlib verify QUERY --network NAME=FILE ... [--timeout S] [--serialise-assignments DIR]
    torchlean-vnnlib supports --CAPABILITY

The first line on standard output is sat, unsat, unknown or timed-out; then, for sat, the tensors. Exit codes are those
of `torchlean`, with 0 for each of these words.

Source   VNN-LIB 2.0, chapter "Solver command-line interface"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from torchlean import __version__
from torchlean.cli import values
from torchlean.cli.main import Parser, guarded
from torchlean.cli.terminable import terminable
from torchlean.errors import UsageError

PROGRAM = "torchlean-vnnlib"
COMMANDS = ("verify", "supports", "capabilities")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the standard."""
    return guarded(PROGRAM, list(sys.argv[1:] if argv is None else argv), _run)


def _run(arguments: list[str]) -> int:
    match arguments:
        case ["--name"]:
            print("TorchLean")
            return 0
        case ["--version"]:
            print(__version__)
            return 0
        case ["verify", *rest]:
            return _verify(rest)
        case ["supports" | "capabilities", *rest]:
            return _supports(rest)
        case ["-h" | "--help"]:
            print((__doc__ or "").strip())
            return 0
    raise UsageError("no such command", where=PROGRAM, expected=f"--name, --version, {', '.join(COMMANDS)}",
                     got=" ".join(arguments) or "no arguments", fix=f"{PROGRAM} --help")  # fmt: skip


def _verify(arguments: list[str]) -> int:
    from torchlean.verify.command import Options, run_verify

    parser = Parser(prog=f"{PROGRAM} verify", given=arguments, description="decide a query of VNN-LIB 2.0")
    parser.add_argument("query", help="VNN-LIB 2.0 file, plain or gzipped")
    parser.add_argument("--network", action="append", default=[], metavar="NAME=FILE",
                        help="the ONNX file of a declared network; once for each")  # fmt: skip
    parser.add_argument("--timeout", type=values.seconds, default=60.0, help="seconds of wall clock (60)")
    parser.add_argument("--serialise-assignments", "--assignments", dest="assignments", metavar="DIR",
                        help="write a witness's tensors as TensorProto files")  # fmt: skip
    parser.add_argument("--certificate", metavar="FILE", help="where to write the proof of an unsat answer")
    parser.add_argument("--seed", type=values.seed, default=0, help="of the attack's random starts")
    options = parser.parse_args(arguments)
    networks: list[tuple[str, str]] = []
    for text in options.network:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in dict(networks):
            raise UsageError("a network is a name and a file, each name once", where="--network",
                             expected="NAME=FILE", got=text, fix="--network f=model.onnx")  # fmt: skip
        networks.append((name, path))
    if not networks:
        raise UsageError("no network is given", where="--network", expected="NAME=FILE for each network of the query",
                         got="none", fix="--network f=model.onnx")  # fmt: skip
    asked = Options(tuple(networks), options.query, options.timeout, options.certificate, "float32", options.seed,
                    "standard", options.assignments)  # fmt: skip
    with terminable():
        return run_verify(asked)


def _supports(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in CAPABILITIES:
        raise UsageError("no such capability", where=f"{PROGRAM} supports", expected=", ".join(CAPABILITIES),
                         got=" ".join(arguments) or "none", fix="ask for one of these")  # fmt: skip
    print("\n".join(CAPABILITIES[arguments[0]]()))
    return 0


def _opsets() -> list[str]:
    from torchlean_check.onnx_reader import MAX_OPSET, MIN_OPSET

    return [str(MIN_OPSET), str(MAX_OPSET)]


def _operators() -> list[str]:
    """What certificates may be about: the checker's operators."""
    from torchlean_check.onnx_reader import operators

    return operators()


def _always(*lines: str) -> Callable[[], list[str]]:
    return lambda: list(lines)


CAPABILITIES: dict[str, Callable[[], list[str]]] = {
    "--onnx-opset-versions": _opsets,
    "--onnx-element-types": _always("float32", "real"),
    "--onnx-operators": _operators,
    "--vnnlib-versions": _always("2.0", "2.0"),
    "--hidden-node-theories": _always("NH", "H"),
    "--multiple-input-output-theories": _always("SIO", "MIO"),
    "--multiple-network-theories": _always("SNET", "MENET", "MINET", "MNET"),
    "--multiple-node-comparison-theories": _always("SNC", "MNC"),
    "--arithmetic-complexity-theories": _always("BND", "OUTC", "LIN"),
    "--optimised-disjunctive-reasoning": _always("false"),
    "--serialise-assignments": _always("true"),
    "--unsat-proofs": _always("false"),  # certificates are of another form than the standard's proofs
}
