//! Lists, checks and deletes the archived data, which firstboot keeps until an operator orders its
//! deletion.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::EtcdVersion;
use recipes::upgrade::{self, ClusterVersions, EtcdStart};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::data;
use crate::exit::refused;
use crate::files::{self, Dir};
use crate::journal::{ArchivedData, Entry, Event, Journal, NodeState};
use crate::lock::Lock;
use crate::output::say;
use crate::paths;
use crate::reason::ReasonId;

/// One folder of the archive.
#[derive(Debug, PartialEq, Eq)]
struct ArchivedFolder {
    path: PathBuf,
    /// The time in the folder's name.
    at: PrimitiveDateTime,
}

/// Checks that the archived data is complete, and that no other data has taken its place.
pub(super) fn check(archived: &ArchivedData) -> Result<()> {
    let path = &archived.path;
    let Ok(now) = data::identity_of(path) else {
        return Err(unusable(
            path,
            "no longer contains complete etcd data, so a rollback is impossible",
        ));
    };
    match &archived.data {
        Some(then) if (then.member, then.cluster) != (now.member, now.cluster) => {
            Err(unusable(path, "contains the data of another member"))
        }
        Some(then) => match then.directories.first_replaced(&now.directories) {
            Some(what) => Err(unusable(
                path,
                &format!("was replaced: {what} is not the directory that was archived"),
            )),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Refuses a rollback to data on which this image's version of etcd does not start.
pub(super) fn check_version(archived: &ArchivedData, own: EtcdVersion) -> Result<()> {
    let needed = data::needed_minor(&archived.path);
    version_obstacle(archived.etcd_version, needed, own).map_or(Ok(()), |why| {
        let path = archived.path.display();
        Err(refused(
            ReasonId::EtcdVersion.because(format!("{path}: {why}")),
        ))
    })
}

/// Returns the reason why this version of etcd does not start on archived data, or `None` if etcd
/// starts. `used` is the version that last used the data, and `needed` the lowest minor version
/// that can open the data, if they are known.
fn version_obstacle(
    used: Option<EtcdVersion>,
    needed: Option<u64>,
    own: EtcdVersion,
) -> Option<String> {
    // etcd 3.5 starts on data that was restored from a snapshot of 3.6, and leaves the storage
    // version of 3.6 in the data.
    let has_started = used.is_some_and(|used| used.minor <= own.minor);
    if let Some(needed) = needed.filter(|needed| *needed > own.minor && !has_started) {
        return Some(format!(
            "the cluster of this data has agreed on etcd 3.{needed}, so etcd {own} does not start on the data. Install an \
             image with etcd 3.{needed}, and then roll back"
        ));
    }
    let versions = ClusterVersions::default();
    upgrade::obstacle(own, EtcdStart::WithData(used), &versions).map(|why| why.to_string())
}

fn unusable(path: &Path, why: &str) -> anyhow::Error {
    refused(ReasonId::ArchiveUnusable.because(format!("{} {why}", path.display())))
}

/// One folder of the archive, as the operator sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ArchiveRow {
    path: PathBuf,
    /// The time at which the data was archived, in the format of RFC 3339.
    time: String,
    #[serde(skip)]
    at: OffsetDateTime,
    /// The total size of the files, in bytes.
    size: u64,
    /// The id of the data's cluster, in hexadecimal digits, if the journal contains the id.
    cluster_id: Option<String>,
    /// Whether `--rollback` would restore this data.
    rollback: bool,
}

/// Lists the archive, oldest first.
pub(super) fn list(journal: &Journal) -> Result<Vec<ArchiveRow>> {
    let back = NodeState::of(journal).archived.map(|folder| folder.path);
    let archived = |folder: ArchivedFolder| {
        let size = Dir::open(&folder.path).and_then(|folder| folder.size());
        let size = size.with_context(|| format!("cannot read {}", folder.path.display()))?;
        let entries = journal.entries.iter().enumerate().rev();
        let cluster = entries
            .filter(|(_, entry)| match &entry.event {
                Event::SwapBegun(data_swap) => data_swap.archive_to.as_ref() == Some(&folder.path),
                _ => false,
            })
            .find_map(|(number, _)| NodeState::from(&journal.entries[..number]).cluster_id);
        Ok(ArchiveRow {
            time: folder.at.assume_utc().format(&Rfc3339)?,
            at: folder.at.assume_utc(),
            size,
            cluster_id: cluster.map(|cluster| format!("{cluster:x}")),
            rollback: back.as_ref() == Some(&folder.path),
            path: folder.path,
        })
    };
    let is_own = |folder: &ArchivedFolder| is_recorded(&folder.path, &journal.entries);
    all()?.into_iter().filter(is_own).map(archived).collect()
}

pub(super) fn table(archived: &[ArchiveRow]) -> Result<String> {
    if archived.is_empty() {
        return Ok("no data is archived\n".to_owned());
    }
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let line = |archived: &ArchiveRow| {
        let of = archived.cluster_id.as_ref();
        let of = of.map_or_else(String::new, |id| format!(", of the cluster {id}"));
        Ok(format!(
            "{}  {} MiB  {}{of}{}\n",
            archived.at.format(format)?,
            archived.size >> 20,
            archived.path.display(),
            if archived.rollback {
                "; --rollback restores it"
            } else {
                ""
            }
        ))
    };
    archived.iter().map(line).collect()
}

/// The result of `--prune` as JSON.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Pruned {
    /// The deleted folders or, in a dry run, the folders that would be deleted.
    deleted: Vec<PathBuf>,
    /// The folders that are old enough, but that firstboot did not archive.
    not_recorded: Vec<PathBuf>,
}

/// Deletes the archived folders that are older than this many days. Keeps the folder that an
/// unfinished data swap needs, and each folder that firstboot did not archive, such as a copy. With
/// `is_dry_run`, deletes nothing.
pub(super) fn prune(journal: &Journal, days: u64, is_dry_run: bool) -> Result<Pruned> {
    let _lock = Lock::take()?;
    let mut pruned = Pruned::default();
    let now = time::OffsetDateTime::now_utc();
    let age = time::Duration::days(i64::try_from(days).unwrap_or(i64::MAX / 86_400));
    let kept = NodeState::of(journal).swap.map(|data_swap| data_swap.from);
    for folder in all()? {
        if now - folder.at.assume_utc() <= age || kept.as_ref() == Some(&folder.path) {
            continue;
        }
        let path = folder.path.display();
        if !is_recorded(&folder.path, &journal.entries) {
            say(format!(
                "keeping {path}: the journal does not show that firstboot archived this folder"
            ));
            pruned.not_recorded.push(folder.path);
            continue;
        }
        if is_dry_run {
            say(format!("would delete {path}"));
        } else {
            say(format!("deleting {path}"));
            files::remove_all(&folder.path)?;
        }
        pruned.deleted.push(folder.path);
    }
    Ok(pruned)
}

/// Returns whether the journal shows that firstboot archived data to this path. A folder's name
/// does not show this, because an operator can copy or rename a folder.
fn is_recorded(path: &Path, entries: &[Entry]) -> bool {
    entries.iter().any(|entry| match &entry.event {
        Event::DataArchived { path: archived } => archived == path,
        Event::SwapBegun(data_swap) => data_swap.archive_to.as_deref() == Some(path),
        _ => false,
    })
}

/// Returns the folders in the archive whose names contain a time, oldest first.
fn all() -> Result<Vec<ArchivedFolder>> {
    let folder = Path::new(paths::ARCHIVE);
    if !files::exists(folder)? {
        return Ok(Vec::new());
    }
    let names = Dir::open(folder).and_then(|folder| folder.names());
    let names = names.with_context(|| format!("cannot read {}", folder.display()))?;
    let mut all: Vec<ArchivedFolder> = names
        .into_iter()
        .filter_map(|name| parse(folder.join(name)))
        .collect();
    all.sort_by_key(|folder| folder.at);
    Ok(all)
}

/// Parses the time in a folder's name. Returns `None` if the name does not end with a time.
/// firstboot did not create such a folder.
fn parse(path: PathBuf) -> Option<ArchivedFolder> {
    let name = path.file_name()?.to_str()?;
    let (_, time) = name.rsplit_once('-')?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = PrimitiveDateTime::parse(time, format).ok()?;
    Some(ArchivedFolder { path, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_an_archived_folder() {
        let row = ArchiveRow {
            path: "/a/left-1".into(),
            time: String::new(),
            at: OffsetDateTime::UNIX_EPOCH,
            size: 0,
            cluster_id: None,
            rollback: false,
        };
        assert_eq!(
            documented("json.md", "firstboot restore --list"),
            keys(&row)
        );
    }

    #[test]
    fn a_rollback_needs_a_version_of_etcd_that_starts_on_the_data() {
        let version = |text: &str| text.parse::<EtcdVersion>().unwrap();
        let obstacle = |used: &str, needed, own: &str| {
            version_obstacle(Some(version(used)), needed, version(own)).unwrap_or_default()
        };
        assert_eq!(obstacle("3.5.33", Some(5), "3.5.35"), "");
        assert_eq!(obstacle("3.5.33", Some(5), "3.6.16"), "");
        assert_eq!(version_obstacle(None, None, version("3.7.3")), None);
        // A rollback after two upgrades: etcd does not support skipping a minor version.
        assert!(obstacle("3.5.33", Some(5), "3.7.3").contains("skipping a minor version"));
        // A rollback to the data of a newer version.
        let newer = obstacle("3.6.16", Some(6), "3.5.35");
        assert!(newer.contains("Install an image with etcd 3.6"), "{newer}");
        assert_eq!(
            obstacle("3.5.35", Some(6), "3.5.35"),
            "",
            "etcd ran on the data"
        );
        let unknown = version_obstacle(None, Some(6), version("3.5.35"));
        assert!(unknown.is_some_and(|why| why.contains("has agreed on etcd 3.6")));
    }

    #[test]
    fn only_names_that_firstboot_gave_are_recognised() {
        let parse = |name: &str| parse(Path::new("/folder").join(name));
        assert!(parse("before-restore-20261122T101112Z").is_some());
        assert!(parse("half-born-20261122T101112Z").is_some());
        for strange in [
            "before-restore",
            "keep-this",
            "x-20261322T101112Z",
            "20261122T101112Z",
        ] {
            assert_eq!(parse(strange), None, "{strange}");
        }
    }

    #[test]
    fn the_result_of_a_prune_is_json_with_kebab_case_keys() {
        let pruned = Pruned {
            deleted: vec![PathBuf::from("/a/left-1")],
            not_recorded: vec![PathBuf::from("/a/mine-1")],
        };
        assert_eq!(
            serde_json::to_string(&pruned).unwrap(),
            r#"{"deleted":["/a/left-1"],"not-recorded":["/a/mine-1"]}"#
        );
    }

    #[test]
    fn a_copy_of_an_archived_folder_is_not_firstboots() {
        let path = |name: &str| Path::new(paths::ARCHIVE).join(name);
        let event = Event::DataArchived {
            path: path("left-20261122T101112Z"),
        };
        let entries = [Entry { at: 0, event }];
        assert!(is_recorded(&path("left-20261122T101112Z"), &entries));
        for other in ["mine-20261122T101112Z", "left-20261122T101113Z"] {
            assert!(!is_recorded(&path(other), &entries), "{other}");
        }
    }
}
