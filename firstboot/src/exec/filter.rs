//! Compiles the system-call filter from the table in calls.txt.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The table of all system calls of CentOS 7's kernel, with the treatment of each call.
const CALLS: &str = include_str!("calls.txt");

/// A kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SocketKind {
    /// TCP and UDP, over IPv4 and IPv6
    Inet,
    /// UNIX sockets, for systemd and its journal
    Unix,
    /// Netlink sockets, to read routes and interfaces
    Netlink,
}

/// The treatment of a system call, as in calls.txt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterAction {
    Allow,
    Match,
    Refuse,
}

/// Compiles the filter for a program that may open these kinds of sockets.
///
/// The filter lists the allowed calls. All other calls fail with ENOSYS, as on an older kernel, so
/// Go and Rust use an older call instead. The kernel kills a program that makes a system call of a
/// different architecture.
pub(super) fn compile(sockets: &[SocketKind]) -> Result<BpfProgram> {
    let mut rules = BTreeMap::new();
    for (number, name, verdict) in calls()? {
        match verdict {
            FilterAction::Allow => rules.insert(number, Vec::new()),
            FilterAction::Match => match matches(name, sockets)? {
                // Omit a call that has no rules. If the filter contained the call without rules, it
                // would allow the call with any arguments.
                none if none.is_empty() => None,
                some => rules.insert(number, some),
            },
            FilterAction::Refuse => None,
        };
    }
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    Ok(SeccompFilter::new(rules, refused, SeccompAction::Allow, TargetArch::x86_64)?.try_into()?)
}

/// Parses the lines of calls.txt. Each line contains a treatment, and the calls to which the
/// treatment applies, as `NUMBER:NAME`.
fn calls() -> Result<Vec<(i64, &'static str, FilterAction)>> {
    let mut calls = Vec::new();
    for line in CALLS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (verdict, named) = line
            .split_once(' ')
            .with_context(|| format!("calls.txt: expected a call in {line:?}"))?;
        let verdict = match verdict {
            "allow" => FilterAction::Allow,
            "match" => FilterAction::Match,
            "refuse" => FilterAction::Refuse,
            _ => bail!("calls.txt: expected allow, match or refuse, found {verdict:?}"),
        };
        for call in named.split(' ') {
            let (number, name) = call
                .split_once(':')
                .with_context(|| format!("calls.txt: expected a number in {call:?}"))?;
            calls.push((
                number
                    .parse()
                    .with_context(|| format!("calls.txt: {call:?}"))?,
                name,
                verdict,
            ));
        }
    }
    Ok(calls)
}

/// Returns the rules for the arguments of a call. A call is allowed if all conditions of at least
/// one rule are true.
fn matches(name: &str, sockets: &[SocketKind]) -> Result<Vec<SeccompRule>> {
    let prot = |flag: i32| bits(2, flag, 0);
    match name {
        // Memory must not be both writable and executable.
        "mmap" => vec![
            rule([prot(libc::PROT_WRITE)]),
            rule([prot(libc::PROT_EXEC)]),
        ],
        // No program that runs with this filter needs mprotect to make memory executable. The
        // kernel maps the code of a static program, and a dynamic linker maps code with its final
        // permissions.
        "mprotect" => vec![rule([prot(libc::PROT_EXEC)])],
        "ioctl" => {
            let requests = [
                libc::TCGETS,
                libc::TIOCGWINSZ,
                libc::FIONREAD,
                libc::FIONBIO,
                libc::FIOCLEX,
                libc::FIONCLEX,
            ];
            requests
                .into_iter()
                .map(|request| rule([is(1, request)]))
                .collect()
        }
        "clone" => {
            let namespaces = libc::CLONE_NEWNS
                | libc::CLONE_NEWCGROUP
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUSER
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWNET;
            vec![rule([
                bits(0, libc::CLONE_THREAD, libc::CLONE_THREAD),
                bits(0, namespaces, 0),
            ])]
        }
        "socket" => sockets.iter().flat_map(|kind| openable(*kind)).collect(),
        "socketpair" => vec![rule([is(0, libc::AF_UNIX)])],
        _ => bail!(
            "calls.txt: {name} is marked `match`, but filter.rs has no rules for its arguments"
        ),
    }
    .into_iter()
    .collect()
}

/// Returns the rules for sockets of a kind: their domains, types and protocols.
fn openable(kind: SocketKind) -> Vec<Result<SeccompRule>> {
    // The kernel also accepts flags in the type (include/linux/net.h, SOCK_TYPE_MASK).
    let of_type = |number: i32| bits(1, 0xf, number);
    match kind {
        SocketKind::Unix => vec![rule([is(0, libc::AF_UNIX)])],
        SocketKind::Netlink => vec![rule([is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)])],
        SocketKind::Inet => {
            let protocols = [
                (libc::SOCK_STREAM, libc::IPPROTO_TCP),
                (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            ];
            let domains = [libc::AF_INET, libc::AF_INET6].into_iter();
            domains
                .flat_map(|domain| {
                    protocols.into_iter().flat_map(move |(kind, protocol)| {
                        // The protocol 0 means the default protocol of the socket type.
                        [0, protocol]
                            .map(|protocol| rule([is(0, domain), of_type(kind), is(2, protocol)]))
                    })
                })
                .collect()
        }
    }
}

fn rule<const N: usize>(conditions: [Result<SeccompCondition>; N]) -> Result<SeccompRule> {
    Ok(SeccompRule::new(
        conditions.into_iter().collect::<Result<_>>()?,
    )?)
}

fn is<T: TryInto<u64>>(argument: u8, number: T) -> Result<SeccompCondition> {
    condition(argument, SeccompCmpOp::Eq, number)
}

/// Builds the condition that an argument has the same bits as `value` in the positions that `mask`
/// selects.
fn bits(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition> {
    condition(
        argument,
        SeccompCmpOp::MaskedEq(mask.try_into().context("a bug: the mask is negative")?),
        value,
    )
}

/// Builds a condition on the lower 32 bits of an argument. The lower 32 bits are sufficient,
/// because every compared argument is an int, or contains flags without higher bits.
fn condition<T: TryInto<u64>>(
    argument: u8,
    operator: SeccompCmpOp,
    value: T,
) -> Result<SeccompCondition> {
    let value = value
        .try_into()
        .ok()
        .context("a bug: the number is negative")?;
    ensure!(
        u32::try_from(value).is_ok(),
        "{value:#x} has more than 32 bits"
    );
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?)
}

#[cfg(test)]
mod tests;
