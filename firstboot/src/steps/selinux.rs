//! SELinux labels (the guide's step 3.2.7) for the files that firstboot writes. The labels of the
//! overlay's files were set by %post.

use std::path::{Path, PathBuf};

use crate::change::Change;

fn enforced() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Labels for a folder that no step created, and for its content. Only root may be able to reach
/// the folder: restorecon follows paths, and another user could replace a folder in such a path
/// with a link.
pub(crate) fn below(folder: &Path) -> Option<Change> {
    enforced().then(|| Change::RelabelAll(folder.to_owned()))
}

/// Returns the label for a single path.
pub(crate) fn one(path: &Path) -> Option<Change> {
    enforced().then(|| Change::Relabel(vec![path.to_owned()]))
}

/// Returns the labels for these paths, but not for anything below them.
pub(crate) fn all(paths: Vec<PathBuf>) -> Option<Change> {
    (enforced() && !paths.is_empty()).then_some(Change::Relabel(paths))
}

/// Labels for the paths of the changes, if SELinux is active. restorecon looks the labels up in the
/// policy: the policy of 7.9 has no types for etcd (selinux-policy 3.13.1, file_contexts), and the
/// recipe's `[selinux] module` adds them.
pub(super) fn plan(changes: &[Change]) -> Option<Change> {
    if !enforced() {
        return None;
    }
    let touched = changes.iter().filter_map(|change| match change {
        Change::File(file) => Some(file.path.clone()),
        Change::Folder(folder) => Some(folder.path.clone()),
        _ => None,
    });
    let mut paths: Vec<PathBuf> = touched.collect();
    paths.sort();
    paths.dedup();
    (!paths.is_empty()).then_some(Change::Relabel(paths))
}
