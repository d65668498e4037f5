"""torchlean-check MODEL PROPERTY CERTIFICATE: the first word on standard output is the verdict."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import NoReturn

from torchlean_check.magic import ROUNDING
from torchlean_check.parent import heed_reader
from torchlean_check.process import prepare, processors

CODES = {"valid": 0, "holey": 3, "invalid": 4}
GONE, INTERNAL = 141, 5
HELP = partial(argparse.HelpFormatter, width=100)  # to ask for the terminal's, `argparse` loads `shutil`
CLAIMS = {
    "float32": "holds for every float32 execution (any order of sums, with or without FMA; not Winograd, FFT, "
    "Strassen, TF32, bf16 splitting or rewritten graphs)",
    "real": "holds over the real numbers only",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors have the five parts, and end with exit code 2.

    given   the words to be parsed
    """

    given = ""

    def error(self, message: str) -> NoReturn:
        from torchlean_check.errors import CheckError

        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        _complain(
            CheckError(message, where="the command line", expected=usage, got=self.given, fix=f"{self.prog} --help")
        )
        sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 valid, 3 holey, 4 invalid, 2 usage, 5 a worker process failed."""
    parser = Parser(
        prog="torchlean-check",
        allow_abbrev=False,
        formatter_class=HELP,
        description="Check a certificate against its ONNX and VNN-LIB files.",
    )
    parser.add_argument("model", help="ONNX file, plain or gzip; NAME may stand as NAME.gz")
    parser.add_argument("property", help="VNN-LIB file, the same")
    parser.add_argument("certificate", help="certificate file")
    parser.add_argument(
        "--exact", action="store_true", help="error-free products: the same verdict on every machine, slower"
    )
    usual = min(2, processors())
    parser.add_argument(
        "--workers", type=int, default=usual, metavar="N", help=f"processes for large trees (default here {usual})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.given = " ".join(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(argv)
    if not 1 <= options.workers <= 256:
        parser.error(f"--workers must be from 1 to 256, not {options.workers}")
    prepare()
    from torchlean_check.errors import CheckError, WorkerError

    files = []
    for path in (options.model, options.property, options.certificate):
        compressed = f"{path}.gz"
        try:
            with open(compressed if not os.path.exists(path) and os.path.isfile(compressed) else path, "rb") as file:
                files.append(file.read())
        except OSError as error:
            _complain(
                CheckError(
                    "the file cannot be read",
                    where=path,
                    expected="a readable file",
                    got=error.strerror or str(error),
                    fix="check the path and its permissions",
                )
            )
            sys.exit(2)
    begin = time.monotonic()
    model, claim, certificate = files
    if certificate.startswith(ROUNDING):
        return _rounding(model, claim, certificate, options)
    from torchlean_check.verdict import check

    try:
        verdict = check(
            model, claim, certificate, arithmetic="exact" if options.exact else "rounded", workers=options.workers
        )
    except WorkerError as error:
        _complain(error)
        return INTERNAL
    except CheckError as error:
        print(
            json.dumps({"status": "invalid", "error": str(error)})
            if options.json
            else "invalid      a file was refused"
        )
        _complain(error)
        return CODES["invalid"]
    seconds = time.monotonic() - begin
    if options.json:
        print(json.dumps({**asdict(verdict), "seconds": round(seconds, 3)}))
    else:
        print(f"{verdict}    {seconds:.1f} s")
        if verdict.status != "invalid":
            print(f"{'claim':<13}{CLAIMS[verdict.semantics]}")
        print(
            f"{'semantics':<13}{verdict.semantics}, tolerance table {verdict.table}, {verdict.arithmetic} arithmetic, "
            f"rules {', '.join(verdict.rules)}"
        )
        print(f"{'certificate':<13}sha256 {verdict.hash}")
        for line in verdict.where:
            print(f"{'':<13}{line}")
    return CODES[verdict.status]


def _rounding(model: bytes, region: bytes, certificate: bytes, options: argparse.Namespace) -> int:
    """A certificate of a rounding analysis: its file's first bytes say so. It has no trees, so no workers either."""
    from torchlean_check.errors import CheckError
    from torchlean_check.rounding_verdict import check_rounding

    try:
        verdict = check_rounding(model, region, certificate)
    except CheckError as error:
        refused = json.dumps({"status": "invalid", "error": str(error)})
        print(refused if options.json else "invalid      a file was refused")
        _complain(error)
        return CODES["invalid"]
    if options.json:
        print(json.dumps(asdict(verdict)))
        return CODES[verdict.status]
    print(verdict)
    if verdict.status == "valid":
        print(f"{'claim':<13}every float32 execution of every claimed value is that near to the real one")
    print(f"{'semantics':<13}{verdict.semantics}, tolerance table {verdict.table}, rules {', '.join(verdict.rules)}")
    print(f"{'certificate':<13}sha256 {verdict.hash}")
    for line in verdict.where:
        print(f"{'':<13}{line}")
    return CODES[verdict.status]


def _complain(error: Exception) -> None:
    """Print on standard error; where that is closed, full or without a reader, the exit code alone tells."""
    if sys.stderr is not None:  # `print` would take standard output in its place
        with suppress(OSError):
            print(error, file=sys.stderr, flush=True)


def entry() -> NoReturn:
    """`main` as a process, which ends at once: taking numpy down takes a tenth of a short check.

    Where its answer was not taken, it never ends with the exit code of a verdict: as by SIGPIPE where the reader has
    gone, else as for a file that cannot be written.
    """
    heed_reader()
    try:
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = GONE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        from torchlean_check.errors import CheckError

        code = 2
        _complain(
            CheckError(
                "the answer cannot be written",
                where="standard output",
                expected="room for it",
                got=str(error.strerror),
                fix="free some space, or send the output elsewhere",
            )
        )
    os._exit(code)
