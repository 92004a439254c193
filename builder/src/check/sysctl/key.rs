//! Finds keys that kernel 3.10.0-1160 does not have.

use recipes::diagnostic::nearest;

use super::setting::Setting;
use crate::check::finding::Finding;
use crate::check::tables;

/// Prefixes of keys that exist only while a kernel module is loaded, each with the module. The
/// names of these keys cannot be checked.
const MODULES: [(&str, &str); 16] = [
    ("dev.ipmi.", "ipmi_poweroff"),
    ("dev.parport.", "parport"),
    ("kernel.hyperv_record_panic_msg", "hv_vmbus"),
    ("net.dccp.", "dccp"),
    ("net.rds.", "rds"),
    ("net.ipv4.netfilter.", "nf_conntrack_ipv4"),
    ("net.ipv4.vs.", "ip_vs"),
    ("net.sctp.", "sctp"),
    ("fs.binfmt_misc.", "binfmt_misc"),
    ("net.bridge.", "br_netfilter"),
    ("net.netfilter.", "nf_conntrack"),
    ("net.nf_conntrack_", "nf_conntrack"),
    ("fs.xfs.", "xfs"),
    ("fs.nfs.", "nfs"),
    ("sunrpc.", "sunrpc"),
    ("dev.cdrom.", "cdrom"),
];

/// Returns the name under which the tables list a key of the kernel. For example,
/// `net.ipv4.conf.eth0.x` is listed as `net.ipv4.conf.all.x`. The tables do not list the keys of
/// `neigh` and `sched_domain`. These keys are returned unchanged.
pub(super) fn in_table(key: &str) -> Option<String> {
    if tables::SYSCTL_KEYS.contains(key) {
        return Some(key.to_owned());
    }
    let parts: Vec<&str> = key.split('.').collect();
    match parts[..] {
        ["net", version @ ("ipv4" | "ipv6"), "conf", _, member] => {
            Some(format!("net.{version}.conf.all.{member}"))
                .filter(|key| tables::SYSCTL_KEYS.contains(key.as_str()))
        }
        ["net", "ipv4" | "ipv6", "neigh", _, _] | ["kernel", "sched_domain", ..] => {
            Some(key.to_owned())
        }
        _ => None,
    }
}

pub(super) fn unknown(setting: &Setting<'_>) -> Option<Finding> {
    let (key, span) = (setting.key.as_str(), setting.span);
    if key.starts_with('-') {
        return Some(
            Finding::error(
                "sysctl/dash",
                span.slice(0..1),
                "systemd 219 does not support a `-` before a key",
            )
            .effect("systemd reads the `-` as part of the name, does not find that key, and silently skips the line")
            .fix("remove the `-`; a missing key is harmless"),
        );
    }
    if key.contains(['*', '?', '[']) {
        return Some(
            Finding::error(
                "sysctl/glob",
                span,
                "systemd 219 does not support patterns in a key",
            )
            .effect("no key has that name, so systemd silently skips the line")
            .fix("write one line for each key; for network interfaces, write `all` or `default`"),
        );
    }
    if in_table(key).is_some() {
        return None;
    }
    if let Some((_, module)) = MODULES.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Some(
            Finding::warning(
                "sysctl/module",
                span,
                format!("{key} exists only while the module {module} is loaded"),
            )
            .effect("systemd silently skips the line if the module is loaded after systemd-sysctl has run")
            .fix(format!(
                "load the module earlier: write `{module}` into /etc/modules-load.d/{module}.conf"
            )),
        );
    }
    let finding = Finding::error(
        "sysctl/unknown-key",
        span,
        format!("kernel 3.10.0-1160 has no key {key}"),
    );
    let finding = finding.effect("systemd silently skips the line");
    Some(match (tables::SYSCTL_ABSENT.get(key), nearest_key(key)) {
        (Some(why), _) => finding.fix(*why),
        (None, Some(near)) => finding.fix(format!("did you mean {near}?")),
        (None, None) => finding.fix("remove it"),
    })
}

/// Returns the key that the author probably meant: a sibling with a similar name, or a key with the
/// same name elsewhere.
fn nearest_key(key: &str) -> Option<&'static str> {
    let (parent, name) = key.rsplit_once('.')?;
    let split = |known: &&'static str| {
        known
            .rsplit_once('.')
            .map(|(parent, name)| (parent, name, *known))
    };
    let all: Vec<_> = tables::SYSCTL_KEYS.iter().filter_map(split).collect();
    let siblings = all.iter().filter(|(other, ..)| *other == parent);
    let near = nearest(name, siblings.clone().map(|(_, name, _)| *name));
    let sibling = siblings.clone().find(|(_, name, _)| Some(*name) == near);
    let elsewhere = || all.iter().find(|(_, other, _)| *other == name);
    sibling.or_else(elsewhere).map(|(.., known)| *known)
}
