"""Runs the Python examples and the `torchlean` commands of README.md, as they stand, in an empty folder.

Prints each before it runs; the first that fails ends the run with its exit code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced block to be run: python, and console lines that start with `$ torchlean`."""
    return re.findall(r"^```(python|console)\n(.*?)^```", text, flags=re.M | re.S)


def main() -> int:
    """Run every block; 0 when all succeed."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for language, code in blocks(README.read_text(encoding="utf-8")):
            if language == "python":
                commands = [[sys.executable, "-c", code]]
            else:
                commands = [["bash", "-c", line[2:]] for line in code.splitlines() if line.startswith("$ torchlean")]
            for command in commands:
                print(f"== {command[-1]}", flush=True)
                done = subprocess.run(command, cwd=folder, env=environment, check=False)
                if done.returncode:
                    print(f"README: exit code {done.returncode}", file=sys.stderr)
                    return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
