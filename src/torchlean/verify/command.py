"""The body of `torchlean verify`: a child decides, a parent watches the clock.

The parent does nothing but wait, so no bug, no long call into a library and no lack of memory in the child can keep it
from answering in time. The first word on standard output is the verdict.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

from torchlean.errors import Exhausted, FileError, InternalError, TorchLeanError, Unsupported, UsageError
from torchlean.frozen import frozen
from torchlean.streams import complain
from torchlean.verify.budget import OUT_OF_MEMORY, Memory, resident
from torchlean.verify.child import fork

LOOK = 0.02  # seconds between looks at the memory
GRACE = 3.0  # seconds after the limit that the child has for saying `timeout` itself


@frozen
class Cluster:
    """Tasks of a ray cluster, so many at a time; address: of a running one, None: one of this machine."""

    size: int
    address: str | None = None


@frozen
class Options:
    """What the command line gives. Paths may end in .gz, or leave it out where only the .gz exists.

    models        (name, path): one without a name, or one for each network that a query of VNN-LIB 2.0 names
    form          of the answer: "text", "json", or "standard", VNN-LIB 2.0's own
    strategy      one of `strategy.NAMES`
    assignments   a folder for the witness's tensors, in the standard form
    memory        bytes that the search and all that it starts may take
    deterministic the same files, seed and machine: the same tree and certificate bytes
    crew          what parts of a long search are dealt to
    """

    models: tuple[tuple[str, str], ...]
    property: str
    timeout: float = 60.0
    certificate: str | None = None
    semantics: str = "float32"
    seed: int = 0
    form: str = "text"
    assignments: str | None = None
    strategy: str = "auto"
    memory: int | None = None
    deterministic: bool = False
    crew: Cluster | None = None


def run_verify(options: Options) -> int:
    """Print the verdict; returns the exit code: 0 for every delivered answer, 4 where time or memory ran out."""
    if not 0 < options.timeout < math.inf:
        raise UsageError("a time limit must be positive and finite", where="--timeout", expected="seconds > 0",
                         got=str(options.timeout), fix="--timeout 60")  # fmt: skip
    start = time.monotonic()
    Memory(options.memory)  # refuses one too small before anything starts
    if not hasattr(os, "fork"):
        return _decide(options, start)
    sys.stdout.flush()
    ready, done = os.pipe()
    child = fork(done)
    if child == 0:
        os.close(ready)
        _child(options, start)
    try:
        os.close(done)
        return _watch(child, ready, start + options.timeout + GRACE, options)
    except BaseException:
        _end(child)
        raise


def _child(options: Options, start: float) -> NoReturn:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = InternalError.exit_code
    try:
        code = _decide(options, start)
    except TorchLeanError as error:
        code = error.exit_code
        complain(error)
    except MemoryError:  # before or after the search: reading the files, writing the proof
        code = _gave_up("unknown", OUT_OF_MEMORY, options.form == "standard")
    except BrokenPipeError:  # whoever reads the answer has gone
        code = 0
    except Exception as problem:
        from torchlean.files import is_full, output_is_full

        if os.environ.get("TORCHLEAN_TRACEBACK"):
            import traceback

            traceback.print_exc()
        failure: TorchLeanError = InternalError(
            "a bug in torchlean",
            where="verify",
            expected="a verdict or a clear error",
            got=f"{type(problem).__name__}: {problem}",
            fix="set TORCHLEAN_TRACEBACK=1 for the traceback and report it",
        )
        if isinstance(problem, OSError) and is_full(problem):
            failure = output_is_full(problem)
        code = failure.exit_code
        complain(failure)
    finally:
        os._exit(code)


def _watch(child: int, ready: int, end: float, options: Options) -> int:
    """Wait for the child (its end of the pipe closes when it ends), not longer than `end`, not beyond the memory."""
    standard, over = options.form == "standard", False
    while True:
        left = max(end - time.monotonic(), 0.0)
        readable, _, _ = select.select([ready], [], [], left if options.memory is None else min(left, LOOK))
        over = options.memory is not None and not readable and resident(child) > options.memory
        if readable or over or left == 0.0:
            break
    os.close(ready)
    if over:
        _end(child)
        return _gave_up("unknown", f"{OUT_OF_MEMORY}: the search took more than --memory and was ended", standard)
    if not readable:
        _end(child)
        why = "the time limit was reached; the search did not answer and was ended"
        return _gave_up("timed-out" if standard else "timeout", why, standard)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        why = "out of memory, perhaps" if number == signal.SIGKILL else signal.Signals(number).name
        return _gave_up("unknown", f"the search was ended by the system ({why})", standard)
    return os.waitstatus_to_exitcode(status)


def _gave_up(word: str, why: str, standard: bool) -> int:
    if standard:  # the word stands alone, and is an answer
        complain(why)
        print(word, flush=True)
        return 0
    print(f"{word}  {why}", flush=True)
    return Exhausted.exit_code


def _end(child: int) -> None:
    """End the child and the workers that it started."""
    for end in (os.killpg, os.kill):
        try:
            end(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        return


@contextmanager
def naming(names: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Errors that speak of "ONNX model" and the like speak of files: (words, the file's path)."""
    try:
        yield
    except (FileError, Unsupported) as error:
        where = error.where
        for words, path in names:
            where = where.replace(words, path, 1) if where.startswith(words) else where
        raise type(error)(error.what, where=where, expected=error.expected, got=error.got, fix=error.fix) from None


