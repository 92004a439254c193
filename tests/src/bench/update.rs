//! Measures how long three nodes take to install another patch release of etcd, if all of them get
//! the order at the same time. Compares this time with the time of a script that an operator runs
//! on one node after another. This benchmark also measures the CPU time of a check for a newer
//! image.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::firstboot::cost;
use super::{Row, median, table, timed};
use crate::client::{self, Client, Writers};
use crate::cluster::{Provisioning, boot_all, wait_healthy};
use crate::host::Host;
use crate::repack::{self, Repack};
use crate::{etcd, process, programs, run};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
/// The two patch releases between which the nodes switch.
const PATCHES: [&str; 2] = [etcd::DEMO, "3.5.35"];
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(120);
/// The folder on a host with the release and with the programs of both patch releases.
const SHARED: &str = "/shared";

/// The script that an operator runs on each node. The script checks nothing before it stops etcd.
const SCRIPT: &str = "set -e
systemctl stop etcd
cp --preserve=mode /shared/$1/etcd /shared/$1/etcdctl /shared/$1/etcdutl /usr/local/bin/
systemctl start etcd
. /etc/profile.d/etcdctl.sh
until etcdctl endpoint health --cluster 2> /dev/null > /dev/null; do :; done";

/// The results of all runs with firstboot, or of all runs with the script.
#[derive(Debug, Default)]
struct Measurement {
    /// The times from the first node's order until the last node has passed its health check.
    whole: Vec<Duration>,
    /// The longest time without an acknowledged write.
    gap: Vec<Duration>,
}

struct Bed {
    hosts: Vec<Host>,
    provisioning: Provisioning,
    shared: std::path::PathBuf,
    serial: u64,
}

/// Measures firstboot and the script alternately, `runs` times each, and returns the tables.
pub fn run(runs: usize) -> Result<String> {
    let mut bed = Bed::new()?;
    let client = Client::new(&bed.provisioning)?;
    let mut seen: [Measurement; 2] = Default::default();
    for number in 0..runs {
        let [old, new] = [number, number + 1].map(|number| PATCHES[number % 2]);
        // Measure the script, and then undo its change, because an update expects the files of an
        // image.
        bed.measure(&client, &mut seen[1], |hosts| {
            hosts.iter().try_for_each(|host| script(host, new))
        })?;
        bed.hosts.iter().try_for_each(|host| script(host, old))?;
        bed.publish(new)?;
        // Stage the image before the measurement, because the files that the script copies are also
        // on the hosts before the measurement.
        bed.hosts.iter().try_for_each(stage)?;
        bed.measure(&client, &mut seen[0], update_all)?;
    }
    let check = || cost(&mut bed.hosts[0].command(&["firstboot", "update", "--check"])?);
    let checks = (0..11)
        .map(|_| check().map(|(cpu, _)| cpu))
        .collect::<Result<Vec<_>>>()?;
    let [ours, theirs] = seen;
    let compare = |what: &str, ours, theirs| {
        let row = |name: &str, times| Row {
            name: name.to_owned(),
            times,
            bytes: None,
        };
        format!(
            "{what}\n{}",
            table(&[row("firstboot update", ours), row("a script", theirs)])
        )
    };
    Ok(format!(
        "{}\n{}\n{runs} runs of each, alternating\nfirstboot update --check with nothing new: {:.1} ms of CPU\n",
        compare("an etcd patch on three nodes", ours.whole, theirs.whole),
        compare(
            "the longest time without an acknowledged write",
            ours.gap,
            theirs.gap
        ),
        median(checks).as_secs_f64() * 1000.0,
    ))
}

