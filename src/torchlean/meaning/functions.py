"""The elementary functions of systems that evaluate each one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class NamedFunctions(ABC):
    """exp, log, ... of a number system, all through `_function`."""

    @abstractmethod
    def _function(self, name: str, x: Any) -> Any: ...

    def exp(self, x: Any) -> Any:
        return self._function("exp", x)

    def log(self, x: Any) -> Any:
        return self._function("log", x)

    def tanh(self, x: Any) -> Any:
        return self._function("tanh", x)

    def sigmoid(self, x: Any) -> Any:
        return self._function("sigmoid", x)

    def expm1(self, x: Any) -> Any:
        return self._function("expm1", x)

    def log1p(self, x: Any) -> Any:
        return self._function("log1p", x)

    def sin(self, x: Any) -> Any:
        return self._function("sin", x)

    def cos(self, x: Any) -> Any:
        return self._function("cos", x)

    def erf(self, x: Any) -> Any:
        return self._function("erf", x)

    def softplus(self, x: Any) -> Any:
        return self._function("softplus", x)

    def silu(self, x: Any) -> Any:
        return self._function("silu", x)

    def gelu(self, x: Any) -> Any:
        return self._function("gelu", x)
