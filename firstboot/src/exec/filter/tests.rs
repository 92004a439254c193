use std::collections::BTreeSet;

use super::*;

#[test]
fn the_table_lists_each_kernel_call_once() -> Result<()> {
    let calls = calls()?;
    let numbers: BTreeSet<i64> = calls.iter().map(|(number, ..)| *number).collect();
    let names: BTreeSet<&str> = calls.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(numbers.len(), calls.len());
    assert_eq!(names.len(), calls.len());
    let ported_back = [
        314, 315, 316, 317, 318, 319, 320, 321, 323, 324, 325, 326, 329, 330, 331,
    ];
    assert_eq!(numbers, (0..=313).chain(ported_back).collect());
    Ok(())
}

/// A wrong number in the table would allow a different call, so the test compares the numbers with
/// those of the C library.
#[test]
fn the_numbers_match_the_names() -> Result<()> {
    let calls = calls()?;
    let known = [
        ("read", libc::SYS_read),
        ("mmap", libc::SYS_mmap),
        ("mprotect", libc::SYS_mprotect),
        ("ioctl", libc::SYS_ioctl),
        ("socket", libc::SYS_socket),
        ("socketpair", libc::SYS_socketpair),
        ("clone", libc::SYS_clone),
        ("ptrace", libc::SYS_ptrace),
        ("mount", libc::SYS_mount),
        ("keyctl", libc::SYS_keyctl),
        ("unshare", libc::SYS_unshare),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("finit_module", libc::SYS_finit_module),
        ("getrandom", libc::SYS_getrandom),
        ("bpf", libc::SYS_bpf),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("pkey_free", libc::SYS_pkey_free),
    ];
    for (name, number) in known {
        assert!(
            calls.iter().any(|call| (call.0, call.1) == (number, name)),
            "{name} is not {number}"
        );
    }
    Ok(())
}

#[test]
fn every_filter_stays_below_the_kernels_limit() -> Result<()> {
    // The kernel's limit is BPF_MAXINSNS (include/uapi/linux/bpf_common.h).
    for sockets in [
        &[][..],
        &[SocketKind::Inet],
        &[SocketKind::Inet, SocketKind::Unix, SocketKind::Netlink],
    ] {
        assert!(compile(sockets)?.len() < 4096, "{sockets:?}");
    }
    Ok(())
}

/// If the filter contained a call without rules, it would allow the call with any arguments.
#[test]
fn without_socket_kinds_no_socket_can_be_opened() -> Result<()> {
    assert!(matches("socket", &[])?.is_empty());
    let with = compile(&[SocketKind::Inet])?.len();
    assert!(compile(&[])?.len() < with);
    Ok(())
}
