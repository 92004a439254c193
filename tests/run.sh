#!/usr/bin/env bash
# Runs every test and ends with one line that counts them all: cargo prints a summary for each test program.
#
# End to end most of the time is waiting, so there are two lanes that take about as long: some test programs, and all others.
# What the second says is shown when the first is through.
set -uo pipefail

lane=(bootstrap backup)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run() { cargo test --workspace --locked --no-fail-fast "$@" 2>&1; }

first=() second=(--lib --bins)
for program in "$(dirname "$0")"/tests/*/; do
    name=$(basename "$program")
    if [[ " ${lane[*]} " == *" $name "* ]]; then first+=(--test "$name"); else second+=(--test "$name"); fi
done
run --no-run || exit
run "${second[@]}" > "$logs/second" &
run "${first[@]}" | tee "$logs/first"
code=${PIPESTATUS[0]}
wait $! || code=$?
cat "$logs/second"

grep -h '^ignored: ' "$logs"/* | sort -u
cat "$logs"/* | awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
exit "$code"
