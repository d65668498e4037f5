#!/usr/bin/env bash
# prepare_instance.sh v1 CATEGORY ONNX VNNLIB: ends what an earlier instance left running, and looks for the files.
# An exit code other than 0 skips the instance. Nothing is analysed here.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[ "${1:-}" = v1 ] || { echo "expected the version string v1, got '${1:-}'" >&2; exit 1; }
[ $# -eq 4 ] || { echo "expected: v1 CATEGORY ONNX VNNLIB, got $# arguments" >&2; exit 1; }
onnx=$3 vnnlib=$4
source "$here/session.sh"

end_session
for file in "$onnx" "$vnnlib"; do
    case $file in
        "["*) ;; # named networks of VNN-LIB 2.0, which verify looks for
        *) [ -f "$file" ] || [ -f "$file.gz" ] || { echo "no such file: $file" >&2; exit 1; } ;;
    esac
done
$torchlean --version > /dev/null
