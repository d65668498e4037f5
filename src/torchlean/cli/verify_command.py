"""`torchlean verify MODEL PROPERTY`: the first word printed is the verdict."""

from __future__ import annotations

from typing import Any

from torchlean.cli import cluster_flags, values
from torchlean.cli.terminable import terminable
from torchlean.io.networks import parse_networks
from torchlean.verify.command import Cluster, Options, run_verify
from torchlean.verify.strategy import NAMES


def arguments(parser: Any) -> None:
    """Its flags."""
    parser.add_argument("model", help="ONNX file, plain or gzipped; [('f', 'f.onnx'), ...] for named networks")
    parser.add_argument("property", help="VNN-LIB file, 1.0 or 2.0, plain or gzipped")
    parser.add_argument("--timeout", type=values.seconds, default=60.0, help="seconds of wall clock (60)")
    parser.add_argument("--certificate", help="where to write the proof of an unsat verdict")
    parser.add_argument("--semantics", choices=("float32", "real"), default="float32")
    parser.add_argument("--strategy", choices=NAMES, default="auto",
                        help="what is split; auto chooses, and the answer says which and why")  # fmt: skip
    parser.add_argument("--seed", type=values.seed, default=0, help="of the attack's random starts")
    parser.add_argument("--memory", type=values.memory, help="budget, 4GB: kept to, by smaller batches", metavar="SIZE")
    parser.add_argument("--deterministic", action="store_true", help="same seed and machine: same certificate bytes")
    cluster_flags.arguments(parser, "parts of a long search run", "one after the other")
    parser.add_argument("--json", action="store_true", help="one machine-readable line")


def run(options: Any) -> int:
    """Decide and print; returns the exit code."""
    cluster_flags.check(options, dealt=True)
    crew = Cluster(options.subtrees, options.ray_address) if options.engine == "ray" else None
    asked = Options(parse_networks(options.model, "MODEL"), options.property, options.timeout, options.certificate,
                    options.semantics, options.seed, "json" if options.json else "text", strategy=options.strategy,
                    memory=options.memory, deterministic=options.deterministic, crew=crew)  # fmt: skip
    with terminable():
        return run_verify(asked)
