//! Runs programs of the operating system.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program of the operating system. If the program fails, returns an error that contains the
/// program's standard error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let words = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // In its own process group, the program does not receive the signals of the terminal.
        .process_group(0)
        .output()
        .with_context(|| format!("cannot run `{}`", words()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", words(), output.status, said.trim());
    }
    Ok(())
}
