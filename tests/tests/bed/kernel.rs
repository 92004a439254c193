//! Tests that hosts have only the system calls of CentOS 7.9's kernel, and a systemd without
//! seccomp.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::base;
use tests::harness::trial;
use tests::host::Host;
use tests::kernel::{LAST_SYSTEM_CALL, Ported};
use tests::network::Network;
use tests::requirement::Requirement;

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Root,
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
];
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
const DBUS: &str = "systemctl is-active --quiet dbus.service";
const SERVICE: &[&str] = &["systemd-run", "--quiet", "--pipe", "--wait"];
const PROBE: &str = include_str!("calls.py");

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "hosts_have_no_system_call_newer_than_3_10_and_a_systemd_without_seccomp",
        REQUIREMENTS,
        kernel,
    )]
}

fn kernel() -> Result<()> {
    let network = Network::new()?;
    let mut host = Host::new(&network, "etcd-1", &base::base()?)?;
    host.write("/usr/local/lib/calls.py", PROBE, 0o644)?;
    host.boot()?;
    host.wait_for(DBUS, BOOT_TIMEOUT)?;
    newer(&host, &[Ported::Seccomp, Ported::Getrandom])?;
    // The system calls of Linux 3.10 also work on a host. The system calls tried here are harmless,
    // and every kernel has them.
    for (first, last) in [(4, 10), (305, 309)] {
        let all: Vec<u32> = (first..=last).collect();
        ensure!(
            present(&host, &[], first, last)? == all,
            "some calls from {first} to {last} are missing"
        );
    }

    // CentOS 7's systemd 219 accepts these directives and ignores them.
    let refuse = [
        "SystemCallFilter=~uname",
        "RestrictAddressFamilies=AF_UNIX",
        "SystemCallArchitectures=native",
    ];
    let properties = refuse.map(|word| format!("--property={word}"));
    let mut command = SERVICE.to_vec();
    command.extend(properties.iter().map(String::as_str));
    command.extend([
        "python3",
        "-c",
        "import os, socket; os.uname(); socket.socket(socket.AF_INET)",
    ]);
    host.check(&command)?;

    host.cut_power()?;
    host.restrict_to_kernel_3_10();
    host.boot()?;
    host.wait_for(DBUS, BOOT_TIMEOUT)?;
    newer(&host, &[Ported::Seccomp])
}

/// Checks that the calls in `left` are the only system calls newer than Linux 3.10 that a service
/// or a command on a host can make.
fn newer(host: &Host, left: &[Ported]) -> Result<()> {
    let left: Vec<u32> = left.iter().map(|call| *call as u32).collect();
    for through in [SERVICE, &[]] {
        // Linux 6.18 assigns no number above 470.
        let there = present(host, through, LAST_SYSTEM_CALL + 1, 600)?;
        ensure!(
            there == left,
            "the calls newer than 3.10 are {there:?}, expected {left:?}"
        );
    }
    Ok(())
}

/// Returns which of the system calls from `first` to `last` the kernel offers to a service or a
/// command on a host.
fn present(host: &Host, through: &[&str], first: u32, last: u32) -> Result<Vec<u32>> {
    let (first, last) = (first.to_string(), last.to_string());
    let probe = ["python3", "/usr/local/lib/calls.py", &first, &last];
    let said = host.check(&[through, &probe].concat())?;
    Ok(said.lines().map(str::parse).collect::<Result<_, _>>()?)
}
