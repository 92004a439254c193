//! What a node lets be done to it, and what not: each protection of its units is tried out, each
//! port is knocked at.

mod bed;
mod firewall;
mod hostile_files;
mod protections;
mod rules;
mod sandbox;
mod selinux;
mod selinux_names;
mod ssh;
mod system_calls;

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::harness::main(|| {
        let all = [
            selinux_names::trials(),
            protections::trials(),
            firewall::trials(),
            ssh::trials(),
            selinux::trials(),
            hostile_files::trials(),
        ];
        all.into_iter().flatten().collect()
    })
}
