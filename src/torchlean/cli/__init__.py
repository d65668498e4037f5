"""The command line: one file per command, loaded when it is called."""

from torchlean.cli.main import main

__all__ = ["main"]
