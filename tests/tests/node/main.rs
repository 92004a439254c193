//! Tests the actions that a node permits and refuses: each protection of its units, and each port.

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
