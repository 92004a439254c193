//! Tests each protection of the units twice. With the unit unchanged, the forbidden action must be
//! refused. Without the directive, the same action must no longer be refused in this way, and most
//! actions must succeed. Both runs are necessary, because systemd silently runs a unit with a
//! misspelt or unknown protection.
//!
//! The hosts' systemd has no seccomp, as on CentOS 7, so `firstboot exec` enforces the filters
//! here.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::host::Host;

use crate::bed::{Bed, REQUIREMENTS};
use crate::sandbox::{EXEC, SECCOMP, Sandbox};
use crate::system_calls::{self, INTERNET_ONLY, SERVER_ONLY};

/// A directive, and the attempts that demonstrate its effect.
struct Case {
    directive: &'static str,
    /// Other directives with the same effect, which are removed in both runs.
    beside: &'static [&'static str],
    attempts: &'static [&'static str],
    /// The answer to each attempt if the directive is set. The answer must differ if the directive
    /// is not set.
    answer: &'static str,
}

const fn case(
    directive: &'static str,
    attempts: &'static [&'static str],
    answer: &'static str,
) -> Case {
    Case {
        directive,
        beside: &[],
        attempts,
        answer,
    }
}

/// `firstboot exec` also sets no_new_privs, and blocks the processes that the attempts start. If a
/// unit has PrivateDevices= and its user has no capabilities, newer versions of systemd also set
/// no_new_privs, but systemd 219 does not.
const BESIDE_PRIVILEGES: &[&str] = &[EXEC, "PrivateDevices", "CapabilityBoundingSet"];
const BESIDE_CAPABILITIES: &[&str] = &[EXEC, "PrivateDevices", "NoNewPrivileges"];

/// The cases that apply to all units.
const COMMON: [Case; 2] = [
    Case {
        directive: "NoNewPrivileges",
        beside: BESIDE_PRIVILEGES,
        attempts: &["another=/opt/probe/id"],
        answer: "refused EPERM",
    },
    case(
        "PrivateTmp",
        &["read=/tmp/probe", "read=/var/tmp/probe"],
        "refused ENOENT",
    ),
];

const ETCD: [Case; 11] = [
    UMASK,
    case(EXEC, &SERVER_ONLY, "refused ENOSYS"),
    Case {
        directive: "CapabilityBoundingSet",
        beside: BESIDE_CAPABILITIES,
        attempts: &["borrow=/opt/probe/cat=/opt/probe/nobodys"],
        answer: "refused EACCES",
    },
    case("PrivateDevices", &["read=/dev/probe"], "refused ENOENT"),
    PROTECT_SYSTEM,
    case(
        "ProtectHome",
        &["read=/home/probe/file", "read=/run/user/probe"],
        "refused EACCES",
    ),
    READ_ONLY,
    case(
        "ReadWriteDirectories",
        &["create=/var/lib/etcd/data"],
        "done",
    ),
    case(
        "InaccessibleDirectories",
        &[
            "read=/boot/probe",
            "read=/etc/ssh/probe",
            "read=/var/lib/firstboot/probe",
            "read=/var/backups/probe",
        ],
        "refused EACCES",
    ),
    case("User", &["read=/opt/probe/roots"], "refused EACCES"),
    Case {
        directive: "Group",
        beside: &["User"],
        attempts: &["read=/opt/probe/group-roots"],
        answer: "refused EACCES",
    },
];

/// The runs with and without the directive omit `firstboot exec`, which sets the same umask as the
/// directive.
const UMASK: Case = Case {
    directive: "UMask",
    beside: &[EXEC],
    attempts: &["shared=/var/lib/etcd/data"],
    answer: "refused EACCES",
};

/// Both runs omit ReadOnlyDirectories=/, because it also forbids these attempts.
const PROTECT_SYSTEM: Case = Case {
    directive: "ProtectSystem",
    beside: &["ReadOnlyDirectories"],
    attempts: &["create=/usr/probe", "create=/etc/probe"],
    answer: "refused EROFS",
};

const READ_ONLY: Case = case(
    "ReadOnlyDirectories",
    &[
        "create=/opt/probe",
        "create=/var/probe",
        "create=/run/probe",
    ],
    "refused EROFS",
);

/// Both runs omit `firstboot exec`, because its filter also blocks two of these attempts.
const CAPABILITIES: Case = Case {
    directive: "CapabilityBoundingSet",
    beside: &[EXEC],
    attempts: &["bind=80", "hurry", "setuid=1"],
    answer: "refused EPERM",
};

