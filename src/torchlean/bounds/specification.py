"""Linear forms of an output, bounded as one: y[3] - y[5] is often far from 0 where y[3] and y[5] overlap.

Source   Xu et al. 2020, arXiv:2002.12920: the matrix that LiRPA libraries call C
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchlean.errors import ShapeError

if TYPE_CHECKING:
    from torchlean.run.program import Program


def margins(labels: Any, classes: int) -> NDArray[np.float32]:
    """C whose rows are y[label] - y[j], over j != label in order: all positive where the class is `label`.

    Shapes   labels: whole numbers [B] -> [B, classes - 1, classes]
    """
    wanted = np.asarray(labels, np.int64)
    if classes < 2 or wanted.ndim != 1 or not bool(((wanted >= 0) & (wanted < classes)).all()):
        raise ShapeError("a margin needs a label and another class", where="margins",
                         expected="labels [B], each from 0 to classes - 1, of two classes or more",
                         got=f"labels {wanted.tolist()}, {classes} classes",
                         fix="pass labels of the network's classes")  # fmt: skip
    eye = np.eye(classes, dtype=np.float32)
    rows: dict[int, NDArray[np.float32]] = {k: eye[k] - np.delete(eye, k, axis=0) for k in np.unique(wanted).tolist()}
    return np.stack([rows[k] for k in wanted.tolist()]) if len(wanted) else np.zeros((0, classes - 1, classes), "f4")


def specified(program: Program, C: NDArray[np.float32], output: str | None = None) -> Program:
    """The program of C . y, for the flat output y of one example (symbols are taken as 1).

    Shapes   C: [specs, outputs] -> a program with the one output [specs]
    Raises   ShapeError where C does not fit
    """
    from torchlean import ops  # the table takes long to load, and readers of properties import this package
    from torchlean.ir import Builder

    program = program.inference()
    program = program.specialise(**dict.fromkeys(program.graph.symbols(), 1))
    g = Builder(ops.ALL, where="specification")
    found = g.inline(program.graph, {})
    y = found[output if output is not None else program.graph.outputs[0][0]]
    size = int(np.prod(y.type.sizes, dtype=np.int64))
    if C.shape[-1:] != (size,):
        raise ShapeError("the specification does not fit the output", where="bounds(C=...)",
                         expected=f"C: [specs, {size}], because the output is {y.type}",
                         got=f"C: {list(C.shape)}", fix="give one row per form, one column per output")  # fmt: skip
    form = g.linear(g.reshape(y, shape=(1, size)), g.constant(C.astype(y.type.dtype.numpy)))
    return program.with_graph(g.finish({"C": g.reshape(form, shape=(len(C),))}))


def matrices(C: Any, regions: int) -> list[tuple[NDArray[np.float32], list[int]]]:
    """The distinct matrices, each with the regions that it is for.

    Shapes   C: [specs, outputs], for every region; or [regions, specs, outputs]
    Raises   ShapeError for other shapes, and for a number that is no float32
    """
    given = np.asarray(C)
    single = given.astype(np.float32) if given.dtype.kind in "fiu" else np.full(1, np.nan, np.float32)
    if single.ndim not in (2, 3) or (single.ndim == 3 and len(single) != regions) or 0 in single.shape[-2:]:
        raise _unfit(f"C: [specs, outputs] or [{regions}, specs, outputs]", f"{given.dtype}{list(given.shape)}")
    if not bool((np.isfinite(single) & (single == given)).all()):
        raise _unfit("finite numbers that float32 holds exactly", "others")
    if single.ndim == 2:
        return [(single, list(range(regions)))]
    distinct, place = np.unique(single, axis=0, return_inverse=True)
    return [(m, np.flatnonzero(place.ravel() == k).tolist()) for k, m in enumerate(distinct)]


def _unfit(expected: str, got: str) -> ShapeError:
    return ShapeError("the specification is no array of linear forms", where="bounds(C=...)", expected=expected,
                      got=got, fix="C = bounds.margins(labels, classes), or an array of 0, 1 and -1")  # fmt: skip
