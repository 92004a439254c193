//! Tests the packages that `make dist` builds. Every build produces the same bytes, and each
//! package is installed and used in a root that contains no other file of the project.

mod commit;
mod contents;
mod installed;
mod packages;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        [
            packages::trials(),
            contents::trials(),
            installed::trials(),
            commit::trials(),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}
