//! Surveys a cluster: collects the state of every member, as each member itself reports it.

mod agreement;
mod alarm;
mod backup;
mod expiry;
mod image;
mod latency;
mod member_list;
mod row;
mod table;

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::{ClusterDocument, Label};
use rustls::pki_types::UnixTime;
use tokio::task::JoinSet;

use crate::compare::{HashComparison, Voter, compare};
use crate::etcd::{AlarmMember, Client, Credentials, Member, StatusResponse};
use crate::reason::Reason;
use crate::timestamp::date;
pub use backup::Backup;
pub use image::add_image_checks;
use member_list::FirstMemberList;
pub use row::Row;
pub use table::{columns, health, remarks, role, size, table};

/// Whether the survey compares the members' data. During the comparison, each member briefly delays
/// all writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataComparison {
    /// Do not compare.
    Skip,
    /// Compare only if the database is small.
    IfSmall,
    /// Compare regardless of the size.
    Always,
}

/// The state of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every member is a healthy voter without errors.
    Healthy,
    /// The cluster has its quorum, but not every member is a healthy voter without errors.
    Degraded,
    /// The cluster has no quorum, or no member answered.
    NoQuorum,
}

/// Collects the state of all members in the recipe and in the cluster's own list. `without` lists
/// the members that an operator excluded from the bootstrap.
pub async fn survey(
    cluster: &ClusterDocument,
    credentials: &Credentials,
    without: &BTreeSet<Label>,
    comparison: DataComparison,
) -> Vec<Row> {
    let roster = FirstMemberList::ask(&cluster.members, credentials).await;
    let places = cluster
        .members
        .iter()
        .map(|member| (member.name.to_string(), roster.client_url_of(member)));
    let mut rows = ask_all(places.collect(), credentials).await;
    for row in &mut rows {
        row.notes
            .extend(latency::advice(row.round_trip_ms, &cluster.etcd));
    }
    roster.compare(&mut rows, &cluster.members, without);
    let strangers = ask_all(roster.strangers(&rows), credentials).await;
    rows.extend(strangers.into_iter().map(|row| roster.note(row)));
    agreement::check(&mut rows);
    alarm::check(&mut rows, &cluster.etcd);
    if comparison != DataComparison::Skip {
        let any_size = comparison == DataComparison::Always;
        compare_data(&mut rows, credentials, any_size).await;
    }
    rows
}

