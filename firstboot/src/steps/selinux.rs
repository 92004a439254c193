//! Sets the SELinux labels (the guide's step 3.2.7) of the files that firstboot writes. The
//! kickstart's %post has already set the labels of the overlay's files.

use std::path::{Path, PathBuf};

use crate::change::Change;

fn enforced() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Returns the change that labels a folder and its content, for a folder that the steps do not
/// create. The caller ensures that only root can enter the folder. If another user could enter the
/// folder, that user could replace a part of a path with a link, and restorecon would follow the
/// link.
pub(crate) fn below(folder: &Path) -> Option<Change> {
    enforced().then(|| Change::RelabelAll(folder.to_owned()))
}

pub(crate) fn one(path: &Path) -> Option<Change> {
    enforced().then(|| Change::Relabel(vec![path.to_owned()]))
}

/// Returns the change that labels these paths, but not their content.
pub(crate) fn all(paths: Vec<PathBuf>) -> Option<Change> {
    (enforced() && !paths.is_empty()).then_some(Change::Relabel(paths))
}

/// Returns the change that labels the paths of these changes, if SELinux is active. restorecon
/// reads the labels from the policy. CentOS 7.9's policy does not have types for etcd
/// (selinux-policy 3.13.1, file_contexts), but the recipe's `[selinux] module` adds them.
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