/// firstboot.service keeps CAP_NET_BIND_SERVICE, so it can bind to port 80.
const FIRSTBOOT: [Case; 4] = [
    UMASK,
    Case {
        attempts: &["hurry", "setuid=1"],
        ..CAPABILITIES
    },
    case(
        "ProtectSystem",
        &["create=/usr/probe", "create=/boot/probe.d"],
        "refused EROFS",
    ),
    case(
        "ProtectHome",
        &["create=/home/probe", "create=/root"],
        "refused EROFS",
    ),
];

/// The cases of the snapshot unit. systemd hides a folder under an empty folder. The unit runs as
/// root and can search the empty folder, so an attempt to read a hidden file fails with ENOENT.
const SNAPSHOT: [Case; 10] = [
    Case {
        attempts: &["shared=/var/backups/etcd"],
        ..UMASK
    },
    case(EXEC, &SERVER_ONLY, "refused ENOSYS"),
    case(EXEC, &INTERNET_ONLY, "refused ENOSYS"),
    CAPABILITIES,
    case("PrivateDevices", &["read=/dev/probe"], "refused ENOENT"),
    PROTECT_SYSTEM,
    case(
        "ProtectHome",
        &["read=/home/probe/file", "read=/run/user/probe"],
        "refused ENOENT",
    ),
    READ_ONLY,
    case(
        "ReadWriteDirectories",
        &["create=/var/backups/etcd"],
        "done",
    ),
    case(
        "InaccessibleDirectories",
        &[
            "read=/boot/probe",
            "read=/etc/ssh/probe",
            "read=/var/lib/etcd/probe",
            "read=/var/lib/firstboot/probe",
        ],
        "refused ENOENT",
    ),
];

/// The two limits that no attempt demonstrates. The test reads these limits from the running
/// member.
const ELSEWHERE: [&str; 2] = ["LimitCORE", "LimitNOFILE"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "each_protection_of_the_units_is_enforced_by_that_setting_alone",
        REQUIREMENTS,
        protections,
    )]
}

fn protections() -> Result<()> {
    let bed = Bed::new("", "[backup]\n")?;
    running_member(&bed.host)?;
    prepare(&bed.host)?;
    for (unit, own) in [
        ("etcd", &ETCD[..]),
        ("firstboot", &FIRSTBOOT[..]),
        ("firstboot-snapshot", &SNAPSHOT[..]),
    ] {
        let sandbox = Sandbox::of(&bed.host, unit)?;
        let cases: Vec<&Case> = COMMON.iter().chain(own).collect();
        for directive in sandbox.directives() {
            ensure!(
                !SECCOMP.contains(&directive),
                "{unit}.service has {directive}=, which does nothing on CentOS 7"
            );
            let known = ELSEWHERE.contains(&directive)
                || cases.iter().any(|case| case.directive == directive);
            ensure!(
                known,
                "{unit}.service has {directive}=, and no attempt here shows that it works"
            );
        }
        for case in cases {
            try_case(&bed.host, unit, &sandbox, case)?;
        }
        if sandbox.directives().contains(&EXEC) {
            system_calls::check(&bed.host, &sandbox)?;
        }
        println!(
            "{unit}.service: {} directives tested",
            sandbox.directives().len()
        );
    }
    Ok(())
}

/// Checks the restrictions on the running member, as the kernel reports them.
fn running_member(host: &Host) -> Result<()> {
    let pid = host.check(&[
        "systemctl",
        "show",
        "--property=MainPID",
        "--value",
        "etcd.service",
    ])?;
    let status = host.check(&["cat", &format!("/proc/{}/status", pid.trim())])?;
    for line in [
        "Uid:\t450\t450\t450\t450",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        ensure!(
            status.lines().any(|found| found == line),
            "{line:?} is not in\n{status}"
        );
    }
    // The process that systemd started as firstboot is now etcd. etcd has one filter more than
    // systemd, which has only the test bed's filter.
    let program = host.check(&["readlink", &format!("/proc/{}/exe", pid.trim())])?;
    ensure!(
        program.trim() == "/usr/local/bin/etcd",
        "the main process of etcd.service is {program}"
    );
    let named = host.check(&[
        "journalctl",
        "-q",
        "-o",
        "cat",
        "--unit=etcd.service",
        "--identifier=etcd",
        "-n",
        "1",
    ])?;
    ensure!(
        !named.is_empty(),
        "the journal does not identify etcd by its name"
    );
    let filters = |status: &str| -> Result<u32> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp_filters:"));
        Ok(line
            .context("the kernel does not report the number of filters")?
            .trim()
            .parse()?)
    };
    ensure!(
        filters(&status)? == filters(&host.check(&["cat", "/proc/1/status"])?)? + 1,
        "etcd has no filter"
    );
    has_limits(host, pid.trim())
}

