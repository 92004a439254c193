//! Tests the system calls that `firstboot exec` allows and forbids. A test program runs in place of
//! a unit's program, with the unit's filter.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::host::Host;
use tests::kernel::LAST_SYSTEM_CALL;

use crate::sandbox::{EXEC, Sandbox};

/// The calls that `firstboot exec` forbids to every program. The numbers are those of x86-64 Linux.
pub(crate) const SERVER_ONLY: [&str; 15] = [
    // Sockets for AF_PACKET, AF_ALG, AF_VSOCK, raw IP, SCTP and DCCP. A socket for SCTP or DCCP
    // would make the kernel load a module.
    "opened=17=3=0",
    "opened=38=5=0",
    "opened=40=1=0",
    "opened=2=3=1",
    "opened=2=1=132",
    "opened=10=6=33",
    // Netlink sockets for the firewall, for audit, and for udev's events.
    "opened=16=3=12",
    "opened=16=3=9",
    "opened=16=3=15",
    "pair=2",
    // A page that is writable and executable at the same time, and a page that is first writable
    // and then executable.
    "memory=7",
    "memory=3=5",
    // A new process, and a new process in a new UTS namespace, which has its own host name.
    "process=0",
    "process=0x4000000",
    // TIOCSTI, which inserts a character as if it had been typed into a terminal.
    "request=0x5412",
];

/// The calls that `firstboot exec` also forbids to the snapshot unit: Unix sockets (to reach
/// systemd and its journal) and netlink sockets for routes.
pub(crate) const INTERNET_ONLY: [&str; 3] = ["opened=1=1=0", "opened=1=2=0", "opened=16=3=0"];

/// System calls that a server needs, and that `firstboot exec` allows.
const SERVER: [&str; 9] = [
    "opened=2=1=0",
    "opened=2=1=6",
    "opened=2=2=17",
    "opened=10=1=0",
    // A UDP socket over IPv6 with SOCK_NONBLOCK and SOCK_CLOEXEC.
    "opened=10=0x80802=0",
    "pair=1",
    "memory=3",
    "memory=3=1",
    // FIONBIO.
    "request=0x5421",
];

/// The verdict of `firstboot exec` on each of the kernel's system calls.
const CALLS: &str = include_str!("../../../firstboot/src/exec/calls.txt");

/// The refused calls that can fail with ENOSYS even without `firstboot exec`, because Linux 6 no
/// longer has these calls, never had them, or is built without support for modules, kexec or I/O
/// ports.
const SILENT: [&str; 23] = [
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "getpmsg",
    "putpmsg",
    "afs_syscall",
    "tuxcall",
    "security",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "set_thread_area",
    "get_thread_area",
    "lookup_dcookie",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "iopl",
    "ioperm",
];

/// Tests what [`crate::protections`] does not cover: the allowed calls, every refused call, and a
/// program for a different architecture.
pub(crate) fn check(host: &Host, sandbox: &Sandbox) -> Result<()> {
    allowed(host, sandbox)?;
    refused_calls(host, sandbox)?;
    other_architecture(host, sandbox)
}

/// Checks that the calls that a server needs succeed.
fn allowed(host: &Host, sandbox: &Sandbox) -> Result<()> {
    for (attempt, found) in sandbox.try_out(host, &SERVER.map(str::to_owned))? {
        ensure!(found == "done", "`{attempt}` is {found}");
    }
    Ok(())
}

/// Checks that each call with the mark `refuse` in calls.txt fails with ENOSYS, and that most of
/// these calls do not fail this way without `firstboot exec`.
fn refused_calls(host: &Host, sandbox: &Sandbox) -> Result<()> {
    const NONE: &str = "refused ENOSYS";
    let refused = CALLS
        .lines()
        .filter_map(|line| line.strip_prefix("refuse "))
        .flat_map(|calls| calls.split(' '));
    let calls: Vec<(&str, &str)> = refused.filter_map(|call| call.split_once(':')).collect();
    ensure!(calls.len() > 100, "only {} calls are refused", calls.len());
    let attempts: Vec<String> = calls
        .iter()
        .map(|(number, _)| format!("call={number}"))
        .collect();
    for (attempt, found) in sandbox.try_out(host, &attempts)? {
        ensure!(found == NONE, "{attempt} is {found}");
    }
    // Skip the calls newer than Linux 3.10, which the test bed also refuses, and fork and vfork,
    // which would start a process.
    let shows = |call: &&(&str, &str)| {
        let (number, name) = *call;
        number
            .parse()
            .is_ok_and(|number: u32| number <= LAST_SYSTEM_CALL)
            && !SILENT.contains(name)
            && !name.ends_with("fork")
    };
    let attempts: Vec<String> = calls
        .iter()
        .filter(shows)
        .map(|(number, _)| format!("call={number}"))
        .collect();
    let without = sandbox.without(&[EXEC]).try_out(host, &attempts)?;
    let silent: Vec<&String> = without
        .iter()
        .filter(|(_, found)| *found == NONE)
        .map(|(attempt, _)| attempt)
        .collect();
    ensure!(
        silent.is_empty(),
        "also refused without firstboot exec, so these calls prove nothing: {silent:?}"
    );
    Ok(())
}

/// Checks that a program for a different architecture is killed at its first system call, because
/// the same number means a different call on that architecture.
fn other_architecture(host: &Host, sandbox: &Sandbox) -> Result<()> {
    host.write("/opt/probe/i386", I386, 0o755)?;
    let killer = sandbox.killer_of(host, "/opt/probe/i386")?;
    ensure!(
        killer == Some(Signal::SIGSYS as i32),
        "killed by {killer:?}"
    );
    let killer = sandbox
        .without(&[EXEC])
        .killer_of(host, "/opt/probe/i386")?;
    ensure!(
        killer.is_none(),
        "without firstboot exec, the program is killed by {killer:?}"
    );
    Ok(())
}

/// A program for i386 that exits successfully, with an ELF header, a program header, and `exit(0)`
/// by `int 0x80`.
const I386: [u8; 91] = {
    let mut file = [0; 91];
    let parts: [(usize, &[u8]); 9] = [
        (0, b"\x7fELF\x01\x01\x01"),
        (16, &[2, 0, 3, 0, 1, 0, 0, 0]),
        // The entry point and the offset of the program headers, and then the sizes of the headers
        // and the number of program headers.
        (24, &[0x54, 0x80, 0x04, 0x08, 52, 0, 0, 0]),
        (40, &[52, 0, 32, 0, 1, 0]),
        (52, &[1, 0, 0, 0]),
        // The segment is loaded from the start of the file, and is readable and executable.
        (60, &[0, 0x80, 0x04, 0x08, 0, 0x80, 0x04, 0x08]),
        (68, &[91, 0, 0, 0, 91, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0]),
        (84, &[0x31, 0xdb, 0x31, 0xc0, 0x40]),
        (89, &[0xcd, 0x80]),
    ];
    let mut part = 0;
    while part < parts.len() {
        let (at, bytes) = parts[part];
        let mut byte = 0;
        while byte < bytes.len() {
            file[at + byte] = bytes[byte];
            byte += 1;
        }
        part += 1;
    }
    file
};
