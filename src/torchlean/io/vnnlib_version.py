"""Which version of VNN-LIB a file is written in. (Nothing else: a command asks this before it imports a reader.)"""

from __future__ import annotations

import re

_QUERY = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|;[^\n]*\n)*\(\s*(?:vnnlib-version|declare-network)\b")


def is_query(raw: bytes) -> bool:
    """Whether a file's uncompressed bytes begin as VNN-LIB 2.0 does, and not as 1.0."""
    return _QUERY.match(raw) is not None
