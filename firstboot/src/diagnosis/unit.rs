//! How etcd's unit is, and what follows from it, as a pure function.

use std::collections::BTreeMap;

use anyhow::Result;
use time::OffsetDateTime;
use time::macros::format_description;

use super::last_words::LastWords;
use crate::systemd;

/// etcd's unit.
pub(super) const UNIT: &str = "etcd.service";

/// For how many microseconds an end counts although etcd runs again: systemd starts it again after 5 s, and it may take
/// some seconds until it ends for the same reason.
const RECENT: u64 = 30_000_000;

/// What is said of an etcd that ended and runs again.
pub(super) const AGAIN: &str = ", and was started again";

/// What systemd says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    load: String,
    /// etcd's process, where it runs.
    pub(super) running: Option<u32>,
    /// The last one that was started, running or not.
    last: Option<u32>,
    /// How that one ended, as waitid(2) has it: 1 by itself, 2 and 3 by a signal.
    code: u32,
    /// With which status, or by which signal.
    status: u32,
    /// Files that change the unit.
    drop_ins: Vec<String>,
}

impl Unit {
    pub(super) fn show() -> Result<Self> {
        let names = ["LoadState", "MainPID", "ExecMainPID", "ExecMainCode", "ExecMainStatus", "DropInPaths"];
        Ok(Self::of(&systemd::properties(UNIT, &names)?))
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
            drop_ins: text("DropInPaths").split(' ').filter(own).map(str::to_owned).collect(),
        }
    }

    /// Why etcd does not run, by this and by what ended processes said last.
    pub(super) fn diagnose(&self, words: Option<&LastWords>, now: u64) -> Option<String> {
        let mut parts: Vec<String> = self.end(words, now).into_iter().collect();
        if !self.drop_ins.is_empty() {
            parts.push(format!("drop-ins change {UNIT}: {} [etcd-drop-in]", self.drop_ins.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn end(&self, words: Option<&LastWords>, now: u64) -> Option<String> {
        if self.load == "masked" {
            return Some(format!("{UNIT} is masked, so nothing starts etcd [etcd-masked]"));
        }
        let counts = |words: &&LastWords| {
            let newest = self.running.is_none() && self.last == Some(words.pid) && self.failed();
            newest || words.ends && now.saturating_sub(words.at) < RECENT
        };
        if let Some(words) = words.filter(counts) {
            let again = if self.running.is_some() { AGAIN } else { "" };
            return Some(format!("etcd ended at {}{again}: {} [etcd-ended]", clock(words.at), words.text));
        }
        if self.running.is_some() || !self.failed() {
            return None;
        }
        let how = if self.code == 1 { "with the exit code" } else { "by the signal" };
        Some(format!("etcd ended {how} {}, and its journal has no reason [etcd-ended]", self.status))
    }

    /// Whether the last process did not end with success.
    fn failed(&self) -> bool {
        self.code > 1 || self.code == 1 && self.status != 0
    }
}

fn clock(at: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(format_description!("[hour]:[minute]:[second] UTC")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn unit(lines: &str) -> Unit {
        let pairs = lines.lines().filter_map(|line| line.trim().split_once('='));
        Unit::of(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn fatal(pid: u32, at: u64) -> LastWords {
        LastWords { at, pid, ends: true, text: "discovery failed: walpb: crc mismatch".to_owned() }
    }

    #[test]
    fn an_etcd_that_ended_is_told_with_its_last_words() {
        let down = unit("LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=1\nExecMainStatus=1\nDropInPaths=");
        let told = down.diagnose(Some(&fatal(7, 60 * SECOND)), 9000 * SECOND).unwrap();
        assert_eq!(told, "etcd ended at 00:01:00 UTC: discovery failed: walpb: crc mismatch [etcd-ended]");
        let told = down.diagnose(Some(&fatal(6, 60 * SECOND)), 9000 * SECOND).unwrap();
        assert_eq!(told, "etcd ended with the exit code 1, and its journal has no reason [etcd-ended]");
    }

    #[test]
    fn an_end_counts_for_a_while_where_etcd_was_started_again() {
        let up = unit("LoadState=loaded\nMainPID=8\nExecMainPID=8\nExecMainCode=0\nExecMainStatus=0");
        let told = up.diagnose(Some(&fatal(7, 60 * SECOND)), 65 * SECOND).unwrap();
        assert!(told.starts_with("etcd ended at 00:01:00 UTC, and was started again: discovery"), "{told}");
        assert_eq!(up.diagnose(Some(&fatal(7, 60 * SECOND)), 95 * SECOND), None);
        assert_eq!(up.diagnose(None, 95 * SECOND), None);
        // A warning of one that an operator restarted is no end.
        let warned = LastWords { ends: false, ..fatal(7, 60 * SECOND) };
        assert_eq!(up.diagnose(Some(&warned), 61 * SECOND), None);
    }

    #[test]
    fn a_signal_a_mask_and_a_drop_in_are_told() {
        let killed = unit("LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=2\nExecMainStatus=9");
        assert_eq!(
            killed.diagnose(None, 0).unwrap(),
            "etcd ended by the signal 9, and its journal has no reason [etcd-ended]"
        );
        let stopped = unit("LoadState=loaded\nMainPID=0\nExecMainPID=7\nExecMainCode=1\nExecMainStatus=0");
        assert_eq!(stopped.diagnose(Some(&LastWords { ends: false, ..fatal(7, 0) }), 9), None, "it was stopped");
        assert!(unit("LoadState=masked\nMainPID=0").diagnose(None, 0).unwrap().contains("[etcd-masked]"));
        let moved = unit(
            "LoadState=loaded\nMainPID=7\nDropInPaths=/usr/lib/systemd/system/service.d/a.conf /etc/systemd/system/etcd.service.d/b.conf",
        );
        let told = moved.diagnose(None, 0).unwrap();
        assert_eq!(told, "drop-ins change etcd.service: /etc/systemd/system/etcd.service.d/b.conf [etcd-drop-in]");
    }
}
