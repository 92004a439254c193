//! Tests what a policy allows etcd's domain to do. The test reads the policy itself, and therefore
//! also covers actions that no test tries.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::process;

/// Queries for sesearch, each with exactly the types that its answer must contain.
const RULES: &[(&[&str], &[&str])] = &[
    // etcd is a single program and starts no other program: no shell, and nothing in /usr/bin.
    (
        &["-s", "etcd_t", "-c", "file", "-p", "entrypoint"],
        &["etcd_exec_t"],
    ),
    (
        &["-s", "etcd_t", "-c", "file", "-p", "execute_no_trans"],
        &[],
    ),
    (
        &["-s", "etcd_t", "-c", "file", "-p", "execute"],
        &["etcd_exec_t", "ld_so_t", "lib_t", "textrel_shlib_t"],
    ),
    (
        &[
            "-s",
            "etcd_t",
            "-c",
            "process",
            "-p",
            "transition,dyntransition,ptrace",
        ],
        &[],
    ),
    // etcd may write only its data, and the files in /proc that describe its own process.
    (
        &[
            "-s",
            "etcd_t",
            "-c",
            "file",
            "-p",
            "write,append,create,unlink,rename,link,setattr",
        ],
        &["etcd_t", "etcd_var_lib_t"],
    ),
    (
        &[
            "-s",
            "etcd_t",
            "-c",
            "dir",
            "-p",
            "write,add_name,remove_name,create,rmdir",
        ],
        &["etcd_var_lib_t"],
    ),
    // etcd reads no passwords and no home folders.
    (&["-s", "etcd_t", "-t", "shadow_t"], &[]),
    (&["-s", "etcd_t", "-t", "user_home_t"], &[]),
    (&["-s", "etcd_t", "-t", "user_home_dir_t"], &[]),
    (
        &["-s", "etcd_t", "-c", "tcp_socket", "-p", "name_bind"],
        &["etcd_port_t"],
    ),
    (
        &["-s", "etcd_t", "-c", "tcp_socket", "-p", "name_connect"],
        &["dns_port_t", "etcd_port_t"],
    ),
    (
        &[
            "-s",
            "etcd_t",
            "-c",
            "udp_socket,rawip_socket",
            "-p",
            "name_bind",
        ],
        &[],
    ),
    (
        &[
            "-s",
            "etcd_t",
            "-c",
            "capability,capability2,security,system",
        ],
        &[],
    ),
    // Without this rule, etcd would remain in systemd's own domain, because its unit has
    // NoNewPrivileges=yes.
    (
        &[
            "-s",
            "init_t",
            "-t",
            "etcd_t",
            "-c",
            "process2",
            "-p",
            "nnp_transition",
        ],
        &["etcd_t"],
    ),
    // This query must find a rule; otherwise the empty answers above would prove nothing.
    (
        &[
            "-s", "passwd_t", "-t", "shadow_t", "-c", "file", "-p", "write",
        ],
        &["shadow_t"],
    ),
];

/// Checks a policy in the kernel's format: a file that semodule built, or a copy of
/// /sys/fs/selinux/policy.
pub(crate) fn check(policy: &Path) -> Result<()> {
    let policy = policy.to_str().context("the policy's path is not text")?;
    for (question, expected) in RULES {
        let said = process::check("sesearch", &[&["-A"], *question, &[policy]].concat())?;
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        let found: BTreeSet<&str> = said.lines().filter_map(target).collect();
        ensure!(
            found == expected,
            "{} is answered with {found:?}, not {expected:?}:\n{said}",
            question.join(" ")
        );
    }
    for port in ["2379", "2380", "2381"] {
        let said = process::check("seinfo", &[&format!("--portcon={port}"), policy])?;
        ensure!(
            said.contains("portcon tcp 2379-2381 system_u:object_r:etcd_port_t:s0"),
            "{said}"
        );
    }
    Ok(())
}

/// Returns the target of a rule `allow SOURCE TARGET:CLASS …`.
fn target(line: &str) -> Option<&str> {
    line.strip_prefix("allow ")?
        .split_once(' ')?
        .1
        .split(':')
        .next()
}
