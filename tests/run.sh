#!/usr/bin/env bash
# Runs every test and ends with one line that counts them all: cargo prints a summary for each test program.
set -uo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

grep '^ignored: ' "$log" | sort -u
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$code"
