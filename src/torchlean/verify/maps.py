"""The linear maps of the checker's network in the arrays of a search: numpy in float64, or torch on a device.

A search guesses; what it finds counts once the kernel has repeated it. So its arrays may be in any precision.

Shapes   rows of flat vectors: [P, size of a value]
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import numpy as np

from torchlean_check.arith import multiply
from torchlean_check.conv import Conv, Turned
from torchlean_check.network import Affine, Dense, Map, Network, Rows, Scale, Select
from torchlean_check.process import processors
from torchlean_check.sparse import Sparse

HOST = 1 << 36  # bytes, of the CPU's memory


class Maps(Protocol):
    """Arrays of one kind, and every linear map of one network in them.

    xp       the namespace: numpy, or torch
    bias     of each affine node
    records  whether operations can be recorded once and repeated (graphs.py)
    fused    whether kernels.py runs on them
    memory   bytes of which batches, and what waits, may take shares
    """

    xp: Any
    bias: Mapping[int, Any]
    records: bool
    fused: bool
    memory: int

    def put(self, array: np.ndarray) -> Any:
        """A float array of the search's precision."""

    def zeros(self, *shape: int) -> Any:
        """A float array of the search's precision."""

    def index(self, array: np.ndarray) -> Any:
        """An index array."""

    def get(self, array: Any) -> np.ndarray:
        """Back to numpy, in the search's precision."""

    def nonzero(self, array: Any) -> tuple[Any, Any]:
        """Rows and columns of what is not 0, row by row."""

    def largest(self, array: Any, count: int) -> Any:
        """The columns of so many entries of each row, which no other exceeds.   Shapes  [P, U] -> [P, count]"""

    def apply(self, node: int, term: int, x: Any) -> Any: ...

    def transpose(self, node: int, term: int, rows: Any) -> Any: ...

    def scatter(self, rows: Any, select: Select) -> Any:
        """The transpose of a selection."""

    def count(self, size: int) -> Any:
        """The index array 0, 1, ..."""

    def order(self, array: Any) -> Any:
        """What sorts each row: equal ones stay in their order, what is no number comes last.   Shapes  [*s] -> [*s]"""

    def apart(self) -> Callable[[], AbstractContextManager[object]]:
        """Contexts in which operations stand in a line of their own."""

    def together(self) -> AbstractContextManager[object]:
        """A context in which several threads compute, beginning with what is there."""

    def finish(self) -> None:
        """Wait until this line's operations are done."""


