//! Compares `firstboot snapshot`, which checks the whole snapshot, with `etcdctl snapshot save`,
//! which checks only the length.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::firstboot::cost;
use super::{Row, database, median, table, timed};
use crate::client::{self, Client};
use crate::cluster::{Provisioning, wait_healthy};
use crate::host::Host;
use crate::{etcd, programs};

/// The number of keys in one request. By default, etcd permits 128 operations in one transaction.
const BATCH: u64 = 120;

/// A member with a database for measurements.
pub(super) struct Node {
    // The host must be dropped before its network.
    pub(super) host: Host,
    pub(super) provisioning: Provisioning,
}

impl Node {
    /// Creates a healthy one-member cluster with the given number of MiB of data.
    pub(super) fn new(mib: u64, recipe: &str) -> Result<Self> {
        etcd::release("3.5.1")?;
        let provisioning = Provisioning::new()?;
        provisioning.build(&programs::demo(1, "quota = \"8 GiB\"", recipe)?)?;
        let mut host = provisioning.node("etcd-1")?;
        host.boot()?;
        wait_healthy(&host, 1, Duration::from_secs(90))?;
        let client = Client::new(&provisioning)?;
        database::fill(mib, BATCH, |pairs| {
            client::insist(|| client.put_all(host.address(), &pairs))
        })?;
        Ok(Self { host, provisioning })
    }

    /// Returns a command that runs `etcdctl snapshot save` in the environment that the image sets.
    pub(super) fn save(&self, path: &str) -> Result<Command> {
        self.host.command(&[
            "sh",
            "-c",
            &format!(". /etc/profile.d/etcdctl.sh && exec etcdctl snapshot save {path}"),
        ])
    }

    /// Removes the files of a run, and waits until the disk has written everything.
    pub(super) fn clear(&self) -> Result<()> {
        self.host
            .sh("rm -rf /root/bench; mkdir /root/bench; sync")?
            .ok()
            .map(drop)
    }
}

/// Measures both commands alternately on one member, `runs` times each.
pub fn run(runs: usize) -> Result<String> {
    let node = Node::new(database::mib(), "")?;
    let mut seen: [(Vec<Duration>, Vec<Duration>, u64); 2] = Default::default();
    for _ in 0..runs {
        for (theirs, (times, cpus, memory)) in seen.iter_mut().enumerate() {
            node.clear()?;
            let mut command = match theirs {
                0 => node
                    .host
                    .command(&["firstboot", "snapshot", "/root/bench/a.db"])?,
                _ => node.save("/root/bench/a.db")?,
            };
            times.push(timed(|| {
                let (cpu, kib) = cost(&mut command)?;
                cpus.push(cpu);
                *memory = kib.max(*memory);
                Ok(())
            })?);
        }
    }
    let bytes = node.host.path("/root/bench/a.db").metadata()?.len();
    let [ours, theirs] = seen;
    let row = |name: &str, times, bytes| Row {
        name: name.to_owned(),
        times,
        bytes: Some(bytes),
    };
    let (cpu, their_cpu) = (median(ours.1), median(theirs.1));
    Ok(format!(
        "{}{runs} runs of each, alternating; client's CPU {cpu:.2?} against {their_cpu:.2?}, ratio {:.3}; peak memory \
         {} MiB against {} MiB\n",
        table(&[
            row("firstboot snapshot", ours.0, bytes),
            row("etcdctl snapshot save", theirs.0, bytes)
        ]),
        cpu.as_secs_f64() / their_cpu.as_secs_f64(),
        ours.2 >> 10,
        theirs.2 >> 10
    ))
}
