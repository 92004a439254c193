//! A unit's sandbox with a probe in it instead of its program: as the unit stands, and with a directive taken away.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tests::host::Host;

const PROBE: &str = include_str!("probe.py");

/// Words of `[Service]` that protect nothing, and would keep a probe from running to its end.
const NO_PROTECTION: [&str; 17] = [
    "Type",
    "EnvironmentFile",
    "ExecStart",
    "ExecStartPre",
    "ExecStopPost",
    "PermissionsStartOnly",
    "TimeoutStartSec",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "RemainAfterExit",
    "StartLimitInterval",
    "StandardOutput",
    "OOMScoreAdjust",
    "Nice",
    "IOSchedulingClass",
    "IOSchedulingPriority",
];

/// The `[Service]` lines of a unit that make its sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    unit: String,
    lines: Vec<String>,
}

/// What became of each attempt, as the probe tells it: `done`, `refused ERRNO`, `killed SIGNAL`.
pub(crate) type Answers = BTreeMap<String, String>;

impl Sandbox {
    /// The sandbox of a unit on a host, as its file there says.
    pub(crate) fn of(host: &Host, unit: &str) -> Result<Self> {
        let text = host.read(&format!("/etc/systemd/system/{unit}.service"))?;
        let (_, service) = text.split_once("[Service]\n").context("no [Service]")?;
        let service = service.split("\n[").next().unwrap_or_default();
        let lines = service.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
        let lines = lines.filter(|line| !NO_PROTECTION.contains(&name(line))).map(str::to_owned).collect();
        Ok(Self { unit: unit.to_owned(), lines })
    }

    /// Its directives' names, each once.
    pub(crate) fn directives(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.lines.iter().map(|line| name(line)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a directive says, on all its lines.
    pub(crate) fn words(&self, directive: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|line| name(line) == directive);
        lines.flat_map(|line| line[directive.len() + 1..].trim_start_matches('~').split_whitespace()).collect()
    }

    /// The same without some directives.
    pub(crate) fn without(&self, directives: &[&str]) -> Self {
        let lines = self.lines.iter().filter(|line| !directives.contains(&name(line))).cloned().collect();
        Self { unit: self.unit.clone(), lines }
    }

    /// The same with another line for a directive.
    pub(crate) fn with(&self, line: &str) -> Self {
        let mut changed = self.without(&[name(line)]);
        changed.lines.push(line.to_owned());
        changed
    }

    /// Makes attempts in it.
    pub(crate) fn try_out(&self, host: &Host, attempts: &[String]) -> Result<Answers> {
        let unit = "etcd-image-probe";
        let words = attempts.join(" ");
        let text = format!(
            "[Service]\nType=oneshot\nExecStart=/usr/bin/python3 /usr/local/lib/probe.py {words}\n{}\n",
            self.lines.join("\n")
        );
        host.write("/usr/local/lib/probe.py", PROBE, 0o644)?;
        host.write(&format!("/etc/systemd/system/{unit}.service"), text, 0o644)?;
        host.check(&["systemctl", "daemon-reload"])?;
        let cursor = host.sh("journalctl --sync; journalctl -n 0 --show-cursor -q | sed 's/-- cursor: //'")?.ok()?;
        let started = host.run(&["systemctl", "start", unit])?;
        let query = format!("journalctl --sync; journalctl -q -o cat -u {unit} --after-cursor='{}'", cursor.trim());
        let said = host.sh(&query)?.ok()?;
        let mut answers = Answers::new();
        for attempt in attempts {
            let line = said.lines().find_map(|line| line.strip_prefix(attempt.as_str())?.strip_prefix(' '));
            ensure!(line.is_some(), "no answer for {attempt} in {}:\n{}\n{said}", self.unit, started.stderr);
            answers.insert(attempt.clone(), line.unwrap_or_default().to_owned());
        }
        Ok(answers)
    }
}

fn name(line: &str) -> &str {
    line.split('=').next().unwrap_or_default()
}
