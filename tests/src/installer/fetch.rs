//! Fetches a kickstart in the same way as the installer's first stage.

use std::process::Command;

use anyhow::{Result, bail};

use crate::network::Namespace;
use crate::process;

/// The information that a machine sends about itself with the request for its kickstart.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The MAC address of `eth0`; it is sent if the kernel command line contains `inst.ks.sendmac`.
    pub mac: Option<String>,
    /// The serial number; it is sent if the kernel command line contains `inst.ks.sendsn`.
    pub serial: Option<String>,
}

/// Fetches the kickstart that the kernel command line names. If the command line contains several
/// `inst.ks=`, tries them in order until one succeeds, as CentOS 7 does.
pub fn fetch(cmdline: &str, machine: &Machine, namespace: &Namespace) -> Result<String> {
    fetch_with(cmdline, machine, &|| namespace.command("curl"))
}

/// Does the same as [`fetch`], but with the given curl.
pub(super) fn fetch_with(
    cmdline: &str,
    machine: &Machine,
    curl: &dyn Fn() -> Command,
) -> Result<String> {
    let mut errors = Vec::new();
    for url in cmdline
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("inst.ks="))
    {
        let mut curl = curl();
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--location",
            "--noproxy",
            "*",
            "--max-time",
            "60",
        ]);
        for header in headers(cmdline, machine) {
            curl.args(["--header", &header]);
        }
        match process::run(curl.arg(url))?.ok() {
            Ok(text) => return Ok(text),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    bail!(
        "no address after `inst.ks=` in `{cmdline}` returned a kickstart:\n{}",
        errors.join("\n")
    )
}

fn headers(cmdline: &str, machine: &Machine) -> Vec<String> {
    let sends = |flag: &str| {
        cmdline
            .split_whitespace()
            .any(|word| word == flag || word == format!("{flag}=1"))
    };
    let mut headers = Vec::new();
    if let Some(mac) = machine.mac.as_ref().filter(|_| sends("inst.ks.sendmac")) {
        headers.push(format!("X-RHN-Provisioning-MAC-0: eth0 {mac}"));
    }
    if let Some(serial) = machine.serial.as_ref().filter(|_| sends("inst.ks.sendsn")) {
        headers.push(format!("X-System-Serial-Number: {serial}"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_reports_only_what_the_kernel_command_line_requests() {
        let machine = Machine {
            mac: Some("52:54:0a:65:0f:65".into()),
            serial: Some("ABC".into()),
        };
        assert!(headers("inst.ks=http://10.101.15.1/ks", &machine).is_empty());
        let headers = headers("inst.ks=http://10.101.15.1/ks inst.ks.sendmac", &machine);
        assert_eq!(
            headers,
            ["X-RHN-Provisioning-MAC-0: eth0 52:54:0a:65:0f:65"]
        );
    }
}