def _decide(options: Options, start: float) -> int:
    from torchlean.files import atomic_write_all, check_target, read_bytes
    from torchlean.verify.ahead import Ahead
    from torchlean_check.process import prepare

    prepare()
    memory = Memory(options.memory)
    memory.keep()
    reading = {name: Ahead(partial(read_bytes, path)) for name, path in options.models}
    from torchlean.io.vnnlib_version import is_query
    from torchlean.verify.clock import Deadline, Steps
    from torchlean.verify.files import verify_files

    if options.deterministic:  # read when CUDA starts: its matrix products repeat then
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    deadline = (Steps if options.deterministic else Deadline)(options.timeout, memory)
    deadline.start, deadline.end = start, start + options.timeout
    models = {name: model.result() for name, model in reading.items()}
    claim = read_bytes(options.property)
    crew = lowered = None
    if options.crew is not None:
        from torchlean.verify.ray_crew import RayCrew

        crew = RayCrew(options.crew.size, options.crew.address)
    if options.certificate:
        check_target(options.certificate)
    model = ", ".join(path for _, path in options.models)
    with naming((("ONNX model", model), ("VNN-LIB property", options.property), ("the query", options.property))):
        if is_query(claim):
            from torchlean.verify.query import verify_query

            verdict, lowered = verify_query(models, claim, options.timeout, options.semantics, options.seed,
                                            deadline=deadline, strategy=options.strategy, crew=crew)  # fmt: skip
        elif options.form == "standard" or list(models) != [""]:
            raise FileError("only a query of VNN-LIB 2.0 names networks", where=options.property,
                            expected="(vnnlib-version <2.0>) first", got="VNN-LIB 1.0, or another file",
                            fix="torchlean verify MODEL.onnx PROPERTY.vnnlib")  # fmt: skip
        else:
            verdict = verify_files(models[""], claim, options.timeout, options.semantics, options.seed,
                                   deadline=deadline, strategy=options.strategy, crew=crew)  # fmt: skip
    if verdict.certificate is not None and options.certificate:
        files: dict[str | os.PathLike[str], bytes] = {options.certificate: verdict.certificate}
        files.update(lowered.beside(options.certificate) if lowered is not None else {})
        atomic_write_all(files)
    spent = time.monotonic() - start
    if options.form == "standard":
        assert lowered is not None
        from torchlean.verify.standard import answer

        answer(verdict, lowered, options.assignments)
        return 0
    from torchlean.verify import show

    told = show.as_json if options.form == "json" else show.as_text
    print(told(verdict, options.certificate, spent, lowered), flush=True)
    return Exhausted.exit_code if verdict.exhausted else 0
