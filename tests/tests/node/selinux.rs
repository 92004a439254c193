//! Tests etcd's own SELinux domain. One test adds the module to a policy, and queries the rules of
//! the result. For the other test, a node made with the stand-in installer boots in a virtual
//! machine in permissive mode. etcd is then restarted in enforcing mode.
//!
//! The policy is that of Debian 12, not that of CentOS 7.9. Both policies derive from the reference
//! policy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::{long, tail, trial};
use tests::overlay::Overlay;
use tests::requirement::Requirement;
use tests::vm::{self, Vm};
use tests::{base, cache, process};

use crate::{bed, rules};

const REQUIREMENTS: &[Requirement] = &[
    Requirement::Nspawn,
    Requirement::Debootstrap,
    Requirement::Network,
    Requirement::Pip,
    Requirement::Root,
    Requirement::Qemu,
    Requirement::Setools,
    Requirement::Apt,
    Requirement::Xfs,
];
/// The time limit for the virtual machine. A boot takes about thirty seconds without KVM.
const VM_TIMEOUT: Duration = Duration::from_secs(900);
const MODULE: &str = "/usr/share/selinux/packages/etcd.cil";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_selinux_module_permits_only_what_etcd_needs",
            &[
                Requirement::Debootstrap,
                Requirement::Network,
                Requirement::Root,
                Requirement::Setools,
                Requirement::Apt,
            ],
            permitted,
        ),
        long(
            "etcd_runs_in_its_own_domain_where_selinux_enforces",
            REQUIREMENTS,
            confined,
        ),
    ]
}

/// Returns Debian's built policy, together with the store from which it was built.
fn policy() -> Result<PathBuf> {
    cache::entry("selinux-policy-default", |folder| {
        let root = Overlay::new("policy", &base::base()?)?;
        let script = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
                      selinux-policy-default";
        process::run(
            Command::new("chroot")
                .arg(root.root())
                .args(["sh", "-euc", script]),
        )?
        .ok()?;
        for path in ["etc/selinux", "var/lib/selinux"] {
            let to = folder.join(path);
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            process::check(
                "cp",
                &[
                    "--archive",
                    &root.root().join(path).to_string_lossy(),
                    &to.to_string_lossy(),
                ],
            )?;
        }
        Ok(())
    })
}

/// Runs a script in a root file system on which no host is running. Mounts /proc in that root file
/// system, because setfiles uses /proc to reach each file.
fn inside(root: &Path, script: &str) -> Result<String> {
    let enter = "mount --make-rprivate / && mount -t proc proc \"$1/proc\" && exec chroot \"$1\" sh -euc \"$2\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-euc", enter, "sh"])
        .arg(root)
        .arg(script);
    process::run(&mut command)?.ok()
}

/// Adds Debian's policy to a root file system.
fn add_policy(root: &Path) -> Result<()> {
    let policy = policy()?;
    for path in ["etc/selinux/default", "var/lib/selinux"] {
        let to = root.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        process::check(
            "cp",
            &[
                "--archive",
                "--no-target-directory",
                &policy.join(path).to_string_lossy(),
                &to.to_string_lossy(),
            ],
        )?;
    }
    Ok(())
}

/// Adds the module for etcd to the policy in a root file system, as the kickstart does on CentOS
/// for the policy `targeted`.
fn add_module(root: &Path) -> Result<()> {
    inside(root, &format!("semodule -n -s default -i {MODULE}")).map(drop)
}

fn permitted() -> Result<()> {
    let overlay = Overlay::new("selinux", &base::base()?)?;
    let root = overlay.root();
    add_policy(&root)?;
    let module = MODULE.trim_start_matches('/');
    let to = root.join(module);
    fs::create_dir_all(to.parent().unwrap_or(&to))?;
    fs::copy(
        cache::workspace().join("kickstart/overlay").join(module),
        &to,
    )?;
    add_module(&root)?;
    rules::check(&built(&root)?)
}

