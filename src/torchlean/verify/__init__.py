"""Properties decided: attack, branch and bound, verdicts and certificates.

`tl.verify(program, property)` is this package called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchlean.callable_module import make_callable
from torchlean.lazy import lazily

if TYPE_CHECKING:
    from torchlean_check.verdict import Verdict as Checked

_HOME = {
    "Status": "torchlean.verify.verdict",
    "Verdict": "torchlean.verify.verdict",
    "Witness": "torchlean.verify.witness",
    "run_verify": "torchlean.verify.command",
    "tightest": "torchlean.verify.program",
    "verify_files": "torchlean.verify.files",
    "verify_query": "torchlean.verify.query",
}

__all__ = ["Status", "Verdict", "Witness", "check", "run_verify", "tightest", "verify", "verify_files", "verify_query"]


def verify(
    program: Any,
    claim: Any,
    timeout: float = 60.0,
    semantics: str = "float32",
    seed: int = 0,
    strategy: str = "auto",
) -> Any:
    """Whether `claim` (of `tl.forall`) holds for `program`: a Verdict.

    The program is exported first, so verdict and certificate are about the ONNX and VNN-LIB files that `verdict.save`
    writes. `strategy`: see `verify_files`.
    """
    from torchlean.verify.program import verify_program

    return verify_program(program, claim, timeout, semantics, seed, strategy)


def check(model: Any, claim: Any, certificate: Any, exact: bool = False, workers: int = 1) -> Checked:
    """What the independent checker says about three files (paths)."""
    import torchlean_check
    from torchlean.files import read_bytes

    files = (read_bytes(model), read_bytes(claim), read_bytes(certificate))
    return torchlean_check.check(*files, arithmetic="exact" if exact else "rounded", workers=workers)


__getattr__ = lazily(__name__, _HOME)
make_callable(__name__, verify)
