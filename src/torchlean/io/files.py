"""Whole files, gzip or plain, for readers and writers of `io`: the functions of `torchlean.files`."""

from torchlean.files import LIMIT, atomic_write, decode, find, read_bytes, read_text

__all__ = ["LIMIT", "atomic_write", "decode", "find", "read_bytes", "read_text"]