impl Bed {
    fn new() -> Result<Self> {
        let provisioning = Provisioning::new()?;
        let update = "[update]\nfrom = \"http://10.101.15.1:8080/\"\nsoak-seconds = 10\n";
        let recipe = run::current()?.folder("recipe")?.join("recipe.toml");
        let demo = fs::read_to_string(programs::recipe("demo"))?;
        fs::write(&recipe, format!("{demo}\n{update}"))?;
        provisioning.build(&recipe)?;
        let shared = run::current()?.folder("shared")?;
        for patch in PATCHES {
            copy(&etcd::binaries(patch)?, &shared.join(patch))?;
        }
        let mut bed = Self {
            hosts: Vec::new(),
            provisioning,
            shared,
            serial: 0,
        };
        for name in NAMES {
            bed.hosts.push(bed.provisioning.node(name)?);
        }
        // The stand-in for the installer refuses a repacked overlay, because the kickstart contains
        // the digest of the builder's overlay. Therefore, copy the files of the repacked overlay to
        // the installed disks.
        bed.publish(PATCHES[0])?;
        let out = bed.provisioning.out();
        for host in &mut bed.hosts {
            repack::install(&out, host)?;
            host.bind(&bed.shared, SHARED);
        }
        boot_all(&mut bed.hosts)?;
        for host in &bed.hosts {
            wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
        }
        // An update takes a snapshot unless there is a snapshot from the last hour.
        bed.hosts[0].check(&["firstboot", "snapshot"])?;
        Ok(bed)
    }

    /// Publishes an image with this etcd. The image sets `soak-seconds` to 0, so that the next node
    /// can begin as soon as this member is healthy.
    fn publish(&mut self, patch: &str) -> Result<()> {
        self.serial += 1;
        let mut image = Repack::of(&self.provisioning.out())?;
        image.etcd(patch)?;
        let document = image.path("etc/firstboot/cluster.json");
        let mut cluster: serde_json::Value = serde_json::from_slice(&fs::read(&document)?)?;
        cluster["update"]["soak-seconds"] = 0.into();
        fs::write(&document, serde_json::to_vec(&cluster)?)?;
        image.pack(self.serial, &self.provisioning.signing_key()?)
    }

    /// Runs the given work on all nodes, while clients write through all members.
    fn measure(
        &self,
        client: &Client,
        seen: &mut Measurement,
        change: impl FnOnce(&[Host]) -> Result<()>,
    ) -> Result<()> {
        let addresses: Vec<_> = self.hosts.iter().map(Host::address).collect();
        let writers = Writers::start(client, &addresses, "meanwhile/");
        writers.wait_for_more(1, CONVERGENCE_TIMEOUT)?;
        seen.whole.push(timed(|| change(&self.hosts))?);
        seen.gap.push(writers.stop()?.longest_gaps().1);
        client::insist(|| client.delete_all(addresses[0], "meanwhile/"))?;
        wait_healthy(&self.hosts[0], 3, CONVERGENCE_TIMEOUT).map(drop)
    }
}

/// Downloads the image, and checks it, without changing the node.
fn stage(host: &Host) -> Result<()> {
    let ran = host.run(&["firstboot", "update", "--check"])?;
    ensure!(ran.code() == 7, "{}: {}", host.name(), ran.stderr);
    Ok(())
}

/// Orders the update on all nodes at once, as their timers do. The nodes take turns.
fn update_all(hosts: &[Host]) -> Result<()> {
    std::thread::scope(|scope| {
        let updates: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(|| update(host)))
            .collect();
        updates.into_iter().try_for_each(|update| {
            update
                .join()
                .map_err(|_| anyhow::anyhow!("an update panicked"))?
        })
    })
}

fn update(host: &Host) -> Result<()> {
    let ran = host.run(&["firstboot", "update"])?;
    ensure!(
        ran.stdout.contains("has image"),
        "{}: {}{}",
        host.name(),
        ran.stdout,
        ran.stderr
    );
    ran.ok().map(drop)
}

fn script(host: &Host, patch: &str) -> Result<()> {
    host.check(&["bash", "-c", SCRIPT, "script", patch])
        .with_context(|| format!("the script on {}", host.name()))
        .map(drop)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    process::check(
        "cp",
        &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
    )
    .map(drop)
}
