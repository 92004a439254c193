//! SELinux labels (the guide's step 3.2.7) of what this run writes. The overlay's own files got theirs in %post.

use std::path::{Path, PathBuf};

use crate::change::Change;

fn enforced() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Labels for a folder that was made elsewhere than in a step, and all that is in it. Only root may be able to go there:
/// restorecon goes by paths, and another user could exchange a folder on the way for a link.
pub(crate) fn below(folder: &Path) -> Option<Change> {
    enforced().then(|| Change::RelabelAll(folder.to_owned()))
}

/// The label for one path.
pub(crate) fn one(path: &Path) -> Option<Change> {
    enforced().then(|| Change::Relabel(vec![path.to_owned()]))
}

/// The labels for these paths, and of nothing below them.
pub(crate) fn all(paths: Vec<PathBuf>) -> Option<Change> {
    (enforced() && !paths.is_empty()).then_some(Change::Relabel(paths))
}

/// Labels for the paths that the changes touch, where the kernel runs with SELinux. restorecon asks the
/// policy: 7.9's own has no type of etcd's (selinux-policy 3.13.1, file_contexts), the recipe's `[selinux] module` adds them.
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
