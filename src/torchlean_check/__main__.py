"""`python -m torchlean_check` is `torchlean-check`."""

from torchlean_check.cli import entry

entry()
