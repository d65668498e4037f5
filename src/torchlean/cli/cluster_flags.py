"""The flags of `--engine ray`, for every command that has it."""

from __future__ import annotations

from typing import Any

from torchlean.cli import values
from torchlean.errors import UsageError


def arguments(parser: Any, what: str, one: str) -> None:
    """what   is searched where; one: what --subtrees 1 means"""
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help=f"where {what}: processes here, or tasks of a ray cluster (extra ray)")  # fmt: skip
    parser.add_argument("--ray-address", type=values.address, metavar="HOST:PORT",
                        help="of a cluster (default: one of this machine)")  # fmt: skip
    parser.add_argument("--subtrees", type=values.count, default=1, metavar="N",
                        help=f"with --engine ray: parts of a search at a time; 1 (default): {one}")  # fmt: skip


def check(options: Any, dealt: bool) -> None:
    """Refuse flags that do not go together.   dealt: whether searches are cut into parts. Raises UsageError"""
    if options.engine != "ray":
        for flag, given, what in (
            ("--ray-address", options.ray_address is not None, "an address goes"),
            ("--subtrees", options.subtrees != 1, "parts of a search go"),
        ):
            if given:
                raise UsageError(f"{what} with --engine ray", where=flag, expected="--engine ray",
                                 got=f"--engine {options.engine}", fix="add --engine ray")  # fmt: skip
    elif dealt and options.deterministic:
        raise UsageError("parts of a search come back in any order, so its certificate does not repeat",
                         where="--deterministic", expected="a search in one piece",
                         got=f"--engine ray --subtrees {options.subtrees}",
                         fix="leave out --deterministic, or search in one piece")  # fmt: skip
