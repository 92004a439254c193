//! Checks the path and the permissions of a file. Sources: systemd 219 (src/core/mount-setup.c);
//! lnykryn/systemd-rhel (src/shared/util.c, fd_warn_permissions); a rebuild of RHEL 7's
//! systemd.spec (--disable-sysusers); the release notes of OpenSSH 8.2; firewalld 0.6.3.

use super::file::{File, Kind};
use super::finding::Finding;

/// Folders whose files are lost at each restart, each with a description of the folder.
const VOLATILE: [(&str, &str); 6] = [
    ("/run/", "a tmpfs"),
    ("/var/run/", "a link to /run"),
    ("/var/lock/", "a link to /run/lock"),
    ("/dev/", "a devtmpfs"),
    ("/proc/", "a proc file system"),
    ("/sys/", "a sysfs"),
];

/// Folders that no program of CentOS 7 reads. Each entry contains the rule, the folder, the reason
/// why nothing reads the folder, and the advice for the user.
const UNREAD: [(&str, &str, &str, &str); 7] = [
    (
        "place/sysusers",
        "/usr/lib/sysusers.d/",
        "systemd in CentOS 7 is built without sysusers",
        USERADD,
    ),
    (
        "place/sysusers",
        "/etc/sysusers.d/",
        "systemd in CentOS 7 is built without sysusers",
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
        "OpenSSH 7.4 has no Include directive",
        "write the settings into /etc/ssh/sshd_config",
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

const USERADD: &str = "create the user with useradd in a script that [files] post lists";
const IFCFG: &str =
    "write the file /etc/sysconfig/network-scripts/ifcfg-NAME, or set [network] in the recipe";

/// Folders in which a program reads only *.conf files, each with the name of that program.
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
                    "this folder is {what}, so the file is lost at the next restart"
                ))
                .fix("let tmpfiles.d create the file at each boot"),
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
                format!("{who} reads only files whose names end with .conf"),
            )
            .effect("nothing reads this file")
            .fix("name the file 95-own.conf"),
        );
    }
    if file.text.contains("PRIVATE KEY-----") {
        out.push(
            Finding::error("place/secret", 0..0, "the file contains a private key")
                .effect("any client can download the overlay")
                .fix("deliver the key in the node document"),
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
        let finding = Finding::error("place/mode", 0..0, shown)
            .effect("every user on the node can write to the file");
        return Some(
            finding.fix("remove write permission for others: use mode 0644, or 0755 for a program"),
        );
    }
    if mode & 0o6000 != 0 {
        return warning(
            "a user who executes the file receives the rights of the file's owner or group",
            "remove the set-id bit",
        );
    }
    if is_unit && mode & 0o111 != 0 {
        return warning(
            "systemd 219 warns at each reload that the unit is marked executable",
            "use mode 0644",
        );
    }
    if is_unit && mode & 0o044 != 0o044 {
        let does = "systemd 219 warns that the unit is marked world-inaccessible, although every user can read the unit's text through systemd";
        return warning(
            does,
            "use mode 0644, and put secrets into an EnvironmentFile=",
        );
    }
    if is_program && mode & 0o111 == 0 {
        return warning("no user can execute the file", "use mode 0755");
    }
    None
}
