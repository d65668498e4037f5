"""Trusted. What a gzip file holds, bounded and strict: one whole member and nothing after it."""

from __future__ import annotations

import zlib

import numpy as np

from torchlean_check.errors import CheckError

Bytes = bytes | memoryview
MAX_BYTES = 1 << 30
TAKEN, GIVEN = 1 << 16, 1 << 20  # bytes that go into zlib at once, and that come out
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


def _expanded(data: Bytes, limit: int, what: str) -> memoryview:
    """A buffer of the size that the file itself names at its end, filled piece by piece: pages of one large array are
    cheaper than those of many bytes objects and their sum. What holds more than it names fills one byte too many."""
    named, end, stream = int.from_bytes(data[-4:], "little"), 0, zlib.decompressobj(31)
    out = np.empty(min(named, limit, RATIO * len(data)) + 1, np.uint8)
    try:
        for at in range(0, len(data), TAKEN):
            rest, full = data[at : at + TAKEN], True
            while full and end < len(out):
                part = stream.decompress(rest, min(GIVEN, len(out) - end))
                out[end : end + len(part)] = np.frombuffer(part, np.uint8)
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
    return out[:end].data
