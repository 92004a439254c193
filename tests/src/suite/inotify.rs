//! The kernel's limit on the inotify instances of a user. The test hosts of all lanes share this
//! limit.

use std::fs;

/// The file that contains the limit.
const FILE: &str = "/proc/sys/fs/inotify/max_user_instances";

/// A limit that suffices for the test hosts of all lanes. The programs of one host have about 10
/// instances, and the kernel's default limit is 128.
const ENOUGH: u32 = 1024;

/// Raises the limit if it is too low. The raised limit stays until the machine restarts, because
/// another run may need it. Returns whether the limit is high enough. Without root, or if /proc/sys
/// is read-only, the limit stays unchanged.
pub(super) fn raise_limit() -> bool {
    let is_enough = || {
        let limit = fs::read_to_string(FILE).ok();
        limit.and_then(|limit| limit.trim().parse().ok()) >= Some(ENOUGH)
    };
    if !is_enough() && fs::write(FILE, ENOUGH.to_string()).is_ok() {
        println!("{FILE} is {ENOUGH} until this machine restarts");
    }
    is_enough()
}
