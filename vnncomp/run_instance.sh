#!/usr/bin/env bash
# run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT: writes one word to RESULTS: sat, unsat, unknown, timeout or
# error; after sat, the witness. A crash is an error, never a verdict.
set -uo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[ "${1:-}" = v1 ] || { echo "expected the version string v1, got '${1:-}'" >&2; exit 1; }
[ $# -eq 6 ] || { echo "expected: v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT, got $# arguments" >&2; exit 1; }
category=$2 onnx=$3 vnnlib=$4 results=$5 timeout=$6
source "$here/session.sh"

echo "torchlean: $category $onnx $vnnlib, $timeout s" >&2
rm -f -- "$results"
said=$(mktemp) || exit 1
trap 'rm -f -- "$said"' EXIT
trap 'end_session; exit 143' TERM INT

# A session of its own, so that this script or the next prepare_instance.sh can end all of it.
setsid $torchlean verify "$onnx" "$vnnlib" --timeout "$timeout" > "$said" &
echo $! > "$session"
wait $!
code=$?
rm -f -- "$session"

word=$(head -n 1 "$said" | cut -d ' ' -f 1)
case $code:$word in
    0:sat | 0:unsat | 0:unknown | 4:unknown | 4:timeout) ;;
    *) word=error ;;
esac
{
    echo "$word"
    if [ "$word" = sat ]; then sed '1,/^witness /d' "$said"; fi
} > "$results.partial" && mv -f -- "$results.partial" "$results"
