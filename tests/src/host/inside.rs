//! Actions on a running host, carried out through nsenter.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Host, POLL_INTERVAL};
use crate::kernel;
use crate::process::{self, Output};

/// The PATH of a login shell.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Host {
    /// Returns a command that runs on the host, in all its namespaces. The command has only three
    /// environment variables: the PATH of a login shell, HOME, and LANG.
    pub fn command(&self, program: &[&str]) -> Result<Command> {
        let mut command = kernel::command("nsenter", &self.ported)?;
        command
            .args([
                "--all",
                "--target",
                &self.init()?.to_string(),
                "--",
                "/usr/bin/env",
                "-i",
            ])
            .args([&format!("PATH={PATH}"), "HOME=/root", "LANG=C.UTF-8"])
            .args(program);
        Ok(command)
    }

    /// Runs a program on the host, and accepts any exit code.
    pub fn run(&self, program: &[&str]) -> Result<Output> {
        process::run(&mut self.command(program)?)
    }

    /// Runs a program on the host and returns the program's standard output. Fails if the program
    /// does not succeed.
    pub fn check(&self, program: &[&str]) -> Result<String> {
        self.run(program)?
            .ok()
            .with_context(|| format!("on {}", self.name()))
    }

    /// Runs a shell script on the host, and accepts any exit code.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.run(&["sh", "-c", script])
    }

    /// Waits until a shell condition is true on the host.
    pub fn wait_for(&self, condition: &str, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout;
        while !self.sh(condition)?.success() {
            if Instant::now() >= end {
                let journal = self.journal("firstboot").unwrap_or_default();
                bail!(
                    "on {}, `{condition}` is not true after {timeout:?}; firstboot:\n{journal}",
                    self.name()
                );
            }
            sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Returns the unit's journal of all boots. If the host is off, reads the journal from the
    /// host's disk.
    pub fn journal(&self, unit: &str) -> Result<String> {
        let unit = format!("--unit={unit}");
        // Check that the first process still exists, because the host may have switched itself off.
        if self
            .init()
            .is_ok_and(|init| Path::new(&format!("/proc/{init}")).exists())
        {
            return self.check(&[
                "journalctl",
                "--no-pager",
                "--output=short-monotonic",
                &unit,
            ]);
        }
        let folder = format!("--directory={}", self.path("/var/log/journal").display());
        process::check(
            "journalctl",
            &["--no-pager", "--output=short-monotonic", &folder, &unit],
        )
    }
}
