"""Trusted. What a gzip file holds, bounded and strict: whole members, and zeros alone after them."""

from __future__ import annotations

import mmap
import zlib

from torchlean_check.errors import CheckError

Bytes = bytes | memoryview
MAX_BYTES = 1 << 30
TAKEN, GIVEN, RATIO = 1 << 16, 1 << 18, 1032  # bytes that go into zlib at once, that come out; deflate expands no more


def unpack(data: Bytes, limit: int = MAX_BYTES, what: str = "ONNX model") -> Bytes:
    """The uncompressed bytes: a gzip file is expanded up to `limit` bytes, anything else is returned as is."""
    size = len(data)
    if data[:2] == b"\x1f\x8b":
        try:
            data, size = expand(data, limit)
        except zlib.error as error:
            raise CheckError(
                f"the {what} is a damaged gzip file",
                where=what,
                expected="complete gzip members",
                got=str(error),
                fix="fetch the file again",
            ) from None
    if not 0 < size <= limit:
        raise CheckError(
            f"the {what} is {'too large' if size else 'empty'}",
            where=what,
            expected=f"1 to {limit} bytes",
            got=f"{'over ' + str(limit) if size else '0'} bytes",
            fix="give the right file",
        )
    return data


def expand(data: Bytes, limit: int, size: int = 0) -> tuple[memoryview, int]:
    """What the members of a gzip file hold, one after the other, and its size; over `limit`, it is not whole.

    It fills memory of that size: blocks that grow, and their sum, would be twice as much. A file of one member names
    the `size` at its end; that of several is counted first. Zeros may stand after a member.
    Raises   zlib.error
    """
    out = _room(min(size or int.from_bytes(data[-4:], "little"), limit, RATIO * len(data)) + 1)
    end, stream = 0, zlib.decompressobj(31)
    for at in range(0, len(data), TAKEN):
        rest = bytes(data[at : at + TAKEN])
        while end <= limit and (rest := rest.lstrip(b"\0") if stream.eof else rest):
            stream = zlib.decompressobj(31) if stream.eof else stream
            part = stream.decompress(rest, GIVEN)
            out[end : end + len(part)] = part[: max(len(out) - end, 0)]
            end, rest = end + len(part), stream.unused_data or stream.unconsumed_tail
    if end <= limit and not stream.eof:
        raise zlib.error("the data end in the middle of a member")
    if len(out) < end <= limit:
        return expand(data, limit, end)
    return out[:end], end


def _room(size: int) -> memoryview:
    """So many bytes, zeros. Where the system can, it gives their pages at once: one by one they take thrice as long."""
    at_once = hasattr(mmap, "MAP_POPULATE") and mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    try:
        return memoryview(mmap.mmap(-1, size, at_once) if at_once else bytearray(size))
    except OSError as error:
        raise MemoryError(str(error)) from None
