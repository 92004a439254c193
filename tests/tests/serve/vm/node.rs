//! A virtual machine that becomes a node, and a shell on it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tests::cluster::Provisioning;
use tests::harness::tail;
use tests::netboot::{Machine, Running};
use tests::process;

/// A machine and its identity.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) address: String,
    key: PathBuf,
    machine: Machine,
    running: Option<Running>,
}

impl Node {
    /// Makes a machine whose address ends with this byte. `key` is the SSH key with which root can
    /// log in.
    pub(super) fn new(name: &str, last: u8, key: &Path, disk_bytes: u64) -> Result<Self> {
        let mac = format!("52:54:0a:65:0f:{last:02x}");
        Ok(Self {
            name: name.to_owned(),
            address: format!("10.101.15.{last}"),
            key: key.to_owned(),
            machine: Machine::new(name, &mac, disk_bytes)?,
            mac,
            running: None,
        })
    }

    pub(super) fn power_on(&mut self, ours: &Provisioning) -> Result<()> {
        self.running = Some(self.machine.power_on(&ours.network)?);
        Ok(())
    }

    pub(super) fn cut_power(&mut self) {
        self.running = None;
    }

    /// Returns false if the machine has switched itself off. If the machine is rebooting, continues
    /// its reboot.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        match &mut self.running {
            Some(running) => running.is_on(),
            None => Ok(true),
        }
    }

    /// Replaces the disk of the machine with an empty disk. The machine must be off.
    pub(super) fn blank_disk(&self) -> Result<()> {
        ensure!(self.running.is_none(), "{} is on", self.name);
        self.machine.blank()
    }

    pub(super) fn ip(&self) -> Result<Ipv4Addr> {
        Ok(self.address.parse()?)
    }

    /// Returns everything that the machine has printed since it was switched on.
    pub(super) fn console(&self) -> String {
        self.machine.console()
    }

    /// Returns the end of the machine's console output.
    pub(super) fn tail(&self) -> String {
        format!("--- {}\n{}\n", self.name, tail(&self.console(), 40))
    }

    /// Runs a script in root's login shell on the node, over SSH from the provisioning server.
    pub(super) fn shell(&self, ours: &Provisioning, script: &str) -> Result<String> {
        let mut ssh = ours.network.world().command("ssh");
        ssh.arg("-i").arg(&self.key);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=60",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("root@{}", self.address));
        let quoted = script.replace('\'', r"'\''");
        process::run(ssh.arg(format!("bash -lc '{quoted}'")))?.ok()
    }
}
