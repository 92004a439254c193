//! What a node lets be done to it, and what not: each protection of its units is tried out, each port is knocked at.

mod bed;
mod calls;
mod firewall;
mod names;
mod planted;
mod protections;
mod rules;
mod sandbox;
mod selinux;
mod ssh;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let all = [
            names::trials(),
            protections::trials(),
            firewall::trials(),
            ssh::trials(),
            selinux::trials(),
            planted::trials(),
        ];
        all.into_iter().flatten().collect()
    })
}
