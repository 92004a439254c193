//! `firstboot update --check`: what a release would change on this node, file by file. Nothing of the system is changed.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use recipes::{ImageStamp, ReleaseDocument};
use serde::Serialize;

use super::changes::{FileChange, Kind, changes};
use super::effects::{Effect, effects};
use super::lines::differences;
use super::stage::Staged;
use crate::files;
use crate::paths;

/// What a release would change.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    serial: u64,
    etcd: String,
    files: Vec<Shown>,
    effects: Vec<String>,
    reboot: bool,
}

/// A file that would change.
#[derive(Debug, Serialize)]
struct Shown {
    path: String,
    kind: Kind,
    /// Of a text: the lines that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

/// The stamp of the image that this node has.
pub(super) fn own_stamp() -> Result<ImageStamp> {
    Ok(serde_json::from_slice(&files::read(paths::IMAGE)?)?)
}

/// Compares a staged image with the one that the node has.
pub(super) fn report(release: &ReleaseDocument, staged: &Staged) -> Result<Report> {
    let changes = changes(&own_stamp()?, &staged.stamp);
    let all = effects(&changes);
    let files = changes.iter().map(|change| shown(change, staged)).collect::<Result<_>>()?;
    Ok(Report {
        serial: release.serial,
        etcd: release.etcd.to_string(),
        files,
        reboot: all.iter().any(|effect| matches!(effect, Effect::Reboot(_))),
        effects: all.iter().map(ToString::to_string).collect(),
    })
}

/// The longest file whose lines are compared.
const TEXT: u64 = 256 << 10;

fn shown(change: &FileChange, staged: &Staged) -> Result<Shown> {
    let text = |path: &Path| -> Result<Vec<u8>> {
        match files::look(path)? {
            Some(there) if there.size <= TEXT => files::read(path),
            // A zero byte is in no text.
            Some(_) => Ok(vec![0]),
            None => Ok(Vec::new()),
        }
    };
    // Of a file that comes or goes as a whole the name says enough.
    let lines = match change.kind {
        Kind::Replaced => {
            let (old, new) = (text(&Path::new("/").join(&change.path))?, text(&staged.root.join(&change.path))?);
            differences(&old, &new).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    Ok(Shown { path: format!("/{}", change.path), kind: change.kind, lines })
}

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("image {}, etcd {}\n", self.serial, self.etcd);
        for file in &self.files {
            let what = match file.kind {
                Kind::Added => "new",
                Kind::Replaced => "changed",
                Kind::Removed => "removed",
            };
            // Writing to a string cannot fail.
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
        text
    }
}
