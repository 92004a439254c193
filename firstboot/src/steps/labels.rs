//! SELinux labels (the guide's step 3.2.7) of what this run writes. The overlay's own files got theirs in %post.

use std::path::{Path, PathBuf};

use crate::change::Change;

fn enforced() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Labels for a folder that was made elsewhere than in a step.
pub(crate) fn below(folder: &Path) -> Option<Change> {
    enforced().then(|| Change::Relabel(folder.to_owned()))
}

/// Labels for the paths that the changes touch, where the kernel runs with SELinux. restorecon asks the
/// policy: 7.9's own has no type of etcd's (selinux-policy 3.13.1, file_contexts), the recipe's `[selinux] module` adds them.
pub(super) fn plan(changes: &[Change]) -> Vec<Change> {
    if !enforced() {
        return Vec::new();
    }
    let touched = changes.iter().filter_map(|change| match change {
        Change::File(file) => Some(file.path.clone()),
        Change::Folder(folder) => Some(folder.path.clone()),
        _ => None,
    });
    let mut paths: Vec<PathBuf> = touched.collect();
    paths.sort();
    // One pass over a folder covers what lies in it.
    paths.dedup_by(|inner, outer| inner.starts_with(&*outer));
    paths.into_iter().map(Change::Relabel).collect()
}
