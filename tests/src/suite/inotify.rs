//! The kernel's limit on the inotify instances of a user, which all hosts of all lanes share.

use std::fs;

/// The file that contains the limit.
const FILE: &str = "/proc/sys/fs/inotify/max_user_instances";

/// The limit during a run. The programs of a host have about 10 instances, and the kernel's default
/// limit is 128.
const DURING_RUN: u32 = 1024;

/// The limit as it is now, and as it was before the run. On drop, the earlier limit applies again.
#[derive(Debug)]
pub(super) struct Limit {
    before: Option<u32>,
    now: Option<u32>,
}

impl Limit {
    /// Raises the limit if it is too low. Without root, or if /proc/sys is read-only, the limit
    /// remains as it is.
    pub(super) fn raise() -> Limit {
        let before = current();
        if before.is_some_and(|before| before < DURING_RUN)
            && fs::write(FILE, DURING_RUN.to_string()).is_ok()
        {
            println!("{FILE} is {DURING_RUN} during this run");
        }
        Limit {
            before,
            now: current(),
        }
    }

    /// Returns whether the limit is high enough for any number of lanes.
    pub(super) fn is_high(&self) -> bool {
        self.now.is_some_and(|now| now >= DURING_RUN)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(before) = self.before.filter(|before| Some(*before) != self.now) {
            let _ = fs::write(FILE, before.to_string());
        }
    }
}

fn current() -> Option<u32> {
    fs::read_to_string(FILE).ok()?.trim().parse().ok()
}
