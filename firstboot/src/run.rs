//! `firstboot run`: what a node does in its first minute, and proves again at every later boot.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use recipes::Label;

use crate::barrier::{self, Beginning, Past};
use crate::change::Change;
use crate::etcd::{Client, Credentials};
use crate::exit::{not_ready, refused};
use crate::files::{self, Folder, Wanted};
use crate::identity::{self, Identity};
use crate::journal::{Event, Journal};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::say::say;
use crate::steps::{self, etcd_conf};
use crate::{metadata, paths, stamp, systemd};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// For how many seconds to wait for a healthy member once etcd runs
    #[arg(long, default_value_t = 300)]
    deadline: u64,
    /// Begin a new cluster without these members, which will not come. Say the same on each of the others
    #[arg(long, num_args = 1.., value_name = "NAME", value_delimiter = ',')]
    without: Vec<Label>,
}

/// Runs the whole way: image, identity, host, bootstrap barrier, etcd, health.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.without.is_empty() {
        return barrier::go_without(&options.without.iter().cloned().collect());
    }
    let _lock = if options.dry_run { None } else { Some(take_over()?) };
    stamp::check()?;
    let machine = Machine::observe()?;
    let cluster = identity::cluster()?;
    let found = metadata::find(&cluster.metadata, &machine)?;
    let identity = identity::verify(found, &identity::trusted()?, cluster, &machine)?;
    if options.dry_run {
        return plan(&identity);
    }

    Folder::new(paths::STATE, 0o700, files::ROOT).make()?;
    let mut journal = Journal::open(paths::JOURNAL)?;
    check_before(&identity, &machine, &journal)?;
    if let Some(change) = steps::network::plan(&identity)? {
        make(&change)?;
    }
    // Only a machine that has the document's address takes its identity on.
    steps::network::settle(&identity)?;
    accept(&identity, &machine, &mut journal)?;
    steps::plan(&identity)?.iter().try_for_each(make)?;

    let beginning = barrier::pass(&identity, &mut journal)?;
    configure(&identity, &beginning)?;
    release_etcd()?;
    wait_for_health(&identity, &mut journal, Duration::from_secs(options.deadline))
}

/// One at a time; and until this run has come as far as an earlier one in this boot, etcd has no leave to start.
fn take_over() -> Result<Lock> {
    let lock = Lock::take()?;
    files::remove(paths::READY)?;
    Ok(lock)
}

/// Prints what a run would change.
fn plan(identity: &Identity) -> Result<()> {
    let node = &identity.node;
    println!("{} of cluster {} at {}", node.name, node.cluster, node.address);
    let mut changes: Vec<Change> = steps::network::plan(identity)?.into_iter().collect();
    changes.extend(steps::plan(identity)?);
    let journal = Journal::open(paths::JOURNAL)?;
    let begun = Past::of(&journal).bootstrap;
    if let Some(beginning) = &begun {
        changes.extend(conf(identity, beginning)?);
    }
    for change in &changes {
        println!("would do: {change}");
    }
    if begun.is_none() {
        println!("would then agree with the other initial members on a new cluster, and start etcd");
    } else if changes.is_empty() {
        println!("nothing to do");
    }
    Ok(())
}

fn make(change: &Change) -> Result<()> {
    say(change.to_string());
    change.apply()
}

/// As whom, and on which machine, this disk was set up.
fn accepted(journal: &Journal) -> Option<(&Label, &Machine)> {
    journal.last(|event| match event {
        Event::Accepted { name, machine } => Some((name, machine)),
        _ => None,
    })
}

/// Refuses a disk that belongs to another node or machine.
fn check_before(identity: &Identity, machine: &Machine, journal: &Journal) -> Result<()> {
    let before = accepted(journal);
    if let Some((name, _)) = before
        && *name != identity.node.name
    {
        return Err(refused(format!(
            "this disk was set up as {name}, and the node document is for {}. Install the machine anew to make it {}",
            identity.node.name, identity.node.name
        )));
    }
    identity::check_clone(machine, before.map(|(_, machine)| machine))
}

/// Takes the identity on, once and for all.
fn accept(identity: &Identity, machine: &Machine, journal: &mut Journal) -> Result<()> {
    if accepted(journal).is_none() {
        let node = &identity.node;
        say(format!("this is {} of cluster {} ({machine})", node.name, node.cluster));
        journal.add(Event::Accepted { name: node.name.clone(), machine: machine.clone() })?;
    }
    let kept = Wanted::new(paths::ACCEPTED, serde_json::to_vec(&identity.envelope)?).mode(0o600, files::ROOT);
    if !kept.stands()? {
        kept.write()?;
    }
    Ok(())
}

fn conf(identity: &Identity, beginning: &Beginning) -> Result<Option<Change>> {
    let cluster = &identity.cluster;
    let own = cluster.member(&identity.node.name).context("the member vanished from the cluster document")?;
    let start = etcd_conf::Start::new_cluster(cluster, beginning);
    crate::change::file(etcd_conf::wanted(own, &cluster.etcd, &start))
}

fn configure(identity: &Identity, beginning: &Beginning) -> Result<()> {
    conf(identity, beginning)?.iter().try_for_each(make)
}

/// Says that etcd may start. It is started by hand too, for the case that systemd passed it over in an earlier try.
fn release_etcd() -> Result<()> {
    Wanted::new(paths::READY, "").write()?;
    systemd::ready();
    systemd::start("etcd.service")
}

fn wait_for_health(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (cluster, member) = runtime.block_on(async {
        let credentials = Credentials::installed()?;
        let mut told = false;
        loop {
            match health(&credentials).await {
                Ok(ids) => return Ok(ids),
                Err(error) if Instant::now() >= end => {
                    return Err(not_ready(format!(
                        "etcd on this node is not healthy after {} s: {error:#}. See `journalctl -u etcd`, and \
                         whether the other members run: `firstboot status`",
                        patience.as_secs()
                    )));
                }
                Err(_) if !told => say("etcd is started; waiting until it has a quorum"),
                Err(_) => {}
            }
            told = true;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })?;
    let healthy = Event::Healthy { cluster, member };
    if journal.last(|event| matches!(event, Event::Healthy { .. }).then_some(event)) != Some(&healthy) {
        journal.add(healthy)?;
    }
    say(format!("{} is a healthy member of {}", identity.node.name, identity.node.cluster));
    Ok(())
}

async fn health(credentials: &Credentials) -> Result<(u64, u64)> {
    let client = Client::connect("https://127.0.0.1:2379", credentials).await?;
    client.healthy().await?;
    let header = client.status().await?.header.unwrap_or_default();
    Ok((header.cluster_id, header.member_id))
}
