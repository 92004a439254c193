#!/usr/bin/env bash
# Builds every test and runs it: see tests/src/suite. The last line counts them all.
set -euo pipefail

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
cargo test --workspace --locked --lib --bins --tests --no-run --message-format=json-render-diagnostics > "$messages"
built() { sed -n "s/.*\"executable\":\"\([^\"]*\/$1\)\".*/\1/p" "$messages"; }
# With the features that all packages ask for together: built alone, half of the crates would be compiled once more.
ETCD_IMAGE_DIST=$(built dist)
export ETCD_IMAGE_DIST
"$(built suite)" < "$messages"
