//! Measures the time from power-on until a node that lost its disk is a voter again. Compares this
//! time with that of the fastest script that an operator can run.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Row, table, timed};
use crate::client::{self, Client, Voters, Writers};
use crate::cluster::{Provisioning, boot_all, wait_healthy};
use crate::host::Host;
use crate::{etcd, programs, reference_setup};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
/// The number of keys. After 10,000 entries, etcd makes a raft snapshot and compacts its log. With
/// more keys than that, a joining member receives a snapshot, as in a cluster that has been in use
/// for a while.
const KEYS: usize = 20_000;
/// The value size with which all keys add up to about 256 MiB.
const VALUE: usize = 13_400;
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// The script that an operator runs on a remaining member as soon as the lost machine is switched
/// on. The etcd.conf of the lost machine is already set to join. The script checks nothing, and
/// assumes that the machine is the lost member.
const SCRIPT: &str = ". /etc/profile.d/etcdctl.sh
old=$(etcdctl member list | grep etcd-3 | cut -d, -f1)
until etcdctl member remove $old; do :; done
new=$(etcdctl member add etcd-3 --learner --peer-urls=https://10.101.15.103:2380 | sed -n 's/^Member *\\([0-9a-f]*\\) added.*/\\1/p')
for try in $(seq 3000); do etcdctl member promote $new 2> /dev/null && exit; done; exit 1";

/// The results of all runs with firstboot, or of all runs with the script.
#[derive(Debug, Default)]
struct Measurement {
    /// The times from power-on until the node is a voter.
    whole: Vec<Duration>,
    /// The times during which the cluster had only two voters.
    window: Vec<Duration>,
    /// The longest time without an acknowledged write, between power-on and the time at which the
    /// node is a voter.
    gap: Vec<Duration>,
}

/// Measures firstboot and the script alternately, `runs` times each, and returns the table.
pub fn run(runs: usize) -> Result<String> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&programs::recipe("demo"))?;
    let mut hosts = NAMES
        .iter()
        .map(|name| provisioning.machine(name))
        .collect::<Result<Vec<Host>>>()?;
    for host in &mut hosts {
        provisioning.install(host)?;
        host.snapshot()?;
        provisioning.give_document(host, host.name())?;
    }
    boot_all(&mut hosts)?;
    let client = Client::new(&provisioning)?;
    wait_healthy(&hosts[0], 3, CONVERGENCE_TIMEOUT)?;
    let addresses: Vec<_> = hosts.iter().map(Host::address).collect();
    client.fill(&addresses, KEYS, VALUE)?;
    let size = hosts[0]
        .path("/var/lib/etcd/data/member/snap/db")
        .metadata()?
        .len();
    let mut seen: [Measurement; 2] = Default::default();
    for _ in 0..runs {
        for (scripted, seen) in seen.iter_mut().enumerate() {
            once(&provisioning, &client, &mut hosts, scripted == 1, seen)?;
        }
    }
    let [ours, theirs] = seen;
    let compare = |what: &str, ours, theirs| {
        let row = |name: &str, times| Row {
            name: name.to_owned(),
            times,
            bytes: None,
        };
        format!(
            "{what}\n{}",
            table(&[row("firstboot", ours), row("etcdctl in a script", theirs)])
        )
    };
    Ok(format!(
        "{}\n{}\n{}{runs} runs of each, alternating; the database size is {} MiB\n",
        compare(
            "a wiped node, from power-on to voter",
            ours.whole,
            theirs.whole
        ),
        compare(
            "two voters, from the removal to the promotion",
            ours.window,
            theirs.window
        ),
        compare(
            "the longest time without an acknowledged write",
            ours.gap,
            theirs.gap
        ),
        size >> 20,
    ))
}

fn once(
    provisioning: &Provisioning,
    client: &Client,
    hosts: &mut [Host],
    scripted: bool,
    seen: &mut Measurement,
) -> Result<()> {
    let [helper, second, lost] = hosts else {
        unreachable!("there are three hosts")
    };
    lost.cut_power()?;
    lost.revert()?;
    if scripted {
        reference_setup::configure(provisioning, lost, "existing")?;
    } else {
        provisioning.give_document(lost, lost.name())?;
    }
    // The two remaining members have elected their leader by now. etcd adds a member only after all
    // voters have been connected for five seconds (server.go, HealthInterval). Wait here, so that
    // these five seconds do not distort the comparison.
    sleep(Duration::from_secs(8));

    let left = [helper.address(), second.address()];
    let members = || client::insist(|| client.members(left[0]));
    let old = members()?
        .into_iter()
        .find(|member| member.name == "etcd-3")
        .context("etcd-3 is not listed")?
        .id;
    let is_back = || -> Result<bool> {
        let members = members()?;
        let back = members
            .iter()
            .any(|member| member.name == "etcd-3" && !member.is_learner);
        Ok(back && members.iter().all(|member| member.id != old))
    };

    let writers = Writers::start(client, &left, "meanwhile/");
    let voters = Voters::watch(client, &left);
    writers.wait_for_more(1, CONVERGENCE_TIMEOUT)?;
    let mut script = helper.command(&["bash", "-c", SCRIPT])?;
    script.stdout(std::process::Stdio::null());
    let whole = timed(|| {
        lost.boot()?;
        let mut running = if scripted {
            Some(script.spawn().context("cannot start the script")?)
        } else {
            None
        };
        wait_until_back(lost, &is_back, scripted)?;
        running
            .as_mut()
            .map_or(Ok(true), |script| {
                script.wait().map(|status| status.success())
            })
            .map(drop)?;
        Ok(())
    })?;
    let window = voters.stop(3)?;
    let written = writers.stop()?;
    ensure!(
        window.len() == 1,
        "there were two voters {} times",
        window.len()
    );
    seen.whole.push(whole);
    seen.window.extend(window);
    seen.gap.push(written.longest_gaps().1);
    client::insist(|| client.delete_all(left[0], "meanwhile/"))?;
    wait_healthy(helper, 3, CONVERGENCE_TIMEOUT).map(drop)
}

/// Waits until the lost member is a voter again.
fn wait_until_back(lost: &Host, is_back: &dyn Fn() -> Result<bool>, scripted: bool) -> Result<()> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while !is_back()? {
        let log = || {
            anyhow::Ok(format!(
                "{}\n{}",
                lost.journal("firstboot")?,
                lost.journal("etcd")?
            ))
        };
        ensure!(
            Instant::now() < end,
            "etcd-3 is not a voter after {CONVERGENCE_TIMEOUT:?} (script: {scripted}):\n{}",
            log()?
        );
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
