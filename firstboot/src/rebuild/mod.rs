//! A node with a new disk returns to its cluster by itself: its old member is removed, it is added as a learner, starts
//! with the list as it then is, and gets its vote when it is in sync. `observe` asks, `plan` says what is next; here it
//! is written down and done.

pub(crate) mod observe;
pub(crate) mod plan;
mod pulse;
mod streams;
mod vote;
mod wanted;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arp::{self, Asked};
use crate::barrier::{Asker, Past};
use crate::etcd::{Client, Credentials};
use crate::exit::refused;
use crate::identity::Identity;
use crate::journal::{Event, Journal};
use crate::say::say;
use crate::steps::etcd_conf::Start;
use plan::{Plan, plan};
use streams::Streams;
pub(crate) use vote::{learner, vote};
pub(crate) use wanted::{dispel, removed, still_wanted, until_missed};

/// What came of one round.
#[derive(Debug)]
pub(crate) enum Round {
    /// Nothing that lets etcd start; why.
    Wait(String),
    /// etcd may start as this.
    Join(Start),
}

/// The way back into a cluster that lives.
#[derive(Debug)]
pub(crate) struct Rebuild {
    asker: Asker,
    streams: Streams,
    rival: Patience,
    alone: Asked,
}

/// For how long a member seems to be alive elsewhere.
///
/// etcd gives up a stream on which nothing came for five seconds (rafthttp's ConnReadTimeout), so what a power cut left
/// is gone soon. What lasts is a machine. It is refused then, for good, and not waited for any longer: waiting would
/// end at the moment that machine is rebooted, and this one would take its place.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    const LONG: Duration = Duration::from_secs(60);

    /// It seems so now.
    ///
    /// # Errors
    /// Refused, when it has seemed so for long.
    fn try_again(&mut self, why: &str) -> Result<()> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < Self::LONG {
            return Ok(());
        }
        Err(refused(format!("for {} s now {why}, and then `systemctl restart firstboot`", Self::LONG.as_secs())))
    }
}

impl Rebuild {
    /// With the node's certificates. The network is asked for a second machine meanwhile.
    pub(crate) fn new(identity: &Identity, asker: Asker) -> Self {
        let alone = arp::ask(identity.node.address);
        Self { asker, streams: Streams::default(), rival: Patience::default(), alone }
    }

    /// Goes as far as it gets. `living` are the clusters that were seen on the peer ports.
    pub(crate) async fn round(
        &mut self,
        identity: &Identity,
        journal: &mut Journal,
        living: &BTreeSet<u64>,
    ) -> Result<Round> {
        loop {
            if let Some(round) = self.step(identity, journal, living).await? {
                return Ok(round);
            }
        }
    }

    /// Observes and takes one step; nothing comes of one that was done. One that fails is no error: it may have been
    /// done all the same, and the next round sees.
    async fn step(
        &mut self,
        identity: &Identity,
        journal: &mut Journal,
        living: &BTreeSet<u64>,
    ) -> Result<Option<Round>> {
        let credentials = Credentials::installed()?;
        let mut observed = observe::all(identity, &self.asker, &credentials, Past::of(journal).added).await?;
        observed.clusters.extend(living.iter());
        self.streams.judge(&mut observed.peers, Instant::now());
        let helper = observed.peers.first().map(|peer| peer.url.as_str());
        let step = plan(&observed);
        if !matches!(step, Plan::Rival(_)) {
            self.rival = Patience::default();
        }
        let done = match (step, helper) {
            (Plan::Wait(why), _) => return Ok(Some(Round::Wait(why))),
            (Plan::Rival(why), _) => {
                // Where it is near it is found by its hardware address, and nothing is to be waited for.
                self.alone.now()?;
                self.rival.try_again(&why)?;
                return Ok(Some(Round::Wait(why)));
            }
            (Plan::Join(members), _) => {
                let token = identity.cluster.name.to_string();
                let start = Start { state: "existing", token, members };
                say(format!("joining as one of {} members", start.members.len()));
                let Start { token, members, .. } = start.clone();
                journal.add(Event::Join { token, members })?;
                return Ok(Some(Round::Join(start)));
            }
            (Plan::Remove(member), Some(helper)) => {
                // This node may have waited for days, and all that is known of the other is a cut connection.
                self.alone.now()?;
                let line = format!("removing the member {member:x}, which this node was before its disk was new");
                intend(journal, Event::Remove { member }, &line)?;
                async { Client::connect(helper, &credentials).await?.remove(member).await }.await
            }
            (Plan::Add(cluster), Some(helper)) => {
                let line = format!("adding this node to the cluster {cluster:x} as a learner");
                intend(journal, Event::Add { cluster }, &line)?;
                let added =
                    async { Client::connect(helper, &credentials).await?.add_learner(&observed.peer_url).await };
                match added.await {
                    Ok(member) => Ok(journal.add(Event::Added { member })?),
                    Err(error) => Err(error),
                }
            }
            (_, None) => Ok(()),
        };
        Ok(done.err().map(|error| Round::Wait(format!("etcd did not do it yet: {error:#}"))))
    }
}

/// Says and writes down what will be done; once, however often it has to be tried.
pub(crate) fn intend(journal: &mut Journal, event: Event, line: &str) -> Result<()> {
    if journal.entries.last().is_some_and(|entry| entry.event == event) {
        return Ok(());
    }
    say(line);
    journal.add(event)
}
