"""The complete verifier on each example: `torchlean verify` as a whole process under a hard wall clock, then the
independent checker on its certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchlean.apps.sweep import Instance, Paths, Results, Row, Settings, sweep
from torchlean.bounds.balls import Ball
from torchlean.bounds.claim import forall, output
from torchlean.bounds.region import Box
from torchlean.files import atomic_write
from torchlean.io.decimals import decimal_text
from torchlean.io.vnnlib_write import write_vnnlib
from torchlean.verify.files import read


@dataclass(frozen=True)
class Proofs:
    """How examples are decided, and where the files go.

    folder   model.onnx, one VNN-LIB file per example and radius, and the certificates
    timeout  seconds for one example at one radius
    """

    model: bytes
    folder: Path
    timeout: float
    semantics: str = "float32"
    seed: int = 0
    jobs: int = 1

    def decide(
        self, regions: Mapping[int, Box | Ball], labels: NDArray[np.int64], classes: int, eps: Fraction
    ) -> dict[int, Row]:
        """The verifier's row of every region, by example.

        Raises   Unsupported where the checker cannot read the model, or no linear inequalities state a ball
        """
        name = decimal_text(eps)
        model = self.folder / "model.onnx"
        atomic_write(model, self.model)
        instances: dict[int, Instance] = {}
        for number, (i, region) in enumerate(regions.items(), 1):
            label = int(labels[i])
            claim = forall(region, output[label] > output.others)
            text = write_vnnlib(claim.violation(classes), f"example {i}, label {label}, eps {name}")
            path = self.folder / f"example{i}_eps{name}.vnnlib"
            atomic_write(path, text.encode())
            if number == 1:
                read(self.model, text.encode())
            instances[i] = Instance(number, model.name, path.name, (("", model),), path, self.timeout)
        if not instances:
            return {}
        settings = Settings(semantics=self.semantics, seed=self.seed, check=True)
        results = self.folder / f"eps{name}.csv"
        results.unlink(missing_ok=True)
        with Results(results) as kept:
            rows = sweep(list(instances.values()), kept, settings, Paths(None, self.folder), self.jobs)
        return dict(zip(instances, rows, strict=True))
