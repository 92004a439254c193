//! `firstboot status`: the state of every member of the cluster (the guide's steps 4.1.1 and
//! 4.1.2).

mod agreement;
mod alarm;
mod backup;
mod expiry;
mod latency;
mod member_list;
mod row;
mod table;

use std::collections::BTreeSet;

use anyhow::Result;
use recipes::{ClusterDocument, Label};
use rustls::pki_types::UnixTime;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::certificates::date;
use crate::compare::{Compared, Voter, compare};
use crate::etcd::{AlarmMember, Client, Credentials, Member, StatusResponse};
use crate::exit::Exit;
use crate::journal::{Entry, Event, Line, lines};
use crate::output::show;
use crate::reason::Reason;
use crate::update::summary::Summary;
use crate::{diagnosis, files, identity, paths};
use member_list::Roster;
use row::Row;
use table::table;

/// The command line of `firstboot status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every member is healthy; 1 cannot query the cluster; 5 degraded; 6 no quorum.\n\n\
    Example: firstboot status --json | jq '.members[] | select(.healthy | not) | {name, errors}'"
)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare the members' data regardless of its size. This blocks writes on each member for
    /// about 2 s per GiB
    #[arg(long)]
    compare: bool,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct JsonOutput<'a> {
    members: &'a [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a backup::Backup>,
    update: &'a Summary,
}

/// Prints the table. The exit code represents the state of the cluster.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let cluster = identity::cluster()?;
    let credentials = Credentials::installed()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut rows, backup, update) = runtime.block_on(async {
        let rows = survey(&cluster, &credentials, options.compare).await;
        let voter = rows.iter().find(|row| row.votes);
        let endpoint = voter.map(|row| &*row.endpoint);
        let (backup, update) = tokio::join!(
            backup::Backup::ask(&cluster, &credentials),
            Summary::ask(&cluster, endpoint, &credentials),
        );
        (rows, backup, update)
    });
    diagnose(&mut rows, &cluster);
    if options.json {
        show(
            &(serde_json::to_string_pretty(&JsonOutput {
                members: &rows,
                backup: backup.as_ref(),
                update: &update,
            })? + "\n"),
        )?;
    } else {
        let backup = backup.map_or_else(String::new, |backup| backup.line());
        show(&(table(&rows) + &backup + &update.lines()))?;
    }
    Ok(verdict(&rows))
}

/// The state of all members in the recipe and in the cluster's own list.
async fn survey(cluster: &ClusterDocument, credentials: &Credentials, any_size: bool) -> Vec<Row> {
    let roster = Roster::ask(&cluster.members, credentials).await;
    let places = cluster
        .members
        .iter()
        .map(|member| (member.name.to_string(), roster.client_url_of(member)));
    let mut rows = ask_all(places.collect(), credentials).await;
    for row in &mut rows {
        row.notes
            .extend(latency::advice(row.round_trip_ms, &cluster.etcd));
    }
    roster.compare(&mut rows, &cluster.members, &without());
    let strangers = ask_all(roster.strangers(&rows), credentials).await;
    rows.extend(strangers.into_iter().map(|row| roster.note(row)));
    agreement::check(&mut rows);
    alarm::check(&mut rows, &cluster.etcd);
    compare_data(&mut rows, credentials, any_size).await;
    rows
}

/// The members that are not healthy voters, or whose data differs from the others', each with the
/// reason.
pub(crate) async fn unhealthy_members(
    cluster: &ClusterDocument,
    credentials: &Credentials,
) -> Vec<(String, String)> {
    let rows = survey(cluster, credentials, false).await;
    let ill = rows
        .into_iter()
        .filter(|row| !row.healthy || row.learner || !row.errors.is_empty());
    ill.map(|row| {
        match row
            .errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
        {
            why if why.is_empty() && row.learner => (row.name, "it is a learner".to_owned()),
            why => (row.name, why),
        }
    })
    .collect()
}

/// Queries all members at the same time, so that a member that does not answer does not delay the
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

