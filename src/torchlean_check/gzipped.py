"""Trusted. What a gzip file holds, bounded and strict: one whole member and nothing after it."""

from __future__ import annotations

import mmap
import zlib

from torchlean_check.errors import CheckError

Bytes = bytes | memoryview
MAX_BYTES = 1 << 30
TAKEN, GIVEN = 1 << 16, 1 << 18  # bytes that go into zlib at once, and that come out
RATIO = 1032  # deflate expands no more


def unpack(data: Bytes, limit: int = MAX_BYTES, what: str = "ONNX model") -> Bytes:
    """The uncompressed bytes: a gzip member is expanded up to `limit` bytes, anything else is returned as is."""
    if data[:2] == b"\x1f\x8b":
        data = _expanded(data, limit, what)
    if not 0 < len(data) <= limit:
        raise CheckError(
            f"the {what} is {'too large' if data else 'empty'}",
            where=what,
            expected=f"1 to {limit} bytes",
            got=f"{'over ' + str(limit) if data else '0'} bytes",
            fix="give the right file",
        )
    return data


def _room(size: int) -> memoryview:
    """So many bytes, zeros. Where the system can, it gives their pages at once: one by one they take thrice as long."""
    if not hasattr(mmap, "MAP_POPULATE"):
        return memoryview(bytearray(size))
    try:
        return memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    except OSError as error:
        raise MemoryError(str(error)) from None


def _expanded(data: Bytes, limit: int, what: str) -> memoryview:
    """What the file holds, in memory of the size that it names at its end: blocks that grow, and their sum, would be
    twice as much. What holds more than it names fills one byte too many."""
    named, end, stream = int.from_bytes(data[-4:], "little"), 0, zlib.decompressobj(31)
    out = _room(min(named, limit, RATIO * len(data)) + 1)
    try:
        for at in range(0, len(data), TAKEN):
            rest, full = data[at : at + TAKEN], True
            while full and end < len(out):
                part = stream.decompress(rest, min(GIVEN, len(out) - end))
                out[end : end + len(part)] = part
                full = len(part) == min(GIVEN, len(out) - end)
                end, rest = end + len(part), stream.unconsumed_tail
    except zlib.error as error:
        raise CheckError(
            f"the {what} is a damaged gzip file",
            where=what,
            expected="a complete gzip member",
            got=str(error),
            fix="fetch the file again",
        ) from None
    if end <= limit and (not stream.eof or stream.unused_data):
        raise CheckError(
            f"the {what} is a truncated gzip file, or has bytes after its end",
            where=what,
            expected="one gzip member",
            got=f"{len(data)} bytes",
            fix="fetch the file again",
        )
    return out[:end]
