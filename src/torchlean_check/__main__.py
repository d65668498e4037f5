"""`python -m torchlean_check` is `torchlean-check`."""

import sys

from torchlean_check.cli import main

sys.exit(main())
