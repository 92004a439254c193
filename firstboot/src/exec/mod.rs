//! `firstboot exec`: becomes a program that can make only the system calls of a server, and gets only known variables.
//!
//! systemd 219 of CentOS 7 is built without seccomp: `SystemCallFilter=`, `SystemCallArchitectures=` and
//! `RestrictAddressFamilies=` do nothing there (its configure: `-SECCOMP`; load-fragment-gperf.gperf.m4). The kernel has seccomp
//! (3.10.0-1160, CONFIG_SECCOMP_FILTER), so firstboot loads the filter itself. The process stays the same one, and with it
//! systemd's main PID, the notify socket, limits and namespaces.

mod environment;
mod filter;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

pub(crate) use filter::Sockets;

use crate::exit::failed;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The kinds of sockets that the program may open
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    sockets: Vec<Sockets>,
    /// The program, by its absolute path
    program: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Loads the filter and becomes the program. It returns only if one of the two fails: then no program runs at all.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { sockets, program, arguments } = options;
    ensure!(program.is_absolute(), "{} is a relative path; give the program's absolute path", program.display());
    let filter = filter::compile(sockets).context("the filter of system calls cannot be made")?;
    // It also sets no_new_privs. Every thread that this one starts inherits both, and so does the program.
    seccompiler::apply_filter(&filter)
        .context("the kernel does not take the filter of system calls; it needs CONFIG_SECCOMP_FILTER")?;
    let variables = std::env::vars_os().filter(|(name, _)| environment::passes(name));
    let error = Command::new(program).args(arguments).env_clear().envs(variables).exec();
    Err(failed(format!("cannot run {}: {error}. Check that the file exists and is executable", program.display())))
}
