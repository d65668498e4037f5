"""onnxruntime's output at one point, from a process of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchlean.verify import child

if TYPE_CHECKING:
    from torchlean_check.gzipped import Bytes

F32 = NDArray[np.float32]


class Runtime:
    """Runs a model at a point with onnxruntime's CPU provider, without graph rewriting.

    The process starts at once, and loads while the caller does something else; where onnxruntime is missing, refuses
    the model or crashes, there is no output, and nothing else happens.

    Shapes   x: [n], as many numbers as the model's input has; a symbolic axis is 1
    """

    def __init__(self, model: Bytes, x: F32) -> None:
        self._answer: F32 | None = None
        self._process = self._pipe = 0
        if not hasattr(os, "fork"):
            with suppress(Exception):
                self._answer = run(model, x)
            return
        self._pipe, theirs = os.pipe()
        self._process = child.fork(theirs)
        if self._process == 0:
            try:
                os.close(self._pipe)
                silence = os.open(os.devnull, os.O_WRONLY)  # its advice about the file is no part of the answer
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                with open(theirs, "wb") as pipe:
                    pipe.write(run(model, x).tobytes())
            finally:
                os._exit(0)
        os.close(theirs)

    def output(self) -> F32 | None:
        """What it computed, or None. Waits for it.   Shapes  -> [m]"""
        if self._pipe:
            try:
                with open(self._pipe, "rb", closefd=False) as pipe:
                    found = pipe.read()
            finally:
                self.end()
            self._answer = np.frombuffer(found, np.float32) if found else None
        return self._answer

    def end(self) -> None:
        """End the process, if it still runs."""
        if self._pipe:
            os.close(self._pipe)
            child.end(self._process)
        self._pipe = 0


def run(model: Bytes, x: F32) -> F32:
    """In this process. Raises what onnxruntime does, and ImportError where there is none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    sizes = [d if isinstance(d, int) else 1 for d in wanted.shape]
    (y,) = session.run(None, {wanted.name: x.reshape(sizes)})
    return np.asarray(y, np.float32).ravel()
