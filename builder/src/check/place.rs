//! Where a file lies, who owns it and who may read it.

use super::File;
use super::finding::Finding;

/// Folders that are empty again after each start, and what is mounted there.
const VOLATILE: [(&str, &str); 6] = [
    ("/run/", "tmpfs"),
    ("/var/run/", "a link to /run"),
    ("/var/lock/", "a link to /run/lock"),
    ("/dev/", "devtmpfs"),
    ("/proc/", "proc"),
    ("/sys/", "sysfs"),
];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let path = file.path.as_str();
    let mut out = Vec::new();
    let mut error = |rule, message: String, does: String, instead: &str| {
        out.push(Finding::error(rule, 0..0, message).does(does).instead(instead));
    };
    if let Some((folder, what)) = VOLATILE.iter().find(|(folder, _)| path.starts_with(folder)) {
        error(
            "place/volatile",
            format!("{path} lies below {folder}"),
            format!("that is {what}: the file is gone after the restart"),
            "let tmpfiles.d make it at each start",
        );
    }
    if path.starts_with("/usr/lib/sysusers.d/") || path.starts_with("/etc/sysusers.d/") {
        error(
            "place/sysusers",
            "CentOS 7 is built without sysusers".into(),
            "nothing reads this file".into(),
            "make the user in a script of [files] post, by useradd",
        );
    }
    if path.starts_with("/etc/systemd/network/") || path.starts_with("/etc/netplan/") {
        error(
            "place/network",
            "NetworkManager manages the network of CentOS 7".into(),
            "nothing reads this file".into(),
            "write /etc/sysconfig/network-scripts/ifcfg-NAME, or [network] in the recipe",
        );
    }
    if path.starts_with("/etc/ssh/sshd_config.d/") {
        error(
            "place/sshd",
            "OpenSSH 7.4 has no Include".into(),
            "nothing reads this file".into(),
            "there is one file: /etc/ssh/sshd_config",
        );
    }
    if path.starts_with("/etc/firewalld/policies/") {
        error(
            "place/policies",
            "firewalld 0.6.3 has no policies".into(),
            "nothing reads this file".into(),
            "write rich rules in a zone",
        );
    }
    if path.starts_with("/etc/sysctl.d/") && !path.ends_with(".conf") {
        error(
            "place/suffix",
            "systemd-sysctl reads only what ends with .conf".into(),
            "nothing reads this file".into(),
            "name it 95-own.conf",
        );
    }
    if path.starts_with("/etc/modprobe.d/") && !path.ends_with(".conf") {
        error(
            "place/suffix",
            "modprobe reads only what ends with .conf".into(),
            "nothing reads this file".into(),
            "name it own.conf",
        );
    }
    let Some(mode) = file.mode else { return out };
    let is_unit = super::Kind::of(path) == Some(super::Kind::Unit);
    if mode & 0o002 != 0 {
        out.push(
            Finding::error("place/mode", 0..0, format!("{path} has mode {mode:04o}"))
                .does("everybody on the node may write it")
                .instead("take the last w away: 0644, or 0755 for a program"),
        );
    } else if mode & 0o6000 != 0 {
        out.push(
            Finding::warning("place/mode", 0..0, format!("{path} has mode {mode:04o}"))
                .does("whoever starts it gets its owner's rights")
                .instead("take the set-id bit away"),
        );
    } else if is_unit && mode & 0o111 != 0 {
        out.push(
            Finding::warning("place/mode", 0..0, format!("a unit with mode {mode:04o}"))
                .does("219 warns at each reload that it is marked executable")
                .instead("mode 0644"),
        );
    } else if is_unit && mode & 0o044 == 0 {
        out.push(
            Finding::warning("place/mode", 0..0, format!("a unit with mode {mode:04o}"))
                .does("219 warns that it is marked world-inaccessible; everybody can ask systemd for its text anyway")
                .instead("mode 0644, and secrets into an EnvironmentFile="),
        );
    } else if mode & 0o111 == 0 && (path.starts_with("/usr/local/bin/") || path.starts_with("/usr/local/sbin/")) {
        out.push(
            Finding::warning("place/mode", 0..0, format!("a program with mode {mode:04o}"))
                .does("nobody can start it")
                .instead("mode 0755"),
        );
    }
    if mode & 0o004 != 0 && file.text.contains("PRIVATE KEY-----") {
        out.push(
            Finding::error("place/secret", 0..0, "a private key that everybody may read")
                .does("the overlay is served to anybody as well")
                .instead("hand it to the node with its document; never put it into the image"),
        );
    }
    out
}
