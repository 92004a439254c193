//! Tests that need root.

use std::io::Write as _;

/// Returns whether this process runs as root. If it does not, prints that the test is ignored.
pub(crate) fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        // Call `writeln!`, because the test harness would capture the output of `eprintln!`.
        let _ = writeln!(std::io::stderr(), "ignored: {test}: it needs root");
    }
    is_root
}
