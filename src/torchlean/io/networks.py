"""Which ONNX files a command line or a list names: one path, or VNN-COMP's form for several named networks."""

from __future__ import annotations

import ast

from torchlean.errors import FileError


def parse_networks(text: str, where: str) -> tuple[tuple[str, str], ...]:
    """(name, path) pairs of [('f', 'f.onnx'), ...]; any other text is one path, without a name.

    Errors   FileError: a list that is none
    """
    if not text.startswith("["):
        return (("", text),)
    try:
        pairs = tuple((name, path) for name, path in ast.literal_eval(text))
        if not pairs or not all(isinstance(part, str) and part for pair in pairs for part in pair):
            raise ValueError
        if len(dict(pairs)) != len(pairs):
            raise ValueError
    except (ValueError, SyntaxError, TypeError):
        raise FileError("the list of networks cannot be read", where=where,
                        expected="[('name', 'file.onnx'), ...], each name once", got=text[:80],
                        fix="write one pair for each network of the query") from None  # fmt: skip
    return pairs
