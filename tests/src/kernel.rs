//! Disables the system calls newer than Linux 3.10 on a host, because the kernel of CentOS 7.9 is
//! based on Linux 3.10.
//!
//! A host's first process, all its services, and each command that a test runs on the host get
//! ENOSYS for the newer calls, as from a kernel that lacks them. A filter applies to a process and
//! to everything that the process starts. Therefore, the test program itself acts as a launcher: it
//! loads the filter, and then executes nspawn or nsenter.
//!
//! Other differences from 3.10 remain on a host: the flags of calls, file systems, the network, and
//! what uname(2) returns. Virtual machines have their own kernels.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use nix::libc::{self, sock_filter, sock_fprog};

/// `finit_module`, the last call of Linux 3.10 (arch/x86/syscalls/syscall_64.tbl).
pub const LAST_SYSTEM_CALL: u32 = 313;

/// A call newer than 3.10 that a host can still have, because Red Hat backported it. A host does
/// not have the other calls that Red Hat backported, although CentOS 7.9 has them. A program that
/// works without these calls also works with them. firstboot/src/exec/calls.txt lists all
/// backported calls, with the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ported {
    /// The system call with which firstboot loads etcd's filter.
    Seccomp = 317,
    /// The system call that Debian's sshd needs, because OpenSSL relies on the version from
    /// uname(2) and does not probe for this call.
    Getrandom = 318,
}

/// If the first argument begins with this text, the program acts as the launcher. The numbers of
/// the calls that stay available follow this text.
const LAUNCH: &str = "--old-kernel=";

/// `AUDIT_ARCH_X86_64` (include/uapi/linux/audit.h).
const X86_64: u32 = 0xc000_003e;

/// Returns a command that runs a program without the newer calls, except for the given calls.
pub fn command(program: &str, left: &[Ported]) -> Result<Command> {
    let numbers: Vec<String> = left.iter().map(|call| (*call as u32).to_string()).collect();
    let mut command =
        Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .arg(format!("{LAUNCH}{}", numbers.join(",")))
        .arg(program);
    Ok(command)
}

/// Executes a different program without the newer calls, if the arguments request that. Returns
/// only if the arguments do not request that, or after a failure. A program that creates hosts must
/// call this function first in `main`.
pub fn launch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?.into_string().ok()?;
    let left = first.strip_prefix(LAUNCH)?;
    let fails = |left: &str| -> Result<()> {
        let left = left
            .split(',')
            .filter(|number| !number.is_empty())
            .map(str::parse);
        forget_newer_calls(&left.collect::<Result<Vec<u32>, _>>()?)?;
        let program = arguments.next().context("the arguments name no program")?;
        bail!(
            "cannot run {}: {}",
            program.display(),
            Command::new(&program).args(arguments).exec()
        )
    };
    fails(left).err().map(|error| {
        eprintln!("the launcher for an old kernel: {error:#}");
        ExitCode::FAILURE
    })
}

/// Removes the newer calls, except for the given calls, from this process and everything that it
/// starts from now on.
fn forget_newer_calls(left: &[u32]) -> Result<()> {
    // In struct seccomp_data, the architecture is at offset 4 and the call's number at offset 0.
    let other = [
        load(4),
        jump(libc::BPF_JEQ, X86_64, 1, 0),
        give(libc::SECCOMP_RET_ALLOW),
        load(0),
    ];
    let left = left.iter().flat_map(|call| {
        [
            jump(libc::BPF_JEQ, *call, 0, 1),
            give(libc::SECCOMP_RET_ALLOW),
        ]
    });
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let rest = [
        jump(libc::BPF_JGT, LAST_SYSTEM_CALL, 1, 0),
        give(libc::SECCOMP_RET_ALLOW),
        give(refused),
    ];
    let mut program: Vec<sock_filter> = other.into_iter().chain(left).chain(rest).collect();
    install(&mut program).context("cannot remove the newer system calls")
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(comparison: u32, with: u32, if_true: u8, if_false: u8) -> sock_filter {
    statement(
        libc::BPF_JMP | comparison | libc::BPF_K,
        with,
        if_true,
        if_false,
    )
}

fn give(answer: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

fn statement(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    }
}

/// Loads the filter into the kernel. This function uses none of the crates for filters, because
/// they set no_new_privs before they load a filter. no_new_privs would hide the effect of a unit's
/// NoNewPrivileges= from the tests. Root can load a filter without no_new_privs.
#[expect(
    unsafe_code,
    reason = "prctl takes a pointer, and every crate that loads filters sets no_new_privs"
)]
fn install(program: &mut [sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: both pointers are valid for the whole call. The kernel copies the data behind them
    // and does not keep the pointers.
    let answer = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