/// Adds this machine's diagnosis to the row of this node.
fn diagnose(rows: &mut [Row], cluster: &ClusterDocument) {
    let name = newest(|event| match event {
        Event::IdentityAdopted { name, .. } => Some(name),
        _ => None,
    });
    let Some(name) = name else { return };
    let Some(row) = rows.iter_mut().find(|row| row.name == name.as_str()) else {
        return;
    };
    if row.healthy {
        row.notes.extend(diagnosis::wrong_source(cluster, &name));
    } else {
        row.errors.extend(diagnosis::node(cluster, &name));
    }
}

/// The members that the operator excluded, according to this node's journal.
fn without() -> BTreeSet<Label> {
    let names = newest(|event| match event {
        Event::MembersExcluded { names } => Some(names),
        _ => None,
    });
    names.unwrap_or_default()
}

/// The newest such event in this node's journal. A damaged journal does not affect the cluster, so
/// it is not reported here; `firstboot explain` reports it.
fn newest<T>(pick: impl Fn(Event) -> Option<T>) -> Option<T> {
    let bytes = files::read_if_there(paths::JOURNAL)
        .ok()
        .flatten()
        .unwrap_or_default();
    let mut found = lines(&String::from_utf8_lossy(&bytes))
        .into_iter()
        .filter_map(|line| match line {
            Line::Entry(Entry { event, .. }) => pick(event),
            _ => None,
        });
    found.next_back()
}

async fn ask(name: String, endpoint: String, credentials: &Credentials) -> Row {
    let answers = query(&endpoint, credentials).await;
    let (round_trip_ms, until) = if answers.is_ok() {
        (
            latency::round_trip(&endpoint).await,
            expiry::certificate_expiry(&endpoint).await,
        )
    } else {
        (None, None)
    };
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
    Row {
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
        round_trip_ms,
        certificate_until: until.map(date),
        member: true,
        errors,
        member_id: header.member_id,
        votes,
        alarms,
        list,
        notes: expiry::advice(until, UnixTime::now()).into_iter().collect(),
        ..Row::default()
    }
}

/// A member's answers about itself.
struct Answers {
    status: StatusResponse,
    health: Result<()>,
    alarms: Vec<AlarmMember>,
    /// The member's own list: if the list were read through raft, every member would return the
    /// leader's.
    members: Vec<Member>,
}

/// The faults that the member itself reports, without its alarms.
fn errors_of(answers: &Answers) -> Vec<Reason> {
    let reported = answers.status.errors.iter();
    let mut errors: Vec<Reason> = reported
        .filter(|error| !alarm::is_one(error))
        .cloned()
        .map(Reason::from)
        .collect();
    if let Err(error) = &answers.health {
        errors.push(Reason::from(format!("{error:#}")));
    }
    errors
}

/// Queries a member.
async fn query(endpoint: &str, credentials: &Credentials) -> Result<Answers> {
    let client = Client::connect(endpoint, credentials).await?;
    let status = client.status().await?;
    let health = if status.is_learner {
        Ok(())
    } else {
        client.healthy().await
    };
    let alarms = client.alarms().await.unwrap_or_default();
    let members = client.members(false).await.unwrap_or_default();
    Ok(Answers {
        status,
        health,
        alarms,
        members,
    })
}

/// Compares the data of all healthy voters.
async fn compare_data(rows: &mut [Row], credentials: &Credentials, any_size: bool) {
    let voter = |row: &&Row| row.healthy && row.member && !row.learner;
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
        if let Compared::Unknown(why) = &compared {
            row.notes
                .push(format!("its data was not compared: {why}").into());
        }
    }
}

fn verdict(rows: &[Row]) -> Option<Exit> {
    // A learner must be healthy, but does not count for the quorum.
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
        None
    } else if well > voters / 2 {
        Some(Exit::Degraded)
    } else {
        Some(Exit::NoQuorum)
    }
}

#[cfg(test)]
mod tests;
