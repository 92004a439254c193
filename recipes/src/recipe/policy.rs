//! The sections about time, tuning, SELinux, TLS and metadata.

use url::Url;

use super::files::LocalFile;
use super::values::{Base, Host, Word};
use crate::cluster::{MetadataPolicy, MetadataSource, Platform};
use crate::diagnostic::Diagnostic;
use crate::node::KeyOrigin;
use crate::reader::{Located, Table};

/// The time servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Names that each stand for one server.
    pub servers: Vec<Host>,
    /// Names that each stand for several servers.
    pub pools: Vec<Host>,
}

/// The kernel's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// The profile on which the settings are based.
    pub profile: Profile,
    /// The recipe's own keys, which override the profile's.
    pub sysctl: Vec<(Word, String)>,
}

/// A set of kernel settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Exactly the values of the guide.
    Guide,
    /// The values that suit an etcd node on this kernel.
    Etcd,
}

impl Profile {
    /// Returns its name in the recipe.
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
    /// Whether etcd gets its own SELinux domain.
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
    /// Returns its name in `/etc/selinux/config` and in a kickstart.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Permissive => "permissive",
        }
    }
}

/// The authority, and the lifetimes of its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Where the nodes' private keys are made.
    pub keys: KeyOrigin,
    /// The server that signs the nodes' requests for certificates.
    pub enrol: Option<Url>,
    /// The files of the operator's own authority.
    pub authority: Option<AuthorityFiles>,
    /// The lifetime of the authority, in days.
    pub authority_days: u32,
    /// The lifetime of a node's certificates, in days.
    pub certificate_days: u32,
    /// The remaining lifetime, in days, below which the next build reissues a certificate.
    pub renew_before_days: u32,
}

/// The files of an authority. They can be at any path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// `ca-cert`: its certificate.
    pub cert: LocalFile,
    /// `ca-key`: its private key.
    pub key: LocalFile,
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
    // This is CentOS's own pool. Its stock chrony.conf names four servers of the pool.
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
            // An `=` would end the key.
            let part_of_key = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
            let looks_right = key.value.contains('.') && key.value.chars().all(part_of_key);
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
            key_ok.filter(|_| value_ok).map(|word| (word, value.value))
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

pub(super) fn read_tls(root: &Table<'_>) -> Tls {
    let table = root.table("tls");
    let table = table.as_ref();
    let days = |key, bounds, default| {
        let found = table.and_then(|table| table.integer(key, bounds));
        found
            .and_then(|at| u32::try_from(at.value).ok())
            .unwrap_or(default)
    };
    let origins = [("document", KeyOrigin::Document), ("node", KeyOrigin::Node)];
    let keys = table.and_then(|table| table.choice("keys", &origins));
    let enrol = table.and_then(|table| table.value::<Base>("enrol"));
    let cert = table.and_then(|table| table.text("ca-cert"));
    let key = table.and_then(|table| table.text("ca-key"));
    let tls = Tls {
        keys: keys.map_or(KeyOrigin::Document, |at| at.value),
        enrol: enrol.as_ref().map(|at| at.value.url().clone()),
        authority_days: days("ca-days", 1..=36_500, 3_650),
        certificate_days: days("certificate-days", 1..=3_650, 1_095),
        renew_before_days: days("renew-before-days", 0..=3_650, 90),
        authority: cert
            .clone()
            .zip(key.clone())
            .map(|(cert, key)| AuthorityFiles {
                cert: LocalFile {
                    source: cert.value,
                    span: cert.span,
                },
                key: LocalFile {
                    source: key.value,
                    span: key.span,
                },
            }),
    };
    if let Some(table) = table {
        check_enrol(table, enrol.as_ref(), tls.keys);
        match (&cert, &key) {
            (Some(at), None) => {
                let finding = Diagnostic::error(at.span.clone(), "`ca-cert` needs `ca-key`");
                table.report(
                    finding
                        .help("to use existing certificates, put them into the --pki folder and remove `ca-cert`"),
                );
            }
            (None, Some(at)) => table.report(Diagnostic::error(
                at.span.clone(),
                "`ca-key` needs `ca-cert`",
            )),
            _ => {}
        }
        if tls.certificate_days > tls.authority_days
            || tls.renew_before_days >= tls.certificate_days
        {
            let finding =
                Diagnostic::error(table.header(), "these lifetimes contradict each other");
            table.report(finding.help("expected renew-before-days < certificate-days <= ca-days"));
        }
        table.finish();
    }
    tls
}

fn check_enrol(table: &Table<'_>, enrol: Option<&Located<Base>>, keys: KeyOrigin) {
    let Some(at) = enrol else { return };
    if keys.is_document() {
        let finding = Diagnostic::error(at.span.clone(), "`enrol` needs `keys = \"node\"`");
        table.report(finding.help("only nodes that make their own keys request certificates"));
    }
    if at.value.url().scheme() != "https" {
        let finding = Diagnostic::error(at.span.clone(), "`enrol` needs an https URL");
        table.report(finding.help(
            "`builder serve --pki` serves it on port 8443 and needs no certificate from a CA",
        ));
    }
}

/// Warns about plain http, which exposes documents. They hold private keys unless the nodes make
/// their own.
fn warn_of_http(table: &Table<'_>, url: Option<&Located<Base>>, keys: KeyOrigin) {
    let Some(at) = url.filter(|at| at.value.url().scheme() == "http" && keys.is_document()) else {
        return;
    };
    let finding = Diagnostic::warning(
        at.span.clone(),
        "node documents hold private keys, and plain http exposes them",
    );
    let help = "use https, a network with only the nodes and this server on it, or `keys = \
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
                    "`sources` is empty: no node could learn its identity",
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
