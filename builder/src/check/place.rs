//! Checks the path and the permissions of a file. Sources: systemd 219 (src/core/mount-setup.c);
//! lnykryn/systemd-rhel (src/shared/util.c, fd_warn_permissions); a rebuild of RHEL 7's
//! systemd.spec (--disable-sysusers); the release notes of OpenSSH 8.2; firewalld 0.6.3.

use std::ffi::OsStr;
use std::path::Path;

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

/// Folders in which a program reads only files with one suffix, each with the suffix and the name
/// of the program. Sources: systemd 219; pam_limits(8); rsyslog.conf, profile and ld.so.conf of
/// CentOS 7; yum.conf(5); augenrules(8); dracut.conf(5); NetworkManager.conf(5).
const SUFFIX: [(&str, &str, &str); 21] = [
    ("/etc/sysctl.d/", "conf", "systemd-sysctl"),
    ("/usr/lib/sysctl.d/", "conf", "systemd-sysctl"),
    ("/etc/modprobe.d/", "conf", "modprobe"),
    ("/usr/lib/modprobe.d/", "conf", "modprobe"),
    ("/etc/tmpfiles.d/", "conf", "systemd-tmpfiles"),
    ("/usr/lib/tmpfiles.d/", "conf", "systemd-tmpfiles"),
    ("/etc/modules-load.d/", "conf", "systemd-modules-load"),
    ("/usr/lib/modules-load.d/", "conf", "systemd-modules-load"),
    ("/etc/systemd/journald.conf.d/", "conf", "journald"),
    ("/etc/systemd/system.conf.d/", "conf", "systemd"),
    ("/etc/systemd/system-preset/", "preset", "systemctl"),
    ("/usr/lib/systemd/system-preset/", "preset", "systemctl"),
    ("/etc/security/limits.d/", "conf", "pam_limits"),
    ("/etc/rsyslog.d/", "conf", "rsyslogd"),
    ("/etc/yum.repos.d/", "repo", "yum"),
    ("/etc/udev/rules.d/", "rules", "udev"),
    ("/etc/audit/rules.d/", "rules", "augenrules"),
    ("/etc/dracut.conf.d/", "conf", "dracut"),
    ("/etc/NetworkManager/conf.d/", "conf", "NetworkManager"),
    ("/etc/firewalld/zones/", "xml", "firewalld"),
    ("/etc/firewalld/services/", "xml", "firewalld"),
];

/// Folders whose files a program executes, and rc.local, each with the program. A file that is not
/// executable has no effect (crontabs, run-parts; NetworkManager(8)).
const EXECUTED: [(&str, &str); 6] = [
    ("/etc/cron.hourly/", "run-parts"),
    ("/etc/cron.daily/", "run-parts"),
    ("/etc/cron.weekly/", "run-parts"),
    ("/etc/cron.monthly/", "run-parts"),
    ("/etc/NetworkManager/dispatcher.d/", "NetworkManager"),
    // systemd-rc-local-generator starts rc.local only if the file is executable.
    ("/etc/rc.d/rc.local", "systemd"),
];

/// Folders with programs.
const PROGRAMS: [&str; 4] = [
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
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
    // systemd 219, tmpfiles.d/tmp.conf.
    if ["/tmp/", "/var/tmp/"]
        .iter()
        .any(|folder| path.starts_with(folder))
    {
        out.push(
            Finding::error("place/volatile", 0..0, format!("{path} is a temporary file"))
                .effect("systemd-tmpfiles deletes the file after some days, and firstboot then refuses to start etcd")
                .fix("choose another folder, such as /usr/local/share"),
        );
    }
    let unread = UNREAD
        .iter()
        .find(|(_, folder, ..)| path.starts_with(folder));
    if let Some((rule, _, why, instead)) = unread
        && !is_link_file(path)
    {
        out.push(
            Finding::error(rule, 0..0, *why)
                .effect("nothing reads this file")
                .fix(*instead),
        );
    }
    out.extend(ignored_name(path));
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

/// Returns whether udev reads the file as the settings of a network card. udev reads these files
/// even if systemd-networkd does not run (systemd 219, src/udev/net/link-config.c).
fn is_link_file(path: &str) -> bool {
    let is_link = |suffix: &OsStr| suffix == "link";
    path.starts_with("/etc/systemd/network/") && Path::new(path).extension().is_some_and(is_link)
}

/// Returns a finding if a program reads the folder of a file, but ignores the file because of its
/// name.
fn ignored_name(path: &str) -> Option<Finding> {
    let finding = |message: String, name: String| {
        Some(
            Finding::error("place/suffix", 0..0, message)
                .effect("nothing reads this file")
                .fix(format!("name the file {name}")),
        )
    };
    let (folder, name) = path.rsplit_once('/')?;
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    // sudo reads neither the backups of editors nor those of package managers (sudoers(5)).
    if folder == "/etc/sudoers.d" && (name.contains('.') || name.ends_with('~')) {
        let message = "sudo does not read files whose names contain a . or end with ~";
        let plain: String = name.chars().filter(|c| !".~".contains(*c)).collect();
        return finding(message.to_owned(), plain);
    }
    if folder == "/etc/profile.d" && !["sh", "csh", "local"].contains(&suffix) {
        let message = "shells read only files whose names end with .sh or .csh";
        return finding(message.to_owned(), "own.sh".to_owned());
    }
    let unit = folder
        .rsplit_once('/')
        .and_then(|(above, own)| Some((above, own.strip_suffix(".d")?)))
        .filter(|(above, _)| above.ends_with("/systemd/system"))
        .filter(|(_, unit)| Kind::of(unit) == Some(Kind::Unit));
    let (expected, who) = match SUFFIX.iter().find(|(folder, ..)| path.starts_with(folder)) {
        Some((_, expected, who)) => (*expected, *who),
        None => unit.map(|_| ("conf", "systemd"))?,
    };
    if suffix == expected {
        return None;
    }
    let message = format!("{who} reads only files whose names end with .{expected}");
    finding(message, format!("95-own.{expected}"))
}

/// Checks a file's permissions.
fn permissions(path: &str, mode: u32) -> Option<Finding> {
    let is_unit = Kind::of(path) == Some(Kind::Unit);
    let is_program = PROGRAMS.iter().any(|folder| path.starts_with(folder));
    let executed = EXECUTED.iter().find(|(folder, _)| path.starts_with(folder));
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
    let does = match executed {
        Some((_, who)) => format!("{who} does not run a file that is not executable"),
        None if is_program => "no user can execute the file".to_owned(),
        None => return None,
    };
    if mode & 0o111 == 0 {
        warning(&does, "use mode 0755")
    } else {
        None
    }
}
