#!/usr/bin/env bash
# Runs the fault matrix in its long form, prints one line a row as it ends, and writes the table to docs/faults.md.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
slow=$(mktemp)
trap 'rm -f "$log" "$slow"' EXIT

cargo build --release --locked --bin debunk
cargo test --locked --test it --no-run
# Where cargo puts it, in full: the tests start it from elsewhere.
binary=$(realpath "${CARGO_TARGET_DIR:-target}/release/debunk")
started=$SECONDS
code=0
rows() { FAULTS=$binary cargo test --locked --test it -- --test-threads=1 --nocapture "$@"; }
rows faults:: --skip faults::size >"$log" 2>&1 &
tests=$!
# Ten minutes at a gentle pace, beside the others.
rows faults::size >"$slow" 2>&1 &
size=$!
# Rows as they come; everything else only where something failed.
tail --pid="$tests" -n +1 -f "$log" | sed -un 's/^fault | //p'
wait "$tests" || code=$?
wait "$size" || code=$?
sed -n 's/^fault | //p' "$slow"
cat "$slow" >>"$log"

if [[ $code != 0 ]]; then
    grep -v '^fault | ' "$log" >&2
    echo "faults: some rows failed; docs/faults.md stays as it was" >&2
    exit "$code"
fi

{
    echo '<!-- Written by `make faults`; never edited. -->'
    echo
    echo '# Faults'
    echo
    echo 'What Debunk promises: spans whose export was answered with success are committed, whatever is killed, cut off, full or slow.'
    echo 'What arrives twice counts once, each change is told under one delivery id, and what cannot be taken is refused with "try later" before it costs memory.'
    echo 'Each row is a test in `tests/it/faults/`, on real processes and a real PostgreSQL.'
    echo
    echo "Run on $(date -u +%F), $(nproc) CPUs, $((SECONDS - started)) seconds, $(grep -c '^fault | ' "$log") lines, $(grep -c '^fault | .* | skipped: ' "$log" || true) skipped."
    echo
    echo '| # | fault | what was done, and what came of it |'
    echo '|---|---|---|'
    sed -n 's/^fault | \(.*\)$/| \1 |/p' "$log" | sort -s -t'|' -k2,2n
} >docs/faults.md
echo "faults: all rows hold; see docs/faults.md"
