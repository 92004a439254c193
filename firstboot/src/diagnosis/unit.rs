//! Diagnoses the state of etcd's unit. Only [`Unit::show`] performs I/O.

use std::collections::BTreeMap;

use anyhow::Result;
use time::OffsetDateTime;
use time::macros::format_description;

use super::exit_log::ExitLog;
use crate::reason::{Reason, ReasonId};
use crate::systemd;
use crate::systemd::ETCD_UNIT;

/// The time, in microseconds, for which firstboot continues to report the exit of an etcd process
/// after systemd has restarted etcd. systemd restarts etcd after 5 s, and the new process may run
/// for a few seconds before it exits for the same reason.
const RECENT: u64 = 30_000_000;

/// A message contains this text if etcd exited but is running again.
pub(super) const AGAIN: &str = " and was restarted";

/// The properties of etcd's unit, as systemd reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    load: String,
    /// The id of etcd's process, if the process is running.
    pub(super) running: Option<u32>,
    /// The id of the process that was started last, whether or not it is still running.
    last: Option<u32>,
    /// The way in which the last process ended, as in waitid(2). 1 means that the process exited,
    /// and 2 and 3 mean that a signal killed it.
    code: u32,
    /// The exit status of the last process, or the signal that killed it.
    status: u32,
    /// The drop-ins that apply only to etcd.service.
    drop_ins: Vec<String>,
}

impl Unit {
    pub(super) fn show() -> Result<Self> {
        let names = [
            "LoadState",
            "MainPID",
            "ExecMainPID",
            "ExecMainCode",
            "ExecMainStatus",
            "DropInPaths",
        ];
        Ok(Self::of(&systemd::properties(ETCD_UNIT, &names)?))
    }

    fn of(properties: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
        let number = |name: &str| text(name).parse().unwrap_or_default();
        let own = |path: &&str| path.contains("/etcd.service.d/");
        Self {
            load: text("LoadState").to_owned(),
            running: Some(number("MainPID")).filter(|pid| *pid != 0),
            last: Some(number("ExecMainPID")).filter(|pid| *pid != 0),
            code: number("ExecMainCode"),
            status: number("ExecMainStatus"),
            drop_ins: text("DropInPaths")
                .split(' ')
                .filter(own)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Explains why etcd is not running, or why it has recently exited. The explanation comes from
    /// the unit's properties and from the last log line of a process that has exited. Also reports
    /// the unit's drop-ins.
    pub(super) fn diagnose(&self, words: Option<&ExitLog>, now: u64) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = self.end(words, now).into_iter().collect();
        if !self.drop_ins.is_empty() {
            let text = format!("drop-ins change {ETCD_UNIT}: {}", self.drop_ins.join(", "));
            reasons.push(ReasonId::EtcdDropIn.because(text));
        }
        reasons
    }

    fn end(&self, words: Option<&ExitLog>, now: u64) -> Option<Reason> {
        if self.load == "masked" {
            let text = format!(
                "{ETCD_UNIT} is masked, so systemd does not start etcd. Run `systemctl unmask {ETCD_UNIT}`"
            );
            return Some(ReasonId::EtcdMasked.because(text));
        }
        let counts = |words: &&ExitLog| {
            let newest = self.running.is_none() && self.last == Some(words.pid) && self.failed();
            newest || words.ends && now.saturating_sub(words.at) < RECENT
        };
        if let Some(words) = words.filter(counts) {
            let again = if self.running.is_some() { AGAIN } else { "" };
            let text = format!("etcd exited at {}{again}: {}", clock(words.at), words.text);
            return Some(ReasonId::EtcdEnded.because(text));
        }
        if self.running.is_some() || !self.failed() {
            return None;
        }
        let how = if self.code == 1 {
            "exited with code"
        } else {
            "was killed by signal"
        };
        let text = format!("etcd {how} {} without logging a reason", self.status);
        Some(ReasonId::EtcdEnded.because(text))
    }

    /// Returns whether the last process failed.
    fn failed(&self) -> bool {
        self.code > 1 || self.code == 1 && self.status != 0
    }
}

fn clock(at: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(format_description!("[hour]:[minute]:[second] UTC"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn unit(lines: &str) -> Unit {
        let pairs = lines.lines().filter_map(|line| line.trim().split_once('='));
        Unit::of(
            &pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn fatal(pid: u32, at: u64) -> ExitLog {
        ExitLog {
            at,
            pid,
            ends: true,
            text: "discovery failed: walpb: crc mismatch".to_owned(),
        }
    }

    fn diagnose(unit: &Unit, words: Option<&ExitLog>, now: u64) -> String {
        unit.diagnose(words, now)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_exit_is_reported_with_the_last_log_line() {
        let down = unit(
            "LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=1\nExecMainStatus=1\nDropInPaths=",
        );
        let said = diagnose(&down, Some(&fatal(7, 60 * SECOND)), 9000 * SECOND);
        assert_eq!(
            said,
            "etcd exited at 00:01:00 UTC: discovery failed: walpb: crc mismatch [etcd-ended]"
        );
        let said = diagnose(&down, Some(&fatal(6, 60 * SECOND)), 9000 * SECOND);
        assert_eq!(
            said,
            "etcd exited with code 1 without logging a reason [etcd-ended]"
        );
    }

    #[test]
    fn an_exit_is_reported_for_a_while_after_etcd_was_restarted() {
        let up =
            unit("LoadState=loaded\nMainPID=8\nExecMainPID=8\nExecMainCode=0\nExecMainStatus=0");
        let said = diagnose(&up, Some(&fatal(7, 60 * SECOND)), 65 * SECOND);
        assert!(
            said.starts_with("etcd exited at 00:01:00 UTC and was restarted: discovery"),
            "{said}"
        );
        assert_eq!(diagnose(&up, Some(&fatal(7, 60 * SECOND)), 95 * SECOND), "");
        assert_eq!(diagnose(&up, None, 95 * SECOND), "");
        // If an operator restarted etcd, a warning from the previous process does not mean that
        // etcd failed.
        let warned = ExitLog {
            ends: false,
            ..fatal(7, 60 * SECOND)
        };
        assert_eq!(diagnose(&up, Some(&warned), 61 * SECOND), "");
    }

    #[test]
    fn a_signal_a_masked_unit_and_a_drop_in_are_reported() {
        let killed =
            unit("LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=2\nExecMainStatus=9");
        assert_eq!(
            diagnose(&killed, None, 0),
            "etcd was killed by signal 9 without logging a reason [etcd-ended]"
        );
        let stopped =
            unit("LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=1\nExecMainStatus=0");
        assert_eq!(
            diagnose(
                &stopped,
                Some(&ExitLog {
                    ends: false,
                    ..fatal(7, 0)
                }),
                9
            ),
            "",
            "an operator stopped etcd"
        );
        assert!(diagnose(&unit("LoadState=masked\nMainPID=0"), None, 0).contains("[etcd-masked]"));
        let moved = unit(
            "LoadState=loaded\nMainPID=7\nDropInPaths=/usr/lib/systemd/system/service.d/a.conf /etc/systemd/system/etcd.service.d/b.conf",
        );
        let said = diagnose(&moved, None, 0);
        assert_eq!(
            said,
            "drop-ins change etcd.service: /etc/systemd/system/etcd.service.d/b.conf [etcd-drop-in]"
        );
    }
}