class NumpyMaps:
    """The checker's own maps, with BLAS products in float64."""

    xp: Any = np
    records, fused, memory = False, False, HOST

    def __init__(self, network: Network) -> None:
        self._network = network
        self.bias: Mapping[int, Any] = {k: n.bias for k, n in enumerate(network.nodes) if isinstance(n, Affine)}

    def put(self, array: np.ndarray) -> Any:
        return np.asarray(array, np.float64)

    def zeros(self, *shape: int) -> Any:
        return np.zeros(shape)

    def index(self, array: np.ndarray) -> Any:
        return np.asarray(array, np.intp)

    def get(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def nonzero(self, array: Any) -> tuple[Any, Any]:
        row, column = np.nonzero(array)
        return row, column

    def largest(self, array: Any, count: int) -> Any:
        return np.argpartition(-array, count - 1, axis=1)[:, :count]

    def apply(self, node: int, term: int, x: Any) -> Any:
        return self._map(node, term).apply(x, multiply)

    def transpose(self, node: int, term: int, rows: Any) -> Any:
        return self._map(node, term).transpose(rows, multiply)

    def scatter(self, rows: Any, select: Select) -> Any:
        return select.transpose(rows, multiply)

    def count(self, size: int) -> Any:
        return np.arange(size)

    def order(self, array: Any) -> Any:
        return np.argsort(array, kind="stable")

    def apart(self) -> Callable[[], AbstractContextManager[object]]:
        return nullcontext

    def together(self) -> AbstractContextManager[object]:
        return nullcontext()

    def finish(self) -> None:
        return

    def _map(self, node: int, term: int) -> Map:
        affine = self._network.nodes[node]
        assert isinstance(affine, Affine)
        return affine.terms[term][0]


class TorchMaps:
    """The same in float32 on a torch device. A convolution is crossed by its transpose, never by a matrix."""

    def __init__(self, network: Network, device: str) -> None:
        import torch

        self.xp: Any = torch
        self.device = device
        self._maps: dict[tuple[int, int], Any] = {}
        bias: dict[int, Any] = {}
        for k, node in enumerate(network.nodes):
            if isinstance(node, Affine):
                bias[k] = self.put(node.bias)
                for j, (map_, _) in enumerate(node.terms):
                    self._maps[k, j] = self._made(map_)
        self.bias: Mapping[int, Any] = bias
        on_device = device == "cuda"
        self.records = on_device and Sparse not in network.maps
        self.fused = on_device and _kernels_run()
        self.memory = int(torch.cuda.get_device_properties(device).total_memory) if on_device else HOST
        if on_device:  # one large piece, which the allocator divides: asking the device for each is slow
            torch.empty(self.memory // SHARES * 2, dtype=torch.uint8, device=device)

    def put(self, array: np.ndarray) -> Any:
        return self.xp.as_tensor(np.asarray(array, np.float32), device=self.device)

    def zeros(self, *shape: int) -> Any:
        return self.xp.zeros(shape, device=self.device)

    def index(self, array: np.ndarray) -> Any:
        return self.xp.as_tensor(np.array(array, np.int64), device=self.device)

    def get(self, array: Any) -> np.ndarray:
        found: np.ndarray = array.cpu().numpy()
        return found

    def nonzero(self, array: Any) -> tuple[Any, Any]:
        row, column = self.xp.nonzero(array, as_tuple=True)
        return row, column

    def largest(self, array: Any, count: int) -> Any:
        return self.xp.topk(array, count, dim=1, sorted=False).indices

    def apply(self, node: int, term: int, x: Any) -> Any:
        return self._maps[node, term].apply(x)

    def transpose(self, node: int, term: int, rows: Any) -> Any:
        return self._maps[node, term].transpose(rows)

    def scatter(self, rows: Any, select: Select) -> Any:
        return rows.new_zeros((len(rows), select.in_size)).index_add_(1, self.index(select.index), rows)

    def count(self, size: int) -> Any:
        return self.xp.arange(size, device=self.device)

    def order(self, array: Any) -> Any:
        return self.xp.argsort(array, stable=True)

    def apart(self) -> Callable[[], AbstractContextManager[object]]:
        cuda = self.xp.cuda
        return nullcontext if self.device == "cpu" else partial(cuda.stream, cuda.Stream())

    def together(self) -> AbstractContextManager[object]:
        self.finish()
        flags: AbstractContextManager[object] = self.xp.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return flags  # each convolution sets them, and sets them back while others' may be about to start

    def finish(self) -> None:
        if self.device != "cpu":
            self.xp.cuda.current_stream().synchronize()

    def _made(self, map_: Map) -> Any:
        if isinstance(map_, Dense):
            return _TorchDense(self.put(map_.weight))
        if isinstance(map_, Sparse):
            at = self.index(np.stack([map_.row, map_.column]))
            return _TorchSparse(self.xp.sparse_coo_tensor(at, self.put(map_.weight), map_.shape).coalesce())
        if isinstance(map_, Scale):
            return _TorchScale(self.put(map_.factor))
        if isinstance(map_, Conv):
            if _tiles(map_):
                return _TorchTiles(self.put(map_.weight), map_)
            if _phased(map_):
                return _TorchPhases(self.xp, self.put(map_.weight), map_)
            return _TorchConv(self.xp, self.put(map_.weight), map_)
        if isinstance(map_, Turned):
            return _TorchTurned(self._made(map_.conv))
        if isinstance(map_, Rows):
            return _TorchRows(self.put(map_.weight))
        kept = np.flatnonzero(map_.index >= 0)
        return _TorchSelect(self.index(kept), self.index(map_.index[kept]), len(map_.index), map_.in_size)


class _TorchDense:
    def __init__(self, weight: Any) -> None:
        self.weight, self.forward = weight, weight.T.contiguous()

    def apply(self, x: Any) -> Any:
        return x @ self.forward

    def transpose(self, rows: Any) -> Any:
        return rows @ self.weight


class _TorchRows:
    def __init__(self, weight: Any) -> None:
        self.weight, self.turned = weight, weight.T.contiguous()

    def apply(self, x: Any) -> Any:
        return (x.reshape(-1, self.weight.shape[0]) @ self.weight).reshape(len(x), -1)

    def transpose(self, rows: Any) -> Any:
        return (rows.reshape(-1, self.turned.shape[0]) @ self.turned).reshape(len(rows), -1)


class _TorchTurned:
    def __init__(self, conv: Any) -> None:
        self.apply, self.transpose = conv.transpose, conv.apply


class _TorchSparse:
    def __init__(self, weight: Any) -> None:
        self.weight, self.turned = weight, weight.T.coalesce()

    def apply(self, x: Any) -> Any:
        return (self.weight @ x.T).T

    def transpose(self, rows: Any) -> Any:
        return (self.turned @ rows.T).T


class _TorchScale:
    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def apply(self, x: Any) -> Any:
        return x * self.factor

    transpose = apply


class _TorchSelect:
    """y[out] = x[into]; 0 elsewhere."""

    def __init__(self, out: Any, into: Any, size: int, in_size: int) -> None:
        self.out, self.into, self.size, self.in_size = out, into, size, in_size

    def apply(self, x: Any) -> Any:
        y = x.new_zeros((len(x), self.size))
        y[:, self.out] = x[:, self.into]
        return y

    def transpose(self, rows: Any) -> Any:
        y = rows.new_zeros((len(rows), self.in_size))
        return y.index_add_(1, self.into, rows[:, self.out])


class _TorchConv:
    def __init__(self, torch: Any, weight: Any, conv: Conv) -> None:
        axes = len(conv.strides)
        self.conv, self.weight = conv, weight
        self.forward_ = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
        self.backward_ = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[axes - 1]
        self.pad, self.cudnn = torch.nn.functional.pad, torch.backends.cudnn
        low, high = conv.pads[:axes], conv.pads[axes:]
        self.padding = [p for pair in zip(reversed(low), reversed(high), strict=True) for p in pair]
        padded = [n + a + b for n, a, b in zip(conv.in_shape[1:], low, high, strict=True)]
        reach = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(conv.out_shape[1:], conv.strides, conv.dilations, conv.weight.shape[2:], strict=True)
        ]
        self.unread = [p - r for p, r in zip(padded, reach, strict=True)]  # rows at the end that no window reads
        self.inside = tuple(slice(a, a + n) for a, n in zip(low, conv.in_shape[1:], strict=True))
        self.settings = {"stride": conv.strides, "dilation": conv.dilations, "groups": conv.groups}

    def apply(self, x: Any) -> Any:
        image = self.pad(x.reshape(len(x), *self.conv.in_shape), self.padding)
        with self.cudnn.flags(enabled=True, allow_tf32=False):
            return self.forward_(image, self.weight, None, **self.settings).reshape(len(x), -1)

    def transpose(self, rows: Any) -> Any:
        with self.cudnn.flags(enabled=True, allow_tf32=False):
            image = self.backward_(rows.reshape(len(rows), *self.conv.out_shape), self.weight, None, **self.settings)
        image = self.pad(image, [p for n in reversed(self.unread) for p in (0, n)])
        return image[(slice(None), slice(None), *self.inside)].reshape(len(rows), math.prod(self.conv.in_shape))


def _tiles(conv: Conv) -> bool:
    """Whether the windows of a convolution over an image are tiles: they neither overlap nor leave anything out."""
    kernel = conv.weight.shape[2:]
    grid = tuple(k * n for k, n in zip(kernel, conv.out_shape[1:], strict=True))
    plain = conv.groups == 1 and not any(conv.pads) and set(conv.dilations) == {1}
    return len(kernel) == 2 and plain and tuple(conv.strides) == kernel and grid == tuple(conv.in_shape[1:])


class _TorchTiles:
    """A convolution whose windows are tiles: one product of matrices."""

    def __init__(self, weight: Any, conv: Conv) -> None:
        (self.out, *self.grid), (self.channels, *_) = conv.out_shape, conv.in_shape
        self.kernel, self.weight = weight.shape[2:], weight.reshape(self.out, -1)

    def apply(self, x: Any) -> Any:
        (h, w), (a, b), c = self.grid, self.kernel, self.channels
        tiles = x.reshape(-1, c, h, a, w, b).permute(0, 2, 4, 1, 3, 5).reshape(-1, h * w, c * a * b)
        return (tiles @ self.weight.T).transpose(1, 2).reshape(len(x), -1)

    def transpose(self, rows: Any) -> Any:
        (h, w), (a, b), c = self.grid, self.kernel, self.channels
        tiles = rows.reshape(-1, self.out, h * w).transpose(1, 2) @ self.weight
        return tiles.reshape(-1, h, w, c, a, b).permute(0, 3, 1, 4, 2, 5).reshape(len(rows), -1)


def _phased(conv: Conv) -> bool:
    """Whether the transpose of a convolution over an image has each of its entries in some phase."""
    whole = conv.groups == 1 and set(conv.dilations) == {1}
    return whole and len(conv.strides) == 2 and all(_reach(conv, i) >= 0 for i in range(2))


def _reach(conv: Conv, axis: int) -> int:
    """Entries that the phases of the transpose have beyond the image."""
    phases = -(-conv.weight.shape[2 + axis] // conv.strides[axis]) + conv.out_shape[1 + axis] - 1
    return int(phases * conv.strides[axis] - conv.pads[axis] - conv.in_shape[1 + axis])


class _TorchPhases(_TorchConv):
    """The transpose of a convolution with strides as one convolution, a channel for each phase of the strides.

    Source   Shi et al. 2016, arXiv:1609.05158, section 3.2, read backward
    """

    def __init__(self, torch: Any, weight: Any, conv: Conv) -> None:
        super().__init__(torch, weight, conv)
        (out, channels, *kernel), (a, b) = weight.shape, conv.strides
        high, wide = (-(-k // s) for k, s in zip(kernel, (a, b), strict=True))
        whole = self.pad(weight, (0, wide * b - kernel[1], 0, high * a - kernel[0]))
        phases = whole.reshape(out, channels, high, a, wide, b).permute(3, 5, 1, 0, 2, 4).flip(-2, -1)
        self.turned, self.reach = phases.reshape(-1, out, high, wide).contiguous(), (high - 1, wide - 1)
        t, u = conv.out_shape[1] + high - 1, conv.out_shape[2] + wide - 1
        found = torch.arange(a * b * channels * t * u, device=weight.device).reshape(a, b, channels, t, u)
        found = found.permute(2, 3, 0, 4, 1).reshape(channels, t * a, u * b)
        self.at = found[(slice(None), *self.inside)].reshape(-1)  # in the phases, of each entry of the image

    def transpose(self, rows: Any) -> Any:
        with self.cudnn.flags(enabled=True, allow_tf32=False):
            image = rows.reshape(len(rows), *self.conv.out_shape)
            phases = self.forward_(image, self.turned, None, padding=self.reach)
        return phases.reshape(len(rows), -1).index_select(1, self.at)


class Engine:
    """Which maps a search uses: numpy's at first, torch's once the search is long enough to pay for loading it.

    Importing torch takes seconds, so a search that ends within PATIENCE never does; a network whose walk is slow in
    numpy starts with torch. CUDA is taken where there is a device.
    """

    def __init__(self, network: Network, heavy: bool = False) -> None:
        """heavy: whether the walk is slow in numpy, as with convolutions it is"""
        self._network = network
        self._size = sum(node.size for node in network.nodes)
        maps = [m for node in network.nodes if isinstance(node, Affine) for m, _ in node.terms]
        self.heavy = heavy or any(isinstance(m, Conv) for m in maps)
        self.maps: Maps = TorchMaps(network, _device(self.heavy)) if self.heavy else NumpyMaps(network)

    @property
    def device(self) -> bool:
        """Whether the arrays are on a device, where many problems together take little longer than few."""
        return isinstance(self.maps, TorchMaps) and self.maps.device != "cpu"

    def move(self, spent: float) -> bool:
        """Change to torch where that pays; whether it did."""
        if isinstance(self.maps, TorchMaps) or spent < PATIENCE:
            return False
        self.maps = TorchMaps(self._network, _device(self.heavy))
        return True

    def batch(self, neurons: int) -> int:
        """How many problems to walk at once."""
        if isinstance(self.maps, TorchMaps):
            room = int(self.maps.memory // SHARES // (4 * (8 * self._size + 16 * neurons)))
            if not self.device:
                return max(8, min(256, room))
            return min(1 << 14, 1 << (max(8, room) - 1).bit_length())  # recordings are filled up to that anyway
        return int(max(1, min(128, SMALL // max(1, neurons))))


PATIENCE = 2.0  # seconds
SMALL = 12_000  # unstable neurons of all problems that numpy walks together: they stay in the cache
SHARES = 32  # of the memory, of which a batch may take one; on a device it is filled up, to two at most


def _kernels_run() -> bool:
    """Whether kernels.py can be compiled and run on the device."""
    import torch

    try:
        from torchlean.verify import kernels

        x = torch.zeros(1, 1, device="cuda")
        kernels.cost[(1, 1)](x, x, x, x, 0, x, x.clone(), 1, BLOCK=64)
        torch.cuda.synchronize()
    except Exception:  # no triton, no compiler for its launchers, or a device that it does not know
        return False
    return True


def _device(heavy: bool) -> str:
    """Where torch computes. Only convolutions are worth a second thread, unless the environment says how many."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(processors() if heavy else 1)
    return "cuda" if torch.cuda.is_available() else "cpu"
