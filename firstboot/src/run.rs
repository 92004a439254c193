//! `firstboot run`: what a node does in its first minute, and proves again at every later boot.

use std::time::Duration;

use anyhow::{Context as _, Result};
use recipes::{Label, Stage};

use crate::arp::{self, Asked};
use crate::barrier::{self, Past, Word};
use crate::change::{self, Change};
use crate::exit::{Exit, code_of, not_ready, refused};
use crate::files::{self, Folder, Wanted};
use crate::identity::{self, Identity};
use crate::journal::{Event, Journal};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::report::report;
use crate::say::say;
use crate::steps;
use crate::steps::etcd_conf::{self, Start};
use crate::{data, diagnosis, health, leave, metadata, paths, rebuild, rejoin, release, restore, rotation, stamp};

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
    /// Join the cluster again, as a new member, after this node left or was removed. Its old data is put aside
    #[arg(long, conflicts_with_all = ["dry_run", "without"])]
    rejoin: bool,
    /// Take etcd's data directory as it is for this member's newest, as after moving it to another disk. Older data may lose
    /// what clients were told is kept
    #[arg(long, conflicts_with_all = ["dry_run", "without", "rejoin"])]
    accept_data: bool,
}

/// Runs the whole way: image, identity, host, bootstrap barrier, etcd, health.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.without.is_empty() {
        return barrier::go_without(&options.without.iter().cloned().collect());
    }
    if options.rejoin {
        return rejoin::record();
    }
    if options.accept_data {
        return data::accept();
    }
    if options.dry_run {
        return plan(&identify()?.0);
    }
    let _lock = Lock::take()?;
    match become_the_member(options) {
        Ok(()) => report(Stage::Healthy, None),
        Err(error) => {
            if code_of(&error) == Exit::Refused {
                if let Err(error) = release::forbid() {
                    eprintln!("firstboot: {error:#}");
                }
                report(Stage::Refused, Some(&format!("{error:#}")));
            }
            return Err(error);
        }
    }
    Ok(())
}

/// What this node is, and who.
pub(crate) fn identify() -> Result<(Identity, Machine)> {
    stamp::check()?;
    let machine = Machine::observe()?;
    let cluster = identity::cluster()?;
    let found = metadata::find(&cluster.metadata, &machine)?;
    let mut identity = identity::verify(found, &identity::trusted()?, cluster, &machine)?;
    rotation::hold_back(&mut identity, &Journal::look(paths::JOURNAL)?)?;
    Ok((identity, machine))
}

