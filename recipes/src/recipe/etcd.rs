//! `[etcd]`: the release and its settings.

use std::ops::Range;

use url::Url;

use super::values::{Base, Size, read_size};
use crate::cluster::EtcdSettings;
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, Table};
use crate::{EtcdVersion, Sha256, upgrade};

/// The pinned release of etcd, and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// The settings, under names that do not depend on etcd's version.
    pub settings: EtcdSettings,
    /// The digest of `etcd-vVERSION-linux-amd64.tar.gz`.
    pub sha256: Sha256,
    /// The position of the digest in the recipe.
    pub sha256_span: Range<usize>,
    /// The mirrors to try, in order. Each mirror serves `vVERSION/FILE`.
    pub mirrors: Vec<Url>,
}

/// Upstream's two download sites. Upstream's CI checks that both sites contain the same files.
const UPSTREAM: [&str; 2] = [
    "https://github.com/etcd-io/etcd/releases/download/",
    "https://storage.googleapis.com/etcd/",
];

/// Warns about a release that is known to damage data.
fn warn_of_faults(table: &Table<'_>, at: &Located<EtcdVersion>) {
    let faults = upgrade::faults(at.value);
    let Some(patch) = faults.iter().map(|fault| fault.fixed_in).max() else {
        return;
    };
    let what: Vec<&str> = faults.iter().map(|fault| fault.what).collect();
    let message = format!(
        "etcd {} is known to damage data: {}",
        at.value,
        what.join("; ")
    );
    let help = format!("use {} or later", EtcdVersion { patch, ..at.value });
    table.report(Diagnostic::warning(at.span.clone(), message).help(help));
}

pub(super) fn read(root: &Table<'_>) -> Option<Etcd> {
    let Some(table) = root.table("etcd") else {
        if !root.has_like("etcd") {
            let help = "add the section with a `version` and the `sha256` of the release tarball";
            root.report(Diagnostic::error(0..0, "the section [etcd] is missing").help(help));
        }
        return None;
    };
    let version = table.required::<EtcdVersion>("version", "the release to install");
    if let Some(at) = &version {
        warn_of_faults(&table, at);
    }
    let sha256 = table.required::<Sha256>("sha256", "the digest pins the content of the release");
    let mirrors: Option<Vec<_>> = table.list::<Base>("mirrors");
    let (heartbeat, election) = read_raft_timing(&table);
    let quota = read_quota(&table);
    let compaction = table
        .integer("auto-compaction-hours", 0..=8_760)
        .map_or(10, |at| at.value);
    let snapshot_count = table
        .integer("snapshot-count", 100..=10_000_000)
        .map(|at| at.value);
    let max_request = read_max_request(&table);
    let corrupt_check = table
        .boolean("initial-corrupt-check")
        .is_none_or(|at| at.value);
    let hash_check = table
        .boolean("compact-hash-check")
        .is_none_or(|at| at.value);
    table.finish();

    let version = version?.value;
    let settings = EtcdSettings {
        version,
        heartbeat_interval_ms: u32::try_from(heartbeat).ok()?,
        election_timeout_ms: u32::try_from(election).ok()?,
        quota_backend_bytes: quota.unwrap_or(2 << 30),
        auto_compaction_hours: u32::try_from(compaction).ok()?,
        // etcd 3.6 lowered its own default to this value, because keeping the raft log in memory
        // costs more than a snapshot.
        snapshot_count: snapshot_count.map_or(10_000, i64::unsigned_abs),
        max_request_bytes: u32::try_from(max_request.0).unwrap_or(u32::MAX),
        initial_corrupt_check: corrupt_check,
        compact_hash_check: hash_check,
    };
    let mirrors = mirror_urls(mirrors);
    let Located {
        value: sha256,
        span: sha256_span,
    } = sha256?;
    Some(Etcd {
        settings,
        sha256,
        sha256_span,
        mirrors,
    })
}

/// Reads the heartbeat interval and the election timeout, in milliseconds.
fn read_raft_timing(table: &Table<'_>) -> (i64, i64) {
    let heartbeat = table
        .integer("heartbeat-interval-ms", 10..=5_000)
        .map_or(100, |at| at.value);
    let written_election = table.integer("election-timeout-ms", 50..=50_000);
    let election = written_election
        .as_ref()
        .map_or(1_000.max(heartbeat * 10), |at| at.value);
    // etcd refuses to start with an election timeout of less than five heartbeats (server/config:
    // "election-timeout ... should be at least 5 times").
    if election < heartbeat * 5
        && let Some(at) = written_election
    {
        let message = "`election-timeout-ms` is too short for this heartbeat interval";
        table.report(
            Diagnostic::error(at.span, message)
                .label(format!("expected {} or more", heartbeat * 5)),
        );
    }
    (heartbeat, election)
}

/// Reads the size in bytes up to which the database can grow.
fn read_quota(table: &Table<'_>) -> Option<u64> {
    read_size(table, "quota", (16 << 20)..=u64::MAX).map(|at| {
        // etcd itself warns when it starts with a quota of more than 8 GiB. etcd's default is 2
        // GiB.
        if at.value.0 > 8 << 30 {
            table.report(Diagnostic::warning(
                at.span.clone(),
                "etcd recommends a quota of at most 8 GiB",
            ));
        }
        if at.value.0 < 16 << 20 {
            table.report(
                Diagnostic::error(at.span, "`quota` is out of bounds")
                    .label("expected 16 MiB or more"),
            );
        }
        at.value.0
    })
}

/// Reads the size of the largest request that etcd accepts.
fn read_max_request(table: &Table<'_>) -> Size {
    // etcd's default is 1.5 MiB. etcd advises against more than 10 MiB (server/embed/config.go).
    let bounds = (64 << 10)..=(10 << 20);
    read_size(table, "max-request", bounds.clone()).map_or(Size(3 << 19), |at| {
        if !bounds.contains(&at.value.0) {
            let finding = Diagnostic::error(at.span, "`max-request` is out of bounds");
            table.report(finding.label("expected 64 KiB to 10 MiB"));
        }
        at.value
    })
}

/// Returns the URLs of the mirrors that the recipe names, or upstream's sites if the recipe does
/// not name any.
fn mirror_urls(written: Option<Vec<Located<Base>>>) -> Vec<Url> {
    match written {
        Some(bases) => bases
            .into_iter()
            .map(|base| base.value.url().clone())
            .collect(),
        None => UPSTREAM
            .iter()
            .filter_map(|text| Url::parse(text).ok())
            .collect(),
    }
}
