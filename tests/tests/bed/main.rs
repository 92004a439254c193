//! The bed itself: that its hosts, networks, servers and stand-ins do what the tests built on them take for granted.

mod cluster;
mod files;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| cluster::trials().into_iter().chain(files::trials()).collect())
}
