//! A control group for each host.
//!
//! With `--keep-unit`, nspawn puts its host into a group `payload` below the group of nspawn
//! itself. If two hosts of one test shared the group of nspawn, their systemds would remove each
//! other's groups, and occasionally a service would fail with 219/CGROUP. Therefore the test bed
//! starts each nspawn in a separate group.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Control groups with the same name, one in each hierarchy that systemd manages. The groups are
/// removed on drop.
#[derive(Debug)]
pub(crate) struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    /// Makes control groups whose name consists of this run's prefix and the given number.
    pub(crate) fn new(number: u32) -> Result<Cgroup> {
        let name = format!("{}{number}", prefix(std::process::id()));
        let cgroup = Cgroup(
            hierarchies()?
                .iter()
                .map(|parent| parent.join(&name))
                .collect(),
        );
        for path in &cgroup.0 {
            fs::create_dir(path)
                .with_context(|| format!("cannot make the control group {}", path.display()))?;
        }
        Ok(cgroup)
    }

    /// Returns the group's folders. To put a process into the group, write its pid into the
    /// `cgroup.procs` of each folder.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in &self.0 {
            remove(path);
        }
    }
}

/// Removes the groups that a dead run left behind.
pub(crate) fn reap(pid: u32) {
    for parent in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&prefix(pid))
            {
                remove(&entry.path());
            }
        }
    }
}

fn prefix(pid: u32) -> String {
    format!("etcd-image-{pid}-")
}

/// Returns this process's own groups in the unified hierarchy and in systemd's hierarchy, if they
/// exist.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    Ok(own_groups(&mounts, &own))
}

fn own_groups(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mounted_on) = place.split(' ').nth(4) else {
            continue;
        };
        let start = match kind.split(' ').next() {
            Some("cgroup2") => "0::",
            Some("cgroup") if kind.contains("name=systemd") => "name=systemd:",
            _ => continue,
        };
        let path = own.lines().find_map(|line| match start {
            "0::" => line.strip_prefix(start),
            _ => line.split_once(start).map(|(_, path)| path),
        });
        if let Some(path) = path {
            found.push(Path::new(mounted_on).join(path.trim_start_matches('/')));
        }
    }
    found
}

/// Removes a group and its child groups. The kernel allows the removal only after the child groups
/// are gone and the last process has been reaped, which takes a moment.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    for _ in 0..50 {
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    eprintln!(
        "bed: cannot remove the control group {}, which is still in use",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies_are_found_on_a_machine_that_has_both() {
        let mounts = "30 20 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      31 20 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/a\n1:cpu:/b\n0::/c\n";
        let expected = ["/sys/fs/cgroup/systemd/a", "/sys/fs/cgroup/unified/c"].map(PathBuf::from);
        assert_eq!(own_groups(mounts, own), expected);
    }

    #[test]
    fn a_machine_with_only_the_unified_hierarchy_has_one_group() {
        let mounts = "30 20 0:25 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            own_groups(mounts, "0::/user.slice/x\n"),
            [PathBuf::from("/sys/fs/cgroup/user.slice/x")]
        );
    }
}
