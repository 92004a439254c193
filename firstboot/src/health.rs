//! Determines whether etcd on this node is a healthy member.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::backoff::pause;
use crate::data::{self, Contents, DataCheck, DataDirState, check_data, contents};
use crate::diagnosis::Diagnosis;
use crate::etcd::{Credentials, installed_credentials, probe_local};
use crate::exit::{not_ready, refused};
use crate::identity::Identity;
use crate::journal::{Event, Journal, NodeState, record_wal};
use crate::output::say;
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::steps::etcd_conf::configure;
use crate::{duplicate, paths, rebuild, start_permit};

/// The pause between two queries of the other members, and the time limit for their answers. While
/// etcd is not healthy, firstboot asks the other members whether they still list this node.
const MEMBERSHIP_INTERVAL: Duration = Duration::from_secs(3);
/// The status line until firstboot diagnoses a fault.
const WAITING: &str = "etcd has started; waiting until it has a quorum";
/// The pause between two checks for etcd's first WAL. The pause is short, because etcd may vote
/// soon after it has created the WAL.
const WAL_INTERVAL: Duration = Duration::from_millis(5);

/// Promotes this node to a voter if it is a learner, waits until etcd on this node is a healthy
/// member, and records the healthy member in the journal.
///
/// # Errors
/// Returns a refusal if the other members report that this node's member was removed, and a "not
/// ready" error once `patience` has elapsed.
pub(crate) fn promote_and_wait_until_healthy(
    identity: &Identity,
    journal: &mut Journal,
    patience: Duration,
) -> Result<()> {
    let begun = Instant::now();
    wait_for_wal(identity, journal, patience)?;
    let patience = patience.saturating_sub(begun.elapsed());
    let credentials = installed_credentials()?;
    let learner = rebuild::record_promotion(journal)?;
    let promotion = async {
        if let Some(member) = learner {
            rebuild::promote_learner(identity, &credentials, member).await?;
        }
        // Do not end the wait after the promotion, because the new voter must still become healthy.
        std::future::pending().await
    };
    let (cluster, member) = block_on(async {
        tokio::select! {
            ids = wait_until_healthy(identity, journal, &credentials, patience) => ids,
            error = promotion => error,
        }
    })?;
    let healthy = Event::Healthy { cluster, member };
    if journal.last(|event| matches!(event, Event::Healthy { .. }).then_some(event))
        != Some(&healthy)
    {
        journal.add(healthy)?;
    }
    say(format!(
        "{} is a healthy member of {}",
        identity.node.name, identity.node.cluster
    ));
    Ok(())
}

/// Detects that etcd stopped during its first start. The guard does not let etcd start on the
/// partial data, which the next run of firstboot archives.
struct FirstStart {
    checked: Instant,
    /// The number of consecutive checks in which etcd was not running.
    absences: u32,
}

impl FirstStart {
    /// The minimum pause between two checks of whether etcd is running.
    const INTERVAL: Duration = Duration::from_secs(1);
    /// The number of consecutive absences after which etcd counts as stopped. The limit is not a
    /// time, because one check can take several seconds on a slow machine.
    const ABSENCES: u32 = 4;

    fn begin() -> Self {
        Self {
            checked: Instant::now(),
            absences: 0,
        }
    }

    /// Returns whether etcd has left partial data and is no longer running.
    fn has_failed(&mut self, contents: Contents) -> Result<bool> {
        if contents != Contents::NoWal {
            self.absences = 0;
            return Ok(false);
        }
        if self.checked.elapsed() < Self::INTERVAL {
            return Ok(false);
        }
        self.absences = if start_permit::etcd_runs()? {
            0
        } else {
            self.absences + 1
        };
        self.checked = Instant::now();
        Ok(self.absences >= Self::ABSENCES)
    }
}

