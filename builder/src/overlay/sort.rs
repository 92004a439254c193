//! Sorts the entries in the archive, and refuses entries that contradict each other.

use std::collections::BTreeMap;

use super::{Entry, Kind, OverlayError};

/// Sorts the entries by path, in byte order. The byte order is the same on every machine and in
/// every locale, and a folder precedes the folder's contents.
pub(super) fn sort(mut entries: Vec<Entry>) -> Result<Vec<Entry>, OverlayError> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(OverlayError::Twice(pair[0].path.clone()));
    }
    let is_dir: BTreeMap<&str, bool> = entries
        .iter()
        .map(|entry| (entry.path.as_str(), matches!(entry.kind, Kind::Dir)))
        .collect();
    for entry in &entries {
        // If an entry is below a file, tar replaces the file with a folder or fails, depending on
        // tar's version.
        if let Some(above) = entry
            .path
            .above()
            .find(|above| is_dir.get(above) == Some(&false))
        {
            return Err(OverlayError::BelowFile {
                below: entry.path.clone(),
                above: above.to_owned(),
            });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::Content;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.parse().unwrap(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            kind,
        }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File(Content::Bytes(Vec::new())))
    }

    #[test]
    fn a_folder_precedes_its_contents() {
        let sorted = sort(vec![
            file("etc/b"),
            file("etc-c"),
            entry("etc", Kind::Dir),
            file("etc/a"),
        ])
        .unwrap();
        let paths: Vec<_> = sorted.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["etc", "etc-c", "etc/a", "etc/b"]);
    }

    #[test]
    fn contradictory_entries_are_refused() {
        assert!(matches!(
            sort(vec![file("a"), entry("a", Kind::Dir)]),
            Err(OverlayError::Twice(_))
        ));
        assert!(matches!(
            sort(vec![file("a"), file("a/b/c")]),
            Err(OverlayError::BelowFile { .. })
        ));
        assert!(
            sort(vec![file("etc"), file("etc/passwd")])
                .unwrap_err()
                .to_string()
                .contains("etc/passwd is below etc")
        );
    }
}
