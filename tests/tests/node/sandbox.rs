//! Runs a probe in a unit's sandbox in place of the unit's program: once with the unit unchanged,
//! and once with a directive removed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tests::host::Host;

const PROBE: &str = include_str!("probe.py");
const UNIT: &str = "etcd-image-probe";

/// A name for `firstboot exec` and its options, which precede a unit's program. `firstboot exec`
/// protects the unit like a directive.
pub(crate) const EXEC: &str = "firstboot exec";

/// The directives that systemd 219 of CentOS 7 accepts and ignores, because it is built without
/// seccomp (load-fragment-gperf.gperf.m4).
pub(crate) const SECCOMP: [&str; 4] = [
    "SystemCallFilter",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "RestrictAddressFamilies",
];

/// Settings in `[Service]` that protect nothing. Some of them would prevent a probe from finishing.
const NO_PROTECTION: [&str; 15] = [
    "Type",
    "EnvironmentFile",
    "PermissionsStartOnly",
    "TimeoutStartSec",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "RemainAfterExit",
    "StartLimitInterval",
    "StandardOutput",
    "SyslogIdentifier",
    "OOMScoreAdjust",
    "Nice",
    "IOSchedulingClass",
    "IOSchedulingPriority",
];

/// A unit's sandbox: the lines in `[Service]`, and the way in which the unit starts its program.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    unit: String,
    lines: Vec<String>,
    /// The prefix of the program, which is `firstboot exec` with its options, or empty.
    exec: String,
}

/// The result of each attempt as the probe prints it, which is `done` or `refused ERRNO`.
pub(crate) type Answers = BTreeMap<String, String>;

impl Sandbox {
    /// Reads a unit's sandbox from the unit's file on a host.
    pub(crate) fn of(host: &Host, unit: &str) -> Result<Self> {
        let text = host.read(&format!("/etc/systemd/system/{unit}.service"))?;
        // A backslash at the end of a line continues the line.
        let text = text.replace("\\\n", " ");
        let (_, service) = text.split_once("[Service]\n").context("no [Service]")?;
        let service = service.split("\n[").next().unwrap_or_default();
        let lines = service
            .lines()
            .filter(|line| line.contains('=') && !line.starts_with('#'));
        let start = lines
            .clone()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .context("no ExecStart=")?;
        let words = start
            .split(' ')
            .skip(1)
            .take_while(|word| !word.starts_with('/'));
        let exec = match start.strip_prefix("/usr/local/bin/firstboot exec ") {
            Some(_) => format!(
                "/usr/local/bin/firstboot {} ",
                words.collect::<Vec<_>>().join(" ")
            ),
            None => String::new(),
        };
        let protects =
            |line: &&str| !name(line).starts_with("Exec") && !NO_PROTECTION.contains(&name(line));
        let lines = lines.filter(protects).map(str::to_owned).collect();
        Ok(Self {
            unit: unit.to_owned(),
            lines,
            exec,
        })
    }

    /// Returns the names of the sandbox's directives, each name once. [`EXEC`] is one of the names
    /// if the unit uses it.
    pub(crate) fn directives(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.lines.iter().map(|line| name(line)).collect();
        names.extend((!self.exec.is_empty()).then_some(EXEC));
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn without(&self, directives: &[&str]) -> Self {
        let lines = self
            .lines
            .iter()
            .filter(|line| !directives.contains(&name(line)))
            .cloned()
            .collect();
        let exec = if directives.contains(&EXEC) {
            String::new()
        } else {
            self.exec.clone()
        };
        Self {
            unit: self.unit.clone(),
            lines,
            exec,
        }
    }

    /// Returns the signal that kills a program started in the sandbox, or `None` if the program
    /// succeeds.
    pub(crate) fn killer_of(&self, host: &Host, program: &str) -> Result<Option<i32>> {
        self.write(host, program)?;
        let started = host.run(&["systemctl", "start", UNIT])?;
        if started.success() {
            return Ok(None);
        }
        let shown = host.check(&[
            "systemctl",
            "show",
            "--property=ExecMainCode,ExecMainStatus",
            UNIT,
        ])?;
        host.check(&["systemctl", "reset-failed", UNIT])?;
        // The code 2 is CLD_KILLED; see waitid(2).
        let killer = shown.trim().strip_prefix("ExecMainCode=2\nExecMainStatus=");
        Ok(Some(
            killer
                .with_context(|| format!("{program} was not killed: {shown}\n{}", started.stderr))?
                .parse()?,
        ))
    }

    /// Makes these attempts in the sandbox, in one process and in this order.
    pub(crate) fn try_out(&self, host: &Host, attempts: &[String]) -> Result<Answers> {
        host.write("/usr/local/lib/probe.py", PROBE, 0o644)?;
        let said = self.start(
            host,
            &format!(
                "/usr/bin/python3 /usr/local/lib/probe.py {}",
                attempts.join(" ")
            ),
        )?;
        let mut answers = Answers::new();
        for attempt in attempts {
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix(attempt.as_str())?.strip_prefix(' '));
            ensure!(
                line.is_some(),
                "no answer for {attempt} in {}:\n{said}",
                self.unit
            );
            answers.insert(attempt.clone(), line.unwrap_or_default().to_owned());
        }
        Ok(answers)
    }

    /// Starts a program in the sandbox, and returns its output from the systemd journal, regardless
    /// of the result.
    fn start(&self, host: &Host, program: &str) -> Result<String> {
        self.write(host, program)?;
        let cursor = host
            .sh("journalctl --sync; journalctl -n 0 --show-cursor -q | sed 's/-- cursor: //'")?
            .ok()?;
        host.run(&["systemctl", "start", UNIT])?;
        let query = format!(
            "journalctl --sync; journalctl -q -o cat -u {UNIT} --after-cursor='{}'",
            cursor.trim()
        );
        host.sh(&query)?.ok()
    }

    fn write(&self, host: &Host, program: &str) -> Result<()> {
        let text = format!(
            "[Service]\nType=oneshot\nExecStart={}{program}\n{}\n",
            self.exec,
            self.lines.join("\n")
        );
        host.write(&format!("/etc/systemd/system/{UNIT}.service"), text, 0o644)?;
        host.check(&["systemctl", "daemon-reload"]).map(drop)
    }
}

fn name(line: &str) -> &str {
    line.split('=').next().unwrap_or_default()
}