fn become_the_member(options: &Options) -> Result<()> {
    let (mut identity, machine) = identify()?;
    if let Some(change) = change::folder(Folder::new(paths::STATE, 0o700, files::ROOT))? {
        change.apply()?;
    }
    let mut journal = Journal::open(paths::JOURNAL)?;
    check_before(&identity, &machine, &journal)?;
    if let Word::Left(member) = Past::of(&journal).word {
        leave::stay_out(&mut journal)?;
        return Err(refused(leave::left(member)));
    }
    if let Some(change) = steps::network::plan(&identity)? {
        make(&change)?;
    }
    // Only a machine that has the document's address takes its identity on.
    steps::network::settle(&identity)?;
    check_source(&identity, &journal)?;
    // Once etcd was let go in this boot that is known.
    let asked = (!release::is_given()).then(|| arp::ask(identity.node.address));
    let doubt = asked.as_ref().map_or(Ok(None), Asked::first)?;
    accept(&identity, &machine, &mut journal)?;
    steps::plan(&identity)?.iter().try_for_each(make)?;
    rebuild::dispel(&identity, &journal, doubt)?;

    restore::take_up(&identity, &mut journal)?;
    let start = barrier::pass(&identity, &mut journal);
    // Whatever else is wrong, a second machine is what the operator has to know.
    let doubt = asked.as_ref().map_or(Ok(None), Asked::all)?;
    let start = start?;
    rebuild::dispel(&identity, &journal, doubt)?;
    configure(&identity, &Past::of(&journal), &start)?;
    data::prepare(&mut journal)?;
    let expected = Past::of(&journal).expected(&identity.node.name);
    let patience = Duration::from_secs(options.deadline);
    if let Word::Leave(member) = Past::of(&journal).word {
        // Power was lost while it was being removed. Until it is, the others may need it for their quorum.
        let_etcd_go(&identity, &mut journal, &expected)?;
        match leave::leave(&identity, &mut journal, patience) {
            Ok(()) => return Err(refused(leave::left(member))),
            Err(error) if Past::of(&journal).word == Word::None => say(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    } else {
        if !release::is_given() {
            rebuild::still_wanted(&identity, &journal)?;
        }
        let_etcd_go(&identity, &mut journal, &expected)?;
    }
    health::wait(&identity, &mut journal, patience)?;
    rotation::complete(&mut identity, &mut journal)
}

/// A new member waits until the others would accept it. One that has data starts all the same: the others reach it.
fn check_source(identity: &Identity, journal: &Journal) -> Result<()> {
    match diagnosis::wrong_source(&identity.cluster, &identity.node.name) {
        Some(why) if Past::of(journal).data.is_none() => Err(not_ready(why)),
        why => {
            why.into_iter().for_each(say);
            Ok(())
        }
    }
}

/// Lets etcd start. Which version uses the data is written down first: what the next one may be depends on it. One that was
/// let go earlier in this boot is what it was then.
fn let_etcd_go(identity: &Identity, journal: &mut Journal, expected: &data::Expected) -> Result<()> {
    let etcd = identity.cluster.etcd.version;
    if !release::is_given() && Past::of(journal).etcd != Some(etcd) {
        journal.add(Event::Uses { etcd })?;
    }
    release::release(expected)
}

/// Prints what a run would change.
fn plan(identity: &Identity) -> Result<()> {
    let node = &identity.node;
    println!("{} of cluster {} at {}", node.name, node.cluster, node.address);
    let mut changes: Vec<Change> = steps::network::plan(identity)?.into_iter().collect();
    changes.extend(steps::plan(identity)?);
    let journal = Journal::look(paths::JOURNAL)?;
    let past = Past::of(&journal);
    let begun = &past.begun;
    if let Some(start) = begun {
        changes.extend(conf(identity, &past, start)?);
    }
    for change in &changes {
        println!("would do: {change}");
    }
    if begun.is_none() {
        println!(
            "would then agree with the other members on a new cluster, or join the one that lives, and start etcd"
        );
    } else if !rotation::is_complete(identity) {
        println!("would then trust and show the document's CAs and certificates, as far as all other members are");
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

/// Refuses a disk that belongs to another node or machine, and a document that another one has replaced.
pub(crate) fn check_before(identity: &Identity, machine: &Machine, journal: &Journal) -> Result<()> {
    let before = accepted(journal);
    if let Some((name, _)) = before
        && *name != identity.node.name
    {
        return Err(refused(format!(
            "this disk was set up as {name}, and the node document is for {}. Install the machine anew to make it {}",
            identity.node.name, identity.node.name
        )));
    }
    identity::check_clone(machine, before.map(|(_, machine)| machine))?;
    identity::check_age(identity)
}

/// Takes the identity on, once and for all.
pub(crate) fn accept(identity: &Identity, machine: &Machine, journal: &mut Journal) -> Result<()> {
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

/// etcd's configuration. Once etcd has its log nothing may begin by it any more.
fn conf(identity: &Identity, past: &Past, start: &Start) -> Result<Option<Change>> {
    let cluster = &identity.cluster;
    let own = cluster.member(&identity.node.name).context("the member vanished from the cluster document")?;
    let start = if past.data.is_some() { &start.used_up(own) } else { start };
    crate::change::file(etcd_conf::wanted(own, &cluster.etcd, start))
}

/// Writes it, where it is not as it should be.
pub(crate) fn configure(identity: &Identity, past: &Past, start: &Start) -> Result<()> {
    conf(identity, past, start)?.iter().try_for_each(make)
}
