//! `firstboot update --check`: lists the files that a release would change on this node, without
//! changing them.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use recipes::update::Reboot;
use recipes::{EtcdVersion, ReleaseDocument};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::apply::effects_on;
use super::effects::{only_at_boot, reboots};
use super::file_changes::{FileChange, Kind, changes};
use super::stage::Staged;
use crate::files;
use crate::image_integrity::file_list;

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    serial: u64,
    etcd: String,
    /// The version of this node's etcd, if it differs from the version in the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_before: Option<String>,
    /// The direction of the change, if the minor version of etcd changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    minor: Option<Minor>,
    files: Vec<Shown>,
    effects: Vec<String>,
    /// Whether some of the changes take effect only after a reboot.
    reboot: bool,
    /// Whether the update reboots the node.
    reboots: bool,
}

/// The direction of a change of etcd's minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Minor {
    Upgrade,
    Downgrade,
}

/// A file that the update changes, adds or removes.
#[derive(Debug, Serialize)]
struct Shown {
    path: String,
    kind: Kind,
    /// The lines that differ, if the update replaces a short text file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

/// Compares a staged image with this node's image.
pub(super) fn report(
    release: &ReleaseDocument,
    staged: &Staged,
    rule: Reboot,
    own: EtcdVersion,
) -> Result<Report> {
    let changes = changes(&file_list()?, &staged.file_list);
    let all = effects_on(Path::new("/"), &changes);
    let files = changes
        .iter()
        .map(|change| shown(change, staged))
        .collect::<Result<_>>()?;
    Ok(Report {
        serial: release.serial,
        etcd: release.etcd.to_string(),
        etcd_before: (own != release.etcd).then(|| own.to_string()),
        minor: match release.etcd.minor.cmp(&own.minor) {
            Ordering::Equal => None,
            Ordering::Greater => Some(Minor::Upgrade),
            Ordering::Less => Some(Minor::Downgrade),
        },
        files,
        reboot: !only_at_boot(&changes).is_empty(),
        reboots: reboots(rule, &changes),
        effects: all.iter().map(ToString::to_string).collect(),
    })
}

/// The maximum size of a file whose lines are compared.
const MAX_TEXT_BYTES: u64 = 256 << 10;

fn shown(change: &FileChange, staged: &Staged) -> Result<Shown> {
    let text = |path: &Path| -> Result<Option<String>> {
        let is_short = files::look(path)?.is_some_and(|there| there.size <= MAX_TEXT_BYTES);
        Ok(if is_short {
            String::from_utf8(files::read(path)?)
                .ok()
                .filter(|text| !text.contains('\0'))
        } else {
            None
        })
    };
    let lines = match change.kind {
        Kind::Replaced => {
            let (old, new) = (
                text(&Path::new("/").join(&change.path))?,
                text(&staged.root.join(&change.path))?,
            );
            old.zip(new)
                .map(|(old, new)| different_lines(&old, &new))
                .unwrap_or_default()
        }
        // Do not list the lines of a new or removed file.
        Kind::Added | Kind::Removed => Vec::new(),
    };
    Ok(Shown {
        path: format!("/{}", change.path),
        kind: change.kind,
        lines,
    })
}

/// Returns the deleted lines, marked with `-`, and the inserted lines, marked with `+`, in their
/// order in the file.
fn different_lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let line = |change: similar::Change<&str>| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        Some(format!(
            "{sign}{}",
            change.value().trim_end_matches(['\r', '\n'])
        ))
    };
    diff.iter_all_changes().filter_map(line).collect()
}

impl Report {
    /// Returns the report as text.
    pub(super) fn text(&self) -> String {
        let mut text = format!("image {}, etcd {}", self.serial, self.etcd);
        // Writing to a string cannot fail.
        let _ = match (&self.etcd_before, self.minor) {
            (None, _) => writeln!(text),
            (Some(before), None) => writeln!(text, " instead of {before}"),
            (Some(before), Some(Minor::Upgrade)) => writeln!(
                text,
                " instead of {before}: a new minor version. When every node has this version, a \
                 rollback requires a downgrade of the cluster"
            ),
            (Some(before), Some(Minor::Downgrade)) => writeln!(
                text,
                " instead of {before}: a downgrade. The first node to be updated enables the \
                 downgrade of the cluster"
            ),
        };
        for file in &self.files {
            let what = match file.kind {
                Kind::Added => "new",
                Kind::Replaced => "changed",
                Kind::Removed => "removed",
            };
            let _ = writeln!(text, "{what:8} {}", file.path);
            for line in &file.lines {
                let _ = writeln!(text, "         {line}");
            }
        }
        text.push_str("restarts etcd and firstboot\n");
        for effect in &self.effects {
            text.push_str(effect);
            text.push('\n');
        }
        if self.reboots {
            text.push_str("reboots the node\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_the_changes() {
        let report = Report {
            serial: 7,
            etcd: "3.6.14".to_owned(),
            etcd_before: Some("3.5.33".to_owned()),
            minor: Some(Minor::Upgrade),
            files: Vec::new(),
            effects: Vec::new(),
            reboot: false,
            reboots: false,
        };
        assert_eq!(
            documented("json.md", "The changes of an image"),
            keys(&report)
        );
    }

    #[test]
    fn only_lines_that_differ_are_shown_in_their_order() {
        assert_eq!(
            different_lines("a = 1\nb = 2\nc\n", "a = 1\nb = 3\nc\n"),
            ["-b = 2", "+b = 3"]
        );
        assert_eq!(different_lines("", "a\nb\n"), ["+a", "+b"]);
        assert!(different_lines("a\n", "a\n").is_empty());
    }
}
