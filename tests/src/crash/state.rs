//! The state that firstboot leaves on a node, in a form that can be compared. The state must be the
//! same regardless of any interruption.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::base::hex;
use crate::host::Host;

/// Every file and folder of firstboot with its kind, mode, owner and digest, and etcd's
/// configuration as text. The state omits everything that can differ between two correct runs, such
/// as tokens, times, and archived data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    lines: BTreeSet<String>,
}

/// Separates the parts of the script's output.
const PART: &str = "-----";

const SCRIPT: &str = "cd / && set -e
find etc/etcd etc/hostname etc/hosts var/lib/firstboot run/firstboot -printf '%p %y %m %U:%G\\n'
find var/lib/etcd -maxdepth 1 ! -name aside -printf '%p %y %m %U:%G\\n'
sha256sum etc/etcd/tls/* etc/hostname etc/hosts var/lib/firstboot/node.json
find etc/firstboot etc/own -type f -exec sha256sum {} +
find etc/firstboot etc/own -printf '%p %y %m %U:%G\\n'
hostname
echo -----
cat etc/etcd/etcd.conf
echo -----
cat var/lib/firstboot/journal
echo -----
flock -n run/firstboot/lock echo free
firstboot run --dry-run";

impl State {
    /// Returns the state of a host on which firstboot has finished.
    ///
    /// # Errors
    /// Returns an error if the journal is damaged or incomplete, the lock is held, or firstboot
    /// still has something to do.
    pub fn of(host: &Host) -> Result<Self> {
        let said = host
            .sh(SCRIPT)?
            .ok()
            .with_context(|| format!("cannot inspect {}", host.name()))?;
        let separator = format!("{PART}\n");
        let mut parts = said.split(separator.as_str());
        let mut part = || {
            parts
                .next()
                .with_context(|| format!("the output has too few parts: {said}"))
        };
        let (files, conf, journal, end) = (part()?, part()?, part()?, part()?);
        for (number, line) in journal.lines().enumerate() {
            ensure!(
                is_whole(line),
                "{}: line {} of the journal is damaged: {line}",
                host.name(),
                number + 1
            );
        }
        ensure!(
            journal.ends_with('\n'),
            "{}: the journal has a torn end:\n{journal}",
            host.name()
        );
        ensure!(
            end.starts_with("free\n"),
            "{}: the lock is held: {end}",
            host.name()
        );
        ensure!(
            end.contains("no changes"),
            "{}: firstboot has not finished: {end}",
            host.name()
        );
        let lines = files
            .lines()
            .map(str::to_owned)
            .chain(conf.lines().map(steady))
            .collect();
        Ok(Self { lines })
    }

    /// Returns the lines that only one of the two states contains, or `None` if the states are
    /// equal.
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        let more = self
            .lines
            .difference(&other.lines)
            .map(|line| format!("+ {line}"));
        let less = other
            .lines
            .difference(&self.lines)
            .map(|line| format!("- {line}"));
        let lines: Vec<String> = more.chain(less).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Returns a line of etcd.conf without the values that are different in each cluster.
fn steady(line: &str) -> String {
    match line.split_once('=') {
        Some((key @ "ETCD_INITIAL_CLUSTER", list)) => {
            let members: BTreeSet<&str> = list.split(',').collect();
            format!("{key}={members:?}")
        }
        Some((key @ ("ETCD_INITIAL_CLUSTER_TOKEN" | "ETCD_INITIAL_CLUSTER_STATE"), _)) => {
            key.to_owned()
        }
        _ => line.to_owned(),
    }
}

/// Returns whether a line of the journal is undamaged. An undamaged line consists of the first
/// sixteen digits of a digest, a space, and the digested text.
fn is_whole(line: &str) -> bool {
    line.split_once(' ')
        .is_some_and(|(check, json)| hex(&Sha256::digest(json.as_bytes())).get(..16) == Some(check))
}
