"""`@frozen`: the records of this package, made as the checker makes its own."""

from torchlean_check.frozen import frozen

__all__ = ["frozen"]
