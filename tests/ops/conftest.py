"""The tolerance table is tested by the program that measures it: `bench` is importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
