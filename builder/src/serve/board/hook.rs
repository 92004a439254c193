//! Calls the operator's command for each event about a node. The command receives the event as one
//! line of JSON on its standard input, so nothing that a machine reports becomes part of a command
//! line.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::console;

/// The time limit for a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of events that may wait for the command.
const MAX_WAITING: usize = 256;
/// The pause between two checks of whether a call has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A handle to the thread that calls the command. The thread makes one call at a time.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Hook(SyncSender<String>);

impl Hook {
    /// Starts the thread.
    pub(in crate::serve) fn start(command: String) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || call_all(&command, &receiver))?;
        Ok(Self(sender))
    }

    /// Queues a call of the command with an event. Drops the event if too many events are waiting,
    /// so that no request waits for the command.
    pub(in crate::serve) fn call(&self, event: String) {
        if self.0.try_send(event).is_err() {
            console::error(
                "--hook: dropped an event, because too many events are waiting for the command",
            );
        }
    }
}

fn call_all(command: &str, events: &Receiver<String>) {
    for event in events {
        if let Err(error) = call(command, &event, CALL_TIMEOUT) {
            console::error(format_args!("--hook: {error}"));
        }
    }
}

/// Calls the command once. Kills the command if it exceeds the time limit.
fn call(command: &str, event: &str, patience: Duration) -> io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A pipe has room for an event, so this write does not block. The command need not read the
        // event.
        match stdin.write_all(format!("{event}\n").as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    wait(&mut child, patience)
}

/// Waits for a command that is the leader of its process group. Kills the group if the command
/// exceeds the time limit.
pub(in crate::serve) fn wait(child: &mut Child, patience: Duration) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("the command failed ({status})"))),
            None if begun.elapsed() >= patience => {
                // Kill the whole group, because a signal to the shell alone does not end the
                // commands that the shell has started.
                let group = Pid::from_child(child);
                rustix::process::kill_process_group(group, Signal::KILL)?;
                child.wait()?;
                return Err(io::Error::other(format!(
                    "the command took longer than {} s and was killed",
                    patience.as_secs()
                )));
            }
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_gets_each_event_on_its_standard_input() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("events");
        let command = format!("cat >> {}", out.display());
        let hostile = r#"{"what":"$(touch /tmp/hook); `id`"}"#;
        for event in ["{\"node\":\"etcd-1\"}", hostile] {
            call(&command, event, CALL_TIMEOUT).unwrap();
        }
        let text = std::fs::read_to_string(out).unwrap();
        assert_eq!(text, format!("{{\"node\":\"etcd-1\"}}\n{hostile}\n"));
    }

    #[test]
    fn a_command_that_fails_or_hangs_is_reported() {
        let failed = call("exit 3", "{}", CALL_TIMEOUT).unwrap_err();
        assert!(failed.to_string().contains("exit status: 3"), "{failed}");
        let begun = Instant::now();
        let hung = call("exec sleep 60", "{}", Duration::from_millis(100)).unwrap_err();
        assert!(hung.to_string().contains("was killed"), "{hung}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_children_of_a_command_that_hangs_are_also_killed() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let command = format!("sleep 60 & echo $! > {}; wait", pid.display());
        call(&command, "{}", Duration::from_millis(500)).unwrap_err();
        let pid = std::fs::read_to_string(pid).unwrap();
        // The killed child ends a moment after `call` returns, and init then reaps the child.
        let is_running = || {
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        let begun = Instant::now();
        while is_running() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "it is still running"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}
