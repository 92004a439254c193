//! Determines the files that differ between two images. The result depends only on the images'
//! file lists.

use std::collections::BTreeMap;

use recipes::{ImageFile, ImageFileList};
use serde::{Deserialize, Serialize};

/// The files of an image that are not in its file list: the file list itself, as JSON and as
/// SHA256SUMS, and the installation marker, which contains the digest of the overlay.
pub(super) const UNLISTED: [&str; 3] = [
    "etc/firstboot/image.json",
    "etc/firstboot/SHA256SUMS",
    "etc/firstboot/installed",
];

/// The kind of a change to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Added,
    /// Both images contain the file, with different content, mode or owner.
    Replaced,
    Removed,
}

/// A file that differs between the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileChange {
    /// The file's path from the root directory, without the leading slash.
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// Returns all listed files that differ, sorted by path.
pub(super) fn changes(old: &ImageFileList, new: &ImageFileList) -> Vec<FileChange> {
    fn by_path(file_list: &ImageFileList) -> BTreeMap<&str, &ImageFile> {
        file_list
            .files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect()
    }
    let (old, new) = (by_path(old), by_path(new));
    let paths: std::collections::BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let kind = |path| match (old.get(path), new.get(path)) {
        (None, Some(_)) => Some(Kind::Added),
        (Some(_), None) => Some(Kind::Removed),
        (Some(old), Some(new)) if is_same(old, new) => None,
        _ => Some(Kind::Replaced),
    };
    paths
        .into_iter()
        .filter_map(|path| {
            Some(FileChange {
                path: path.to_owned(),
                kind: kind(path)?,
            })
        })
        .collect()
}

fn is_same(one: &ImageFile, other: &ImageFile) -> bool {
    (one.sha256, one.mode, one.uid, one.gid) == (other.sha256, other.mode, other.uid, other.gid)
}

#[cfg(test)]
mod tests {
    use recipes::Sha256;

    use super::*;

    fn file_list(files: &[(&str, &str, u32)]) -> ImageFileList {
        let file = |(path, content, mode): &(&str, &str, u32)| ImageFile {
            path: (*path).to_owned(),
            mode: *mode,
            uid: 0,
            gid: 0,
            size: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
            mutable: false,
        };
        ImageFileList {
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn each_changed_file_is_listed_with_the_kind_of_its_change() {
        let old = file_list(&[
            ("a", "1", 0o644),
            ("b", "1", 0o644),
            ("c", "1", 0o644),
            ("e", "1", 0o644),
        ]);
        let new = file_list(&[
            ("b", "2", 0o644),
            ("c", "1", 0o600),
            ("d", "1", 0o644),
            ("e", "1", 0o644),
        ]);
        let found: Vec<_> = changes(&old, &new)
            .into_iter()
            .map(|change| (change.path, change.kind))
            .collect();
        let expected = [
            ("a", Kind::Removed),
            ("b", Kind::Replaced),
            ("c", Kind::Replaced),
            ("d", Kind::Added),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
        assert_eq!(changes(&old, &old), []);
        let back: Vec<_> = changes(&new, &old)
            .into_iter()
            .map(|change| change.kind)
            .collect();
        assert_eq!(
            back,
            [Kind::Added, Kind::Replaced, Kind::Replaced, Kind::Removed],
            "the rollback makes the reverse changes"
        );
    }
}