/// Returns the policy that semodule built in a root file system.
fn built(root: &Path) -> Result<PathBuf> {
    let folder = root.join("etc/selinux/default/policy");
    let mut files = fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    ensure!(files.len() == 1, "expected one policy, found {files:?}");
    Ok(files.remove(0))
}

/// Prepares an installed node's disk for the policy and the virtual machine.
fn prepare(root: &Path) -> Result<()> {
    add_policy(root)?;
    // The image's own configuration names the policy `targeted`, as on CentOS.
    std::os::unix::fs::symlink("default", root.join("etc/selinux/targeted"))?;
    fs::copy(vm::busybox()?, root.join("usr/local/bin/busybox"))?;
    fs::write(root.join("root/confined.sh"), include_str!("confined.sh"))?;
    let unit = "[Unit]\nWants=dbus.socket firstboot.service etcd.service systemd-networkd.service\n\
                [Service]\nExecStart=/bin/bash /root/confined.sh\n";
    fs::write(root.join("etc/systemd/system/confined.service"), unit)?;
    fs::write(
        root.join("etc/systemd/network/10-all.network"),
        "[Match]\nName=e*\n[Network]\nDHCP=ipv4\n",
    )?;
    inside(
        root,
        "systemctl mask firewalld chrony systemd-networkd-wait-online",
    )?;
    add_module(root)?;
    inside(
        root,
        "setfiles -F /etc/selinux/default/contexts/files/file_contexts /",
    )
    .map(drop)
}

/// The lines that the machine must print.
const LINES: [&str; 16] = [
    "active: active active",
    "enforcing: 1",
    "domain: system_u:system_r:etcd_t:s0",
    "read: value",
    "defragmented",
    "label: system_u:object_r:etcd_var_lib_t:s0",
    "key: system_u:object_r:etcd_cert_t:s0",
    "metrics answer",
    "attempt unconfined shadow: 0",
    "attempt own: 0",
    "attempt certificate: 0",
    "attempt shadow: 1",
    "attempt journal: 1",
    "attempt write: 1",
    "attempt elsewhere: 1",
    "attempt port: 1",
];

fn confined() -> Result<()> {
    let node = bed::installed("[selinux]\nmodule = true\n")?;
    let kickstart = node.provisioning.kickstart()?;
    let (load, labels) = (
        kickstart.find(&format!("semodule -n -s targeted -i {MODULE}")),
        kickstart.find("restorecon -F -f -"),
    );
    ensure!(
        load.is_some() && load < labels,
        "the kickstart does not load the module before it labels the files"
    );
    let vm = Vm::new(&node.host.root(), 3 << 30, prepare)?;
    // This test checks only etcd's domain. Therefore the node boots in permissive mode, and etcd is
    // later restarted in enforcing mode. The kernel argument fstab=no is set, because all volumes
    // are one file system here. systemd starts only the units that the test needs.
    let words = "security=selinux selinux=1 enforcing=0 audit_backlog_limit=8192 fstab=no \
                 net.ifnames=0 loglevel=4 systemd.unit=confined.service";
    vm.run(
        words,
        (node.host.address(), &node.host.link().mac),
        VM_TIMEOUT,
    )?;
    let read = |name: &str| {
        vm.mounted(|root| {
            fs::read_to_string(root.join("root").join(name)).context("the machine printed nothing")
        })
    };
    let (said, denials) = (read("result")?, read("avc")?);
    let all = || {
        format!(
            "{said}\ndenials:\n{denials}\nconsole:\n{}",
            tail(&vm.console(), 30)
        )
    };
    for line in LINES {
        ensure!(
            said.lines().any(|said| said == line),
            "not printed: {line}\n{}",
            all()
        );
    }
    vm.mounted(|root| rules::check(&root.join("root/policy")))?;
    ensure!(
        denials.trim().is_empty(),
        "the policy denied an access by etcd\n{}",
        all()
    );
    // If denials were not logged, the check would prove nothing.
    let logged = said.lines().any(|line| {
        line.strip_prefix("denials: ")
            .is_some_and(|count| count != "0")
    });
    ensure!(logged, "the denials are not logged\n{}", all());
    Ok(())
}