/// Waits until etcd has created its WAL, and then records in the journal and in the start permit
/// which data belongs to the member. firstboot promotes a learner only after this record exists, so
/// the data of every promoted voter is recorded. Once the record exists, etcd's configuration no
/// longer allows etcd to bootstrap a cluster.
fn wait_for_wal(identity: &Identity, journal: &mut Journal, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut diagnosis = Diagnosis::new();
    let mut first_start = FirstStart::begin();
    while NodeState::of(journal).data.is_none() {
        let state = NodeState::of(journal);
        let contents = contents(Path::new(paths::DATA))?;
        if first_start.has_failed(contents)? {
            return Err(not_ready(ReasonId::EtcdNotStarted.because(
                "etcd on this node stopped during its first start, and left partial data. See `journalctl -u etcd`",
            )));
        }
        if contents == Contents::HasWal {
            let found = DataDirState::at(Path::new(paths::DATA))?;
            match check_data(&state.recorded_data(&identity.node.name), &found, None) {
                DataCheck::IntactUnrecorded(known) => {
                    record_wal(journal, known, found.wal.map_err(anyhow::Error::msg)?)?;
                }
                DataCheck::Unusable(why) => {
                    return Err(not_ready(
                        why.reason().map(|why| format!("{}: {why}", paths::DATA)),
                    ));
                }
                _ => {}
            }
        }
        if begun.elapsed() >= patience {
            return Err(not_ready(ReasonId::EtcdNotStarted.because(format!(
                "etcd on this node has not created its WAL after {} s. {}See `journalctl -u etcd`",
                patience.as_secs(),
                diagnosis.reason()
            ))));
        }
        diagnosis.refresh(
            identity,
            "etcd has started; waiting until it has created its WAL",
        );
        std::thread::sleep(WAL_INTERVAL);
    }
    let state = NodeState::of(journal);
    start_permit::replace(&state.recorded_data(&identity.node.name))?;
    state
        .initial_cluster
        .iter()
        .try_for_each(|start| configure(identity, start, state.data.is_some()))
}

/// Checks that the member of this node still exists. The caller has found that etcd on this node does
/// not answer.
///
/// # Errors
/// Returns a "not ready" error if etcd's data has been replaced since etcd started. In this case,
/// the next run of firstboot rebuilds the member. Returns a refusal if the other members report
/// that this node's member was removed.
pub(crate) async fn ensure_still_member(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
) -> Result<()> {
    if !data::is_in_place(&NodeState::of(journal).recorded_data(&identity.node.name))? {
        return Err(not_ready(ReasonId::DataExchanged.because(format!(
            "{} was replaced after etcd started",
            paths::DATA
        ))));
    }
    let removed =
        duplicate::removal_reason(identity, journal, credentials, MEMBERSHIP_INTERVAL).await?;
    removed.map_or(Ok(()), |why| Err(refused(why)))
}

/// Probes etcd on this node until etcd has a quorum. Returns the ids of the cluster and of this
/// node's member.
async fn wait_until_healthy(
    identity: &Identity,
    journal: &Journal,
    credentials: &Credentials,
    patience: Duration,
) -> Result<(u64, u64)> {
    let begun = Instant::now();
    let mut diagnosis = Diagnosis::new();
    let mut last_query = Instant::now();
    let mut logged = false;
    loop {
        let error = match probe_local(credentials).await {
            Ok(header) => return Ok((header.cluster_id, header.member_id)),
            Err(error) => error,
        };
        if !logged {
            say(WAITING);
            logged = true;
        }
        if last_query.elapsed() > MEMBERSHIP_INTERVAL {
            ensure_still_member(identity, journal, credentials).await?;
            last_query = Instant::now();
        }
        if begun.elapsed() >= patience {
            return Err(not_ready(ReasonId::EtcdUnhealthy.because(format!(
                "etcd on this node is not healthy after {} s: {error:#}. {}See `journalctl -u etcd`, and check the other \
                 members with `firstboot status`",
                patience.as_secs(),
                diagnosis.reason()
            ))));
        }
        diagnosis.refresh(identity, WAITING);
        pause(begun).await;
    }
}
