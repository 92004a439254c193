//! Where a file is, who owns it and who may read it (systemd 219: src/core/mount-setup.c;
//! lnykryn/systemd-rhel, src/shared/util.c, fd_warn_permissions; a rebuild of RHEL 7's
//! systemd.spec, --disable-sysusers; OpenSSH's release notes, 8.2; firewalld 0.6.3).

use super::file::{File, Kind};
use super::finding::Finding;

/// Folders that are empty after each boot, and what is mounted there.
const VOLATILE: [(&str, &str); 6] = [
    ("/run/", "tmpfs"),
    ("/var/run/", "a link to /run"),
    ("/var/lock/", "a link to /run/lock"),
    ("/dev/", "devtmpfs"),
    ("/proc/", "proc"),
    ("/sys/", "sysfs"),
];

/// Folders from which nothing is read: the rule, the folder, the reason, and what to do instead.
const UNREAD: [(&str, &str, &str, &str); 7] = [
    (
        "place/sysusers",
        "/usr/lib/sysusers.d/",
        "CentOS 7 is built without sysusers",
        USERADD,
    ),
    (
        "place/sysusers",
        "/etc/sysusers.d/",
        "CentOS 7 is built without sysusers",
        USERADD,
    ),
    (
        "place/network",
        "/etc/systemd/network/",
        "NetworkManager manages the network of CentOS 7",
        IFCFG,
    ),
    (
        "place/network",
        "/etc/netplan/",
        "NetworkManager manages the network of CentOS 7",
        IFCFG,
    ),
    (
        "place/sshd",
        "/etc/ssh/sshd_config.d/",
        "OpenSSH 7.4 has no Include",
        "there is one file: /etc/ssh/sshd_config",
    ),
    (
        "place/policies",
        "/etc/firewalld/policies/",
        "firewalld 0.6.3 has no policies",
        "write rich rules in a zone",
    ),
    (
        "place/policies",
        "/usr/lib/firewalld/policies/",
        "firewalld 0.6.3 has no policies",
        "write rich rules in a zone",
    ),
];

const USERADD: &str = "make the user in a script of [files] post, by useradd";
const IFCFG: &str = "write /etc/sysconfig/network-scripts/ifcfg-NAME, or [network] in the recipe";

/// Folders from which only files with the suffix .conf are read, and which program reads them.
const SUFFIX: [(&str, &str); 3] = [
    ("/etc/sysctl.d/", "systemd-sysctl"),
    ("/etc/modprobe.d/", "modprobe"),
    ("/etc/tmpfiles.d/", "systemd-tmpfiles"),
];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let path = file.path.as_str();
    let mut out = Vec::new();
    if let Some((folder, what)) = VOLATILE.iter().find(|(folder, _)| path.starts_with(folder)) {
        out.push(
            Finding::error("place/volatile", 0..0, format!("{path} is below {folder}"))
                .effect(format!(
                    "that is {what}: the file is gone after the restart"
                ))
                .fix("let tmpfiles.d make it at each start"),
        );
    }
    if let Some((rule, _, why, instead)) = UNREAD
        .iter()
        .find(|(_, folder, ..)| path.starts_with(folder))
    {
        out.push(
            Finding::error(rule, 0..0, *why)
                .effect("nothing reads this file")
                .fix(*instead),
        );
    }
    let is_conf = path
        .rsplit_once('.')
        .is_some_and(|(_, suffix)| suffix == "conf");
    if let Some((_, who)) = SUFFIX
        .iter()
        .find(|(folder, _)| path.starts_with(folder) && !is_conf)
    {
        out.push(
            Finding::error(
                "place/suffix",
                0..0,
                format!("{who} reads only what ends with .conf"),
            )
            .effect("nothing reads this file")
            .fix("name it 95-own.conf"),
        );
    }
    if file.text.contains("PRIVATE KEY-----") {
        out.push(
            Finding::error("place/secret", 0..0, "a private key in the image")
                .effect("the overlay is served to anybody")
                .fix("give it to the node in its node document"),
        );
    }
    out.extend(file.mode.and_then(|mode| permissions(path, mode)));
    out
}

/// Checks a file's permissions.
fn permissions(path: &str, mode: u32) -> Option<Finding> {
    let is_unit = Kind::of(path) == Some(Kind::Unit);
    let is_program = path.starts_with("/usr/local/bin/") || path.starts_with("/usr/local/sbin/");
    let shown = format!("{path} has mode {mode:04o}");
    let warning = |does: &str, instead: &str| {
        Some(
            Finding::warning("place/mode", 0..0, shown.clone())
                .effect(does)
                .fix(instead),
        )
    };
    if mode & 0o002 != 0 {
        let finding =
            Finding::error("place/mode", 0..0, shown).effect("everybody on the node may write it");
        return Some(finding.fix("remove the last w: 0644, or 0755 for a program"));
    }
    if mode & 0o6000 != 0 {
        return warning(
            "any user who executes it gets its owner's rights",
            "remove the set-id bit",
        );
    }
    if is_unit && mode & 0o111 != 0 {
        return warning(
            "219 warns at each reload that the unit is marked executable",
            "mode 0644",
        );
    }
    if is_unit && mode & 0o044 != 0o044 {
        let does = "219 warns that the unit is marked world-inaccessible; everybody can ask systemd for its text anyway";
        return warning(does, "mode 0644, and secrets into an EnvironmentFile=");
    }
    if is_program && mode & 0o111 == 0 {
        return warning("no one can execute it", "mode 0755");
    }
    None
}
