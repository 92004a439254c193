//! The sections about a node's time servers, kernel settings, SELinux, and sources of metadata.

use std::ops::Range;

use super::values::{Base, Host, Word};
use crate::cluster::{MetadataPolicy, MetadataSource, Platform};
use crate::diagnostic::Diagnostic;
use crate::node::KeyOrigin;
use crate::reader::{Located, Table};

/// The time servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Names that each refer to one server.
    pub servers: Vec<Host>,
    /// Names that each refer to several servers.
    pub pools: Vec<Host>,
}

/// The kernel's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// The profile on which the settings are based.
    pub profile: Profile,
    /// The recipe's own sysctl keys, which override the keys of the profile.
    pub sysctl: Vec<SysctlSetting>,
}

/// One key of `[tuning.sysctl]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlSetting {
    /// The key, as the recipe writes it.
    pub key: Word,
    /// The value.
    pub value: String,
    /// The position of the key in the recipe.
    pub key_span: Range<usize>,
    /// The position of the value in the recipe.
    pub value_span: Range<usize>,
}

/// A set of kernel settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The values from the CentOS 7 guide (docs/guide.md), for all keys that the guide mentions.
    Guide,
    /// The values that suit an etcd node on this kernel.
    Etcd,
}

impl Profile {
    /// Returns the profile's name in the recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guide => "guide",
            Self::Etcd => "etcd",
        }
    }
}

/// How SELinux protects a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selinux {
    /// Whether denials are enforced or only logged.
    pub mode: SelinuxMode,
    /// Whether etcd runs in its own SELinux domain.
    pub module: bool,
}

/// SELinux's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelinuxMode {
    /// Denials are enforced.
    Enforcing,
    /// Denials are only logged.
    Permissive,
}

impl SelinuxMode {
    /// Returns the mode's name in `/etc/selinux/config` and in a kickstart.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Permissive => "permissive",
        }
    }
}

fn values<T>(found: Option<Vec<Located<T>>>) -> Option<Vec<T>> {
    found.map(|list| list.into_iter().map(|at| at.value).collect())
}

pub(super) fn read_time(root: &Table<'_>) -> Time {
    let table = root.table("time");
    let table = table.as_ref();
    let servers: Vec<Host> =
        values(table.and_then(|table| table.list("servers"))).unwrap_or_default();
    let pools = values(table.and_then(|table| table.list("pools")));
    if let Some(table) = table {
        table.finish();
    }
    // The default is the public pool. CentOS's own chrony.conf names four servers of its vendor
    // zone, centos.pool.ntp.org.
    let default = || {
        if servers.is_empty() {
            "pool.ntp.org".parse().into_iter().collect()
        } else {
            Vec::new()
        }
    };
    let pools = pools.unwrap_or_else(default);
    if let (true, true, Some(table)) = (servers.is_empty(), pools.is_empty(), table) {
        let help = "certificates are checked against the clock; name a server or a pool";
        table.report(Diagnostic::error(table.header(), "the nodes have no time source").help(help));
    }
    Time { servers, pools }
}

pub(super) fn read_tuning(root: &Table<'_>) -> Tuning {
    let Some(table) = root.table("tuning") else {
        return Tuning {
            profile: Profile::Etcd,
            sysctl: Vec::new(),
        };
    };
    let profile = table.choice(
        "profile",
        &[("guide", Profile::Guide), ("etcd", Profile::Etcd)],
    );
    let sysctl = table
        .pairs("sysctl")
        .into_iter()
        .filter_map(|(key, value)| {
            // A key must not contain `=`, because the first `=` on a line of a sysctl file ends the
            // key.
            let part_of_key = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
            let looks_right = key.value.contains('.') && key.value.chars().all(part_of_key);
            let (key_span, value_span) = (key.span.clone(), value.span.clone());
            let key_ok = key.value.parse::<Word>().ok().filter(|_| looks_right);
            let value_ok = !value.value.is_empty()
                && value
                    .value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || " ._:,/|%-".contains(c));
            if key_ok.is_none() {
                let finding =
                    Diagnostic::error(key.span, format!("`{}` is not a sysctl key", key.value));
                table.report(
                    finding.label("expected a name with dots, in quotes, as in \"vm.swappiness\""),
                );
            }
            if !value_ok {
                table.report(Diagnostic::error(
                    value.span,
                    format!("bad value for `{}`", key.value),
                ));
            }
            key_ok.filter(|_| value_ok).map(|word| SysctlSetting {
                key: word,
                value: value.value,
                key_span,
                value_span,
            })
        });
    let sysctl = sysctl.collect();
    table.finish();
    Tuning {
        profile: profile.map_or(Profile::Etcd, |at| at.value),
        sysctl,
    }
}