/// Queries all members in parallel, so that a member that does not answer does not delay the
/// others.
async fn ask_all(members: Vec<(String, String)>, credentials: &Credentials) -> Vec<Row> {
    let mut asked = JoinSet::new();
    for (at, (name, endpoint)) in members.into_iter().enumerate() {
        let credentials = credentials.clone();
        asked.spawn(async move { (at, ask(name, endpoint, &credentials).await) });
    }
    let mut rows = asked.join_all().await;
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn ask(name: String, endpoint: String, credentials: &Credentials) -> Row {
    let answers = query(&endpoint, credentials).await;
    let mut errors = Vec::new();
    let (mut status, mut votes, mut alarms, mut list) = (None, false, Vec::new(), Vec::new());
    match answers {
        Ok(answers) => {
            votes = answers.health.is_ok() && !answers.status.is_learner;
            errors = errors_of(&answers);
            (status, alarms, list) = (Some(answers.status), answers.alarms, answers.members);
        }
        Err(error) => errors.push(format!("{error:#}").into()),
    }
    errors.dedup();
    let answered = status.is_some();
    let StatusResponse {
        header,
        version,
        db_size,
        leader,
        raft_index,
        raft_term,
        is_learner,
        ..
    } = status.unwrap_or_default();
    let header = header.unwrap_or_default();
    let mut row = Row {
        name,
        endpoint,
        healthy: answered && errors.is_empty(),
        leader: leader != 0 && leader == header.member_id,
        learner: is_learner,
        version,
        db_size,
        revision: header.revision,
        raft_term,
        raft_index,
        member: true,
        errors,
        member_id: header.member_id,
        votes,
        alarms,
        list,
        ..Row::default()
    };
    if answered {
        observe_connection(&mut row, credentials).await;
    }
    row
}

/// Connects to a member to measure the round-trip time and to read the expiry times of its
/// certificates, and adds these times to the row.
async fn observe_connection(row: &mut Row, credentials: &Credentials) {
    // Measure the round trip before the handshakes, because a simultaneous handshake would lengthen
    // the round trip.
    row.round_trip_ms = latency::round_trip(&row.endpoint).await;
    let (client, peer) = tokio::join!(
        expiry::client_certificate_validity(&row.endpoint, credentials),
        expiry::peer_certificate_validity(&row.endpoint, credentials),
    );
    let now = UnixTime::now();
    row.certificate_until = client.map(|(_, until)| date(until));
    row.certificate_days_left = client.map(|(_, until)| expiry::days_left(until, now));
    row.peer_certificate_until = peer.map(|(_, until)| date(until));
    row.peer_certificate_days_left = peer.map(|(_, until)| expiry::days_left(until, now));
    let first = client
        .into_iter()
        .chain(peer)
        .min_by_key(|(_, until)| *until);
    row.notes.extend(expiry::advice(first, now));
}

/// A member's answers about itself.
struct Answers {
    status: StatusResponse,
    health: Result<()>,
    alarms: Vec<AlarmMember>,
    /// The member list as this member stores it. If the list were read through raft, every member
    /// would return the leader's list.
    members: Vec<Member>,
}

/// Returns the faults that the member itself reports and, if etcd's health check of the member
/// failed, the error of this check. Omits alarms, which [`alarm::check`] reports.
fn errors_of(answers: &Answers) -> Vec<Reason> {
    let reported = answers.status.errors.iter();
    let mut errors: Vec<Reason> = reported
        .filter(|error| AlarmMember::parse(error).is_none())
        .cloned()
        .map(Reason::from)
        .collect();
    if let Err(error) = &answers.health {
        errors.push(Reason::from(format!("{error:#}")));
    }
    errors
}

async fn query(endpoint: &str, credentials: &Credentials) -> Result<Answers> {
    let client = Client::connect(endpoint, credentials).await?;
    let status = client.status().await?;
    let health = if status.is_learner {
        Ok(())
    } else {
        client.healthy().await
    };
    let alarms = status.alarms(client.alarms().await);
    let members = client.members(false).await.unwrap_or_default();
    Ok(Answers {
        status,
        health,
        alarms,
        members,
    })
}

/// Compares the data of all voters that answer through raft, and adds the result to their rows.
/// Also compares a voter that has raised an alarm. If an alarm names no member, only the comparison
/// shows whose data is wrong.
async fn compare_data(rows: &mut [Row], credentials: &Credentials, any_size: bool) {
    let voter = |row: &&Row| row.votes && row.member && !row.learner;
    let voters: Vec<Voter> = rows
        .iter()
        .filter(voter)
        .map(|row| Voter {
            name: row.name.clone(),
            endpoint: row.endpoint.clone(),
            revision: row.revision,
            size: row.db_size,
        })
        .collect();
    let compared = compare(&voters, credentials, any_size).await;
    for row in rows
        .iter_mut()
        .filter(|row| voters.iter().any(|voter| voter.name == row.name))
    {
        if let Some(why) = compared.apart(&row.name) {
            (row.healthy, row.apart) = (false, true);
            row.errors.push(why);
        }
        if let HashComparison::Unknown(why) = &compared {
            row.notes
                .push(format!("its data was not compared: {why}").into());
        }
    }
}

/// Returns the state of the cluster with these members.
pub fn verdict(rows: &[Row]) -> Verdict {
    // A learner does not count for the quorum.
    let voters = rows.iter().filter(|row| row.member && !row.learner);
    // A member whose data differs, or that has raised an alarm, still votes.
    let (voters, well) = (
        voters.clone().count(),
        voters.filter(|row| row.votes).count(),
    );
    if rows
        .iter()
        .all(|row| row.healthy && row.errors.is_empty() && !row.learner)
    {
        Verdict::Healthy
    } else if well > voters / 2 {
        Verdict::Degraded
    } else {
        Verdict::NoQuorum
    }
}

#[cfg(test)]
mod tests;
