"""The source line that a node is shown with: file.py:line of the nearest caller outside the package.

The workflows of `apps` count as callers: the program that they write is theirs.
"""

from __future__ import annotations

import os
import sys

_PACKAGE = f"{os.path.dirname(os.path.dirname(os.path.realpath(__file__)))}{os.sep}"
_APPS = f"{_PACKAGE}apps{os.sep}"


def caller_line() -> str:
    """`model.py:31`: where the code outside this package stands that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _inside(file: str) -> bool:
    return file.startswith("<") or (file.startswith(_PACKAGE) and not file.startswith(_APPS))