pub(super) fn read_selinux(root: &Table<'_>) -> Selinux {
    let mut selinux = Selinux {
        mode: SelinuxMode::Enforcing,
        module: false,
    };
    let Some(table) = root.table("selinux") else {
        return selinux;
    };
    let modes = [
        ("enforcing", SelinuxMode::Enforcing),
        ("permissive", SelinuxMode::Permissive),
    ];
    if let Some(mode) = table.choice("mode", &modes) {
        selinux.mode = mode.value;
    }
    if let Some(module) = table.boolean("module") {
        selinux.module = module.value;
    }
    table.finish();
    selinux
}

/// Warns about plain HTTP if the node documents contain private keys, because plain HTTP exposes
/// the documents.
fn warn_of_http(table: &Table<'_>, url: Option<&Located<Base>>, keys: KeyOrigin) {
    let Some(at) = url.filter(|at| at.value.url().scheme() == "http" && keys.is_document()) else {
        return;
    };
    let finding = Diagnostic::warning(
        at.span.clone(),
        "node documents contain private keys, and plain HTTP exposes these keys",
    );
    let help = "use HTTPS, a network with only the nodes and this server on it, or `keys = \
        \"node\"` in [tls]";
    table.report(finding.help(help));
}

pub(super) fn read_metadata(root: &Table<'_>, keys: KeyOrigin) -> MetadataPolicy {
    let table = root.table("metadata");
    let table = table.as_ref();
    let url = table.and_then(|table| table.value::<Base>("url"));
    let written = table.and_then(|table| table.list::<SourceName>("sources"));
    let platform = table.and_then(|table| table.value::<Platform>("platform"));
    if let Some(table) = table {
        warn_of_http(table, url.as_ref(), keys);
        if let Some(sources) = &written {
            let asks = sources.iter().find(|at| at.value.0 == MetadataSource::Url);
            if let (Some(at), None) = (asks, &url) {
                table.report(Diagnostic::error(
                    at.span.clone(),
                    "the source `url` needs the key `url`",
                ));
            }
            if let Some(at) = &platform
                && !sources
                    .iter()
                    .any(|source| source.value.0.name() == at.value.name())
            {
                let finding = Diagnostic::error(
                    at.span.clone(),
                    "`sources` does not name the source of this platform",
                );
                table.report(finding.help(format!(
                    "add `{}` to `sources`, or remove `platform`",
                    at.value.name()
                )));
            }
            if sources.is_empty() {
                table.report(Diagnostic::error(
                    table.header(),
                    "`sources` is empty, so no node can find its document",
                ));
            }
        }
        table.finish();
    }
    let default = || {
        MetadataSource::ALL
            .into_iter()
            .filter(|source| *source != MetadataSource::Url || url.is_some())
    };
    let sources = match written {
        Some(list) => list.into_iter().map(|at| at.value.0).collect(),
        None => default().collect(),
    };
    MetadataPolicy {
        sources,
        url: url.map(|at| at.value.url().clone()),
        platform: platform.map(|at| at.value),
    }
}

struct SourceName(MetadataSource);

impl std::str::FromStr for SourceName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = MetadataSource::ALL
            .into_iter()
            .find(|source| source.name() == text);
        named.map(Self).ok_or(
            "expected one of: file, cmdline, smbios, fw-cfg, nocloud, config-drive, vmware, openstack, ec2, gce, azure, url",
        )
    }
}
