#!/usr/bin/env bash
# Builds every test and runs it: see tests/src/suite. The last line counts them all.
set -euo pipefail

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
cargo test --workspace --locked --lib --bins --tests --no-run --message-format=json-render-diagnostics > "$messages"
suite=$(sed -n 's/.*"executable":"\([^"]*\/suite\)".*/\1/p' "$messages")
"$suite" < "$messages"