/// Checks that etcd cannot dump core, and that etcd may open 65536 files. If the limit of the
/// host's first process is lower, checks that etcd has the lower limit.
fn has_limits(host: &Host, etcd: &str) -> Result<()> {
    let limit = |pid: &str, what: &str| -> Result<u64> {
        let limits = host.check(&["cat", &format!("/proc/{pid}/limits")])?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(what))
            .with_context(|| format!("no {what}"))?;
        line.split_whitespace()
            .nth(1)
            .context("no hard limit")?
            .parse()
            .with_context(|| format!("{what}{line}"))
    };
    ensure!(
        limit(etcd, "Max core file size")? == 0,
        "etcd may dump its memory"
    );
    let (files, most) = (
        limit(etcd, "Max open files")?,
        limit("1", "Max open files")?,
    );
    ensure!(
        files == most.min(65536),
        "etcd may open {files} files, but the first process of its host may open {most}"
    );
    Ok(())
}

/// Prepares the files that the attempts access. Most of the files are open to every user, so that
/// only the sandbox can block an attempt.
fn prepare(host: &Host) -> Result<()> {
    let script = r"
        set -e
        for folder in /usr /etc /opt /var /run /boot /etc/ssh /var/lib/firstboot /var/backups /home; do
            chmod o+x $folder
            mkdir -p $folder/probe.d && chmod 0777 $folder/probe.d
        done
        for folder in /usr /etc /opt /var /run /home; do mv $folder/probe.d $folder/probe; done
        for file in /boot/probe /etc/ssh/probe /var/lib/firstboot/probe /var/lib/etcd/probe /var/backups/probe /tmp/probe /var/tmp/probe \
            /home/probe/file; do
            echo x > $file && chmod 0644 $file
        done
        mkdir -p /run/user && echo x > /run/user/probe
        mknod -m 0666 /dev/probe c 1 3
        echo x > /opt/probe/roots && chmod 0600 /opt/probe/roots
        echo x > /opt/probe/group-roots && chmod 0640 /opt/probe/group-roots && chown 1:0 /opt/probe/group-roots
        echo x > /opt/probe/nobodys && chown 1:1 /opt/probe/nobodys && chmod 0000 /opt/probe/nobodys
        cp /usr/bin/id /opt/probe/id && chown 1 /opt/probe/id && chmod 4755 /opt/probe/id
        cp /usr/bin/cat /opt/probe/cat && chown 0 /opt/probe/cat && chmod 4755 /opt/probe/cat
    ";
    host.sh(script)?.ok().map(drop)
}

fn try_case(host: &Host, unit: &str, sandbox: &Sandbox, case: &Case) -> Result<()> {
    let attempts: Vec<String> = case
        .attempts
        .iter()
        .map(|attempt| (*attempt).to_owned())
        .collect();
    let (directive, answer) = (case.directive, case.answer);
    let stands = sandbox.without(case.beside);
    for (attempt, found) in stands.try_out(host, &attempts)? {
        // EACCES and EPERM both mean that access was denied; the kernel decides which error it
        // returns.
        let same = found == answer
            || (answer.ends_with("EPERM") && found == answer.replace("EPERM", "EACCES"));
        ensure!(
            same,
            "{unit}.service, {directive}=: expected `{attempt}` to be {answer}, but it was {found}"
        );
    }
    for (attempt, found) in stands.without(&[directive]).try_out(host, &attempts)? {
        ensure!(
            found != answer,
            "{unit}.service: `{attempt}` is also {found} without {directive}=, so the attempt proves nothing"
        );
        // Without the directive, an attempt must succeed. An attempt of one of the following kinds
        // may also fail, but with a different result.
        let hidden = [
            "opened",
            "pair",
            "process=0x",
            "request",
            "create=/var/lib/etcd",
            "create=/var/backups",
        ]
        .iter()
        .any(|name| attempt.starts_with(name));
        ensure!(
            hidden || found == "done",
            "{unit}.service without {directive}=: `{attempt}` is {found}"
        );
    }
    Ok(())
}
