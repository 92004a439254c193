//! `firstboot exec`: runs a program that may make only the system calls that a server needs. The
//! program receives only known environment variables.
//!
//! systemd 219 of CentOS 7 is built without seccomp (its build options contain `-SECCOMP`), so
//! `SystemCallFilter=`, `SystemCallArchitectures=` and `RestrictAddressFamilies=` have no effect
//! (load-fragment-gperf.gperf.m4). The kernel has seccomp (3.10.0-1160, CONFIG_SECCOMP_FILTER), so
//! firstboot loads the filter itself. firstboot replaces itself with the program (execve(2)), so
//! the program keeps the unit's main PID, the notification socket, the limits and the namespaces.

mod environment;
mod filter;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

pub(crate) use filter::SocketKind;

use crate::exit::failed;

/// The command line of `firstboot exec`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: firstboot exec --sockets inet,unix,netlink -- /usr/local/bin/etcd --config-file /etc/etcd/etcd.conf"
)]
pub(crate) struct Options {
    /// The kinds of sockets that the program may open
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    sockets: Vec<SocketKind>,
    /// The absolute path of the program
    program: PathBuf,
    /// The arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Loads the filter and executes the program with the allowed environment variables. Returns only
/// if the filter cannot be loaded or the program cannot be executed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options {
        sockets,
        program,
        arguments,
    } = options;
    ensure!(
        program.is_absolute(),
        "{} is a relative path. Pass the program's absolute path",
        program.display()
    );
    let filter = filter::compile(sockets).context("cannot compile the system-call filter")?;
    // Loading the filter also sets no_new_privs. New threads and the executed program inherit the
    // filter and no_new_privs.
    seccompiler::apply_filter(&filter)
        .context("cannot load the system-call filter: the kernel needs CONFIG_SECCOMP_FILTER")?;
    let variables = std::env::vars_os().filter(|(name, _)| environment::passes(name));
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .exec();
    Err(failed(format!(
        "cannot run {}: {error}. Check that the file exists and is executable",
        program.display()
    )))
}
