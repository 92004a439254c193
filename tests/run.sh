#!/usr/bin/env bash
# Builds and runs every test; see tests/src/suite. The last line of the output contains the totals.
set -euo pipefail

# clippy-driver compiles a crate, and also runs clippy. `cargo clippy` starts clippy-driver in the
# same way, but does not compile the crates. cargo would then process each dependency twice, for
# clippy and for the tests.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS='-Dwarnings__CLIPPY_HACKERY__'

messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
cargo test --workspace --locked --lib --bins --tests --no-run --message-format=json-render-diagnostics > "$messages"
built() { sed -n "s/.*\"executable\":\"\([^\"]*\/$1\)\".*/\1/p" "$messages"; }
# The tests use the program `dist` that cargo has just built. If a test built `dist` separately,
# cargo would select other features, and compile half of the crates again.
ETCD_IMAGE_DIST=$(built dist)
export ETCD_IMAGE_DIST
"$(built suite)" < "$messages"
