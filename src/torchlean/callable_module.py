"""Packages that can be called: `tl.verify(...)` is the function, `tl.verify.Verdict` a name of the package.

Importing a subpackage binds its name in the parent, so a function of the same name there would be shadowed or not,
depending on what was imported before. A callable package has no such order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Make calling the module `name` call `function`."""

    class CallableModule(ModuleType):
        __doc__ = function.__doc__

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[name].__class__ = CallableModule
