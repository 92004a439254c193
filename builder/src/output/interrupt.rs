//! Removes temporary folders after a signal. A thread that waits for signals has the list of
//! folders that this process is writing, so that an interrupt leaves nothing behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::console;

/// The temporary folders of this process, for the thread that waits for signals.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub(super) fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes a temporary folder, and removes the folder from the list. If the folder cannot be
/// deleted now, the next build deletes it.
pub(super) fn discard(temp: &Path) {
    let mut unfinished = lock();
    let _ = fs::remove_dir_all(temp);
    unfinished.retain(|path| path != temp);
}

/// Makes an interrupt (^C, SIGTERM, SIGHUP) end the program cleanly: the program removes the
/// partial output, reports the interrupt, and exits with 128 plus the signal's number (130 for ^C),
/// as shells do. SIGHUP has no effect if nohup started the program. Call this function once, early
/// in `main`.
pub(crate) fn clean_up_on_interrupt() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    // nohup makes the program ignore SIGHUP, so that it continues after the terminal is closed.
    if !ignores_hangup(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        signals.add_signal(SIGHUP)?;
    }
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Some(signal) = signals.forever().next() else {
                return;
            };
            // This thread holds the lock until the process ends, so that no other thread can begin
            // or commit an output.
            let unfinished = lock();
            for temp in unfinished.iter() {
                // Rename the folder first, so that threads that are still writing into it fail
                // instead of refilling it.
                let dead = temp.with_extension(format!("new-{}-interrupted", std::process::id()));
                let place = if fs::rename(temp, &dead).is_ok() {
                    &dead
                } else {
                    temp
                };
                let _ = fs::remove_dir_all(place);
            }
            // Do not use `eprintln!`, because it panics on a full disk, and a panic ends only this
            // thread and not the program.
            console::note(format_args!(
                "interrupted{}",
                if unfinished.is_empty() {
                    ""
                } else {
                    ": the partial output was removed"
                }
            ));
            std::process::exit(128 + signal);
        })?;
    Ok(())
}

/// Returns whether a process ignores SIGHUP, according to its `/proc/PID/status`.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit of the mask is signal 1, SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mask_of_ignored_signals_shows_whether_hangup_is_ignored() {
        let status = |blocked: &str, ignored: &str| {
            format!("Name:\tbuilder\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\n")
        };
        assert!(ignores_hangup(&status(
            "0000000000000000",
            "0000000000001001"
        )));
        assert!(!ignores_hangup(&status(
            "0000000000000001",
            "0000000000001004"
        )));
        assert!(!ignores_hangup(""));
    }
}
