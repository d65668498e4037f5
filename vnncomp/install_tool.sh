#!/usr/bin/env bash
# install_tool.sh v1: sets up .venv in the repository. Needs Python 3.11 or newer, make, and a package index.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
[ "${1:-}" = v1 ] || { echo "expected the version string v1, got '${1:-}'" >&2; exit 1; }

make -C "$root" .venv/installed
"$root/.venv/bin/torchlean" --version
