//! `[backup]`: the schedule, the destination, the retention, the compression and the encryption of
//! snapshots.

use super::values::{Base, Word};
use crate::backup::{Backup, Destination, FOLDER, RetentionPolicy, S3};
use crate::diagnostic::Diagnostic;
use crate::reader::Table;
use crate::recipient::Recipient;
use crate::schedule::Schedule;

/// Keys under which users might write a store's credentials in the recipe.
const SECRETS: [&str; 4] = [
    "access-key",
    "secret-key",
    "access-key-id",
    "secret-access-key",
];

/// Folders to which the unit that takes snapshots cannot write, even if their owners and modes
/// allow it.
const CLOSED: [&str; 13] = [
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/etcd",
    "/var/lib/firstboot",
    "/var/tmp",
];

pub(super) fn read(root: &Table<'_>) -> Option<Backup> {
    let table = root.table("backup")?;
    let schedule = table.value::<Schedule>("schedule");
    let destination = table.value::<Destination>("destination");
    if let Some(at) = &destination
        && let Destination::Folder(path) = &at.value
        && let Some(closed) = CLOSED.iter().find(|closed| path.starts_with(closed))
    {
        let finding = Diagnostic::error(
            at.span.clone(),
            format!("no snapshot can be written below {closed}"),
        );
        table.report(finding.help(
            "firstboot-snapshot.service has no access there; use a folder below /var/backups, /srv \
             or /mnt",
        ));
    }
    let compress = table.boolean("compress");
    let age = read_age(&table);
    let keep = table
        .table("keep")
        .map_or_else(RetentionPolicy::default, |table| read_keep(&table));
    let s3 = table.table("s3");
    let bucket = destination
        .as_ref()
        .is_some_and(|at| matches!(at.value, Destination::Bucket { .. }));
    // If the destination cannot be parsed, do not also report a missing bucket, because the user
    // may have meant a bucket.
    let readable = destination.is_some() || table.place("destination").is_none();
    if let (Some(s3), false, true) = (&s3, bucket, readable) {
        let finding = Diagnostic::error(
            s3.header(),
            "[backup.s3] needs a destination of the form s3://bucket/prefix/",
        );
        s3.report(finding.help("set `destination` under [backup], or remove this section"));
    }
    let named = s3.as_ref().is_some_and(|s3| {
        s3.place("endpoint")
            .or_else(|| s3.place("region"))
            .is_some()
    });
    let s3 = s3.map(|table| read_s3(&table)).unwrap_or_default();
    if bucket && !named {
        let finding = Diagnostic::error(table.header(), "the bucket's store is not specified");
        table.report(finding.help(
            "under [backup.s3], set `region` for Amazon's store, or `endpoint` for any other store",
        ));
    }
    table.finish();
    Some(Backup {
        schedule: schedule.map_or_else(|| "hourly".parse().ok(), |at| Some(at.value))?,
        destination: destination.map_or_else(|| FOLDER.parse().ok(), |at| Some(at.value))?,
        keep,
        compress: compress.is_some_and(|at| at.value),
        age,
        s3,
    })
}

fn read_age(table: &Table<'_>) -> Vec<Recipient> {
    let Some(found) = table.list::<Recipient>("age") else {
        return Vec::new();
    };
    if let (Some(0), Some(place)) = (table.count("age"), table.place("age")) {
        let finding = Diagnostic::error(
            place,
            "`age` has no recipient, so no one could read the snapshots",
        );
        table.report(
            finding.help("name a recipient, or remove `age` to leave snapshots unencrypted"),
        );
    }
    for (nth, at) in found.iter().enumerate() {
        if found[..nth].iter().any(|other| other.value == at.value) {
            table.report(Diagnostic::error(
                at.span.clone(),
                format!("the recipient {} is listed twice", at.value),
            ));
        }
    }
    found.into_iter().map(|at| at.value).collect()
}

fn read_keep(table: &Table<'_>) -> RetentionPolicy {
    let default = RetentionPolicy::default();
    let number = |key, default| {
        let found = table.integer(key, 0..=10_000);
        found
            .and_then(|at| u32::try_from(at.value).ok())
            .unwrap_or(default)
    };
    let keep = RetentionPolicy {
        hourly: number("hourly", default.hourly),
        daily: number("daily", default.daily),
        weekly: number("weekly", default.weekly),
        monthly: number("monthly", default.monthly),
    };
    table.finish();
    if [keep.hourly, keep.daily, keep.weekly, keep.monthly] == [0; 4] {
        let finding = Diagnostic::error(table.header(), "these settings keep no snapshot");
        table.report(
            finding.help("set at least one of `hourly`, `daily`, `weekly` and `monthly` above 0"),
        );
    }
    keep
}

fn read_s3(table: &Table<'_>) -> S3 {
    let endpoint = table.value::<Base>("endpoint");
    if let Some(at) = endpoint
        .as_ref()
        .filter(|at| at.value.url().scheme() == "http")
    {
        let finding = Diagnostic::warning(
            at.span.clone(),
            "plain HTTP exposes the snapshots to anyone on the network path",
        );
        table.report(finding.help("use https"));
    }
    if let Some(at) = endpoint.as_ref().filter(|at| at.value.url().path() != "/") {
        let finding = Diagnostic::error(at.span.clone(), "`endpoint` has a path")
            .label("expected only the store's address");
        table.report(finding.help("the bucket belongs in `destination`, as s3://bucket/prefix/"));
    }
    for key in SECRETS {
        let message = "the store's credentials do not belong in a recipe, because the image is \
            public";
        table.reject(
            key,
            message,
            "docs/backup.md describes where to store credentials on a node",
        );
    }
    let region = table.value::<Word>("region");
    let path_style = table.boolean("path-style");
    table.finish();
    S3 {
        // Use the path style by default if the recipe names an endpoint, because a self-hosted
        // store rarely has a DNS name for each bucket.
        path_style: path_style.map_or(endpoint.is_some(), |at| at.value),
        endpoint: endpoint.map(|at| at.value.url().clone()),
        region: region.map(|at| at.value.to_string()),
    }
}
