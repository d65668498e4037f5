"""`python -m torchlean` is `torchlean`."""

import sys

from torchlean.cli.main import main

sys.exit(main())
