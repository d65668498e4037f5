"""`torchlean COMMAND ...`.

A command is a module with `arguments(parser)` and `run(options) -> exit code`; only the called one is imported. Exit
codes: 0 an answer was delivered; 2 usage; 3 unsupported; 4 time or memory exhausted; 5 internal.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from torchlean import __version__
from torchlean.errors import Exhausted, FileError, InternalError, TorchLeanError, UsageError
from torchlean.files import is_full, output_is_full
from torchlean.streams import complain, drop, open_closed
from torchlean_check.parent import heed_reader

HELP = partial(argparse.HelpFormatter, width=100)  # to ask for the terminal's, `argparse` loads `shutil`
COMMANDS = {
    "quickstart": "train, bound, verify and certify a network on real data",
    "verify": "prove or refute a VNN-LIB property of an ONNX network",
    "sweep": "run a list of VNN-COMP instances, resumable, with a page of results",
    "robustness": "certified accuracy of a classifier over a dataset, radius by radius",
    "import-proof": "complete another verifier's proof, leaves or bounds to a certificate",
    "check": "check a certificate with the independent checker",
    "meanings": "one program in several arithmetics, side by side",
    "floats": "a number in every format, an expression in every direction, a program in each arithmetic",
    "rounding": "bound how far each node's float32 value may be from the real one",
    "agree": "run a program on several executors and hold every difference against their promises",
    "quantize": "store a program in fewer bits, and bound its difference over a region",
    "inspect": "print a program's graph and parameters",
    "import": "ONNX to a program file",
    "export": "a program file to ONNX",
}


class Once(argparse.Action):
    """Stores a value; a flag given twice is an error, not a silent override."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given: set[str] = namespace.__dict__.setdefault("_given", set())
        if self.dest in given:
            parser.error(f"{option_string} is given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, True if self.nargs == 0 else values)


class Switch(Once):
    """A flag without a value."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, help=help)


class Parser(argparse.ArgumentParser):
    """An argument parser without abbreviations, whose errors have the five parts.

    given   the words to be parsed, as errors show them
    """

    def __init__(self, *, given: Sequence[str], **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=HELP)
        self.given = given
        self.register("action", None, Once)
        self.register("action", "store", Once)
        self.register("action", "store_true", Switch)

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            message,
            where=f"the command line of {self.prog}",
            expected=" ".join(self.format_usage().split()).removeprefix("usage: "),
            got=" ".join(self.given) or "no arguments",
            fix=f"{self.prog} --help",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Prints an error on standard error and returns its exit code."""
    return guarded("torchlean", list(sys.argv[1:] if argv is None else argv), _run)


def guarded(program: str, arguments: list[str], run: Callable[[list[str]], int]) -> int:
    """What `run` returns, or the exit code of the error that it ended with, printed on standard error."""
    open_closed()
    heed_reader()
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except TorchLeanError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:
        drop(sys.stdout)
        return 0
    except MemoryError:
        complain(
            Exhausted(
                "out of memory",
                where=" ".join([program, *arguments]),
                expected="room for the program and its arrays",
                got="a failed allocation",
                fix="use a smaller batch or a machine with more memory",
            )
        )
        return Exhausted.exit_code
    except Exception as problem:
        if os.environ.get("TORCHLEAN_TRACEBACK"):
            raise
        if isinstance(problem, OSError) and is_full(problem):
            drop(sys.stdout)
            complain(output_is_full(problem))
            return FileError.exit_code
        complain(
            InternalError(
                "a bug in torchlean",
                where=" ".join([program, *arguments]),
                expected="an answer or a clear error",
                got=f"{type(problem).__name__}: {problem}",
                fix="set TORCHLEAN_TRACEBACK=1 for the traceback and report it",
            )
        )
        return InternalError.exit_code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"torchlean {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        raise UsageError(
            "no such command", where="torchlean COMMAND", expected=", ".join(COMMANDS), got=name, fix="torchlean --help"
        )
    if name == "check":
        from torchlean_check.cli import main as check

        return int(check(arguments[1:]))
    module = importlib.import_module(f"torchlean.cli.{name.replace('-', '_')}_command")
    parser = Parser(prog=f"torchlean {name}", description=COMMANDS[name], given=arguments[1:])
    module.arguments(parser)
    options = parser.parse_args(arguments[1:])
    code: int = module.run(options)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"usage: torchlean COMMAND [OPTIONS]\n\n{lines}\n\ntorchlean COMMAND --help shows a command's options."
