//! `firstboot status`: shows the state of every member of the cluster (steps 4.1.1 and 4.1.2 in
//! docs/guide.md).

use std::collections::BTreeSet;

use anyhow::Result;
use members::survey::{
    Backup, DataComparison, Row, Verdict, add_image_checks, survey, table, verdict,
};
use recipes::{ClusterDocument, Label};
use serde::Serialize;

use crate::etcd::{Credentials, installed_credentials};
use crate::exit::Exit;
use crate::journal::{Entry, Event, Line, lines};
use crate::output::show;
use crate::runtime::block_on;
use crate::update::renewal_failure::RenewalFailure;
use crate::update::summary::Summary;
use crate::{diagnosis, files, identity, paths};

/// The command line of `firstboot status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every member is healthy; 1 the cluster cannot be queried; 5 degraded; 6 no quorum.\n\n\
    Example: firstboot status --json | jq '.members[] | select(.healthy | not) | {name, errors}'"
)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare the members' data regardless of its size. The comparison blocks writes on each
    /// member for about 2 s per GiB
    #[arg(long)]
    compare: bool,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct JsonOutput<'a> {
    members: &'a [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a Backup>,
    update: &'a Summary,
    /// The reason why this node could not renew its certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal: Option<&'a RenewalFailure>,
}

/// Prints the state of the cluster. Returns the exit code that represents this state.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let cluster = identity::cluster()?;
    let credentials = installed_credentials()?;
    let comparison = if options.compare {
        DataComparison::Always
    } else {
        DataComparison::IfSmall
    };
    let (mut rows, backup, update) = block_on(async {
        let mut rows = survey(&cluster, &credentials, &without(), comparison).await;
        add_image_checks(&mut rows, &credentials).await;
        let voter = rows.iter().find(|row| row.votes);
        let endpoint = voter.map(|row| &*row.endpoint);
        let (backup, update) = tokio::join!(
            Backup::ask(&cluster, &credentials),
            Summary::ask(&cluster, endpoint, &credentials),
        );
        anyhow::Ok((rows, backup, update))
    })?;
    diagnose(&mut rows, &cluster);
    // If the recipe of this image does not set `enrol`, ignore a failure that was recorded under an
    // earlier image.
    let renewal = RenewalFailure::read()?.filter(|_| cluster.enrol.is_some());
    if options.json {
        show(
            &(serde_json::to_string_pretty(&JsonOutput {
                members: &rows,
                backup: backup.as_ref(),
                update: &update,
                renewal: renewal.as_ref(),
            })? + "\n"),
        )?;
    } else {
        let backup = backup.map_or_else(String::new, |backup| backup.line());
        let renewal = renewal.map_or_else(String::new, |renewal| renewal.line());
        show(&(table(&rows) + &backup + &update.lines() + &renewal))?;
    }
    Ok(match verdict(&rows) {
        Verdict::Healthy => None,
        Verdict::Degraded => Some(Exit::Degraded),
        Verdict::NoQuorum => Some(Exit::NoQuorum),
    })
}

/// A member that is not a healthy voter, or whose data differs from the data of the other members.
#[derive(Debug)]
pub(crate) struct UnhealthyMember {
    pub(crate) name: String,
    pub(crate) why: String,
    /// Whether the cluster's member list contains the member. The value is true if no member list
    /// is available.
    pub(crate) is_listed: bool,
}

/// Returns the unhealthy members among the recipe's members and the cluster's members.
pub(crate) async fn unhealthy_members(
    cluster: &ClusterDocument,
    credentials: &Credentials,
) -> Vec<UnhealthyMember> {
    let rows = survey(cluster, credentials, &without(), DataComparison::IfSmall).await;
    let ill = rows
        .into_iter()
        .filter(|row| !row.healthy || row.learner || !row.errors.is_empty());
    ill.map(|row| {
        let errors: Vec<String> = row.errors.iter().map(ToString::to_string).collect();
        UnhealthyMember {
            why: match errors.as_slice() {
                [] if row.learner => "it is a learner".to_owned(),
                errors => errors.join("; "),
            },
            is_listed: row.member,
            name: row.name,
        }
    })
    .collect()
}

/// Adds this machine's diagnosis to the row of this node.
fn diagnose(rows: &mut [Row], cluster: &ClusterDocument) {
    let name = newest(|event| match event {
        Event::IdentityAccepted { name, .. } => Some(name),
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

fn without() -> BTreeSet<Label> {
    let names = newest(|event| match event {
        Event::MembersExcluded { names } => Some(names),
        _ => None,
    });
    names.unwrap_or_default()
}

/// Returns the value that `pick` extracts from the newest matching event in this node's journal.
/// Ignores damage to the journal, because the damage does not affect the cluster, and `firstboot
/// explain` reports it.
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
