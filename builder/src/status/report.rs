//! Queries each member for its state and its member list, and reads the keys through which the
//! members coordinate.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use members::etcd::{Client, Credentials, Member};
use members::keys::{
    FailedRelease, HALT, KeyState, NEWEST_RELEASE, NewestRelease, RESTART, TURN, UpdateHalt,
    UpdateTurn, failed_key,
};
use members::reason::Reason;
use members::survey::{Backup, DataComparison, Row, Verdict, add_image_checks, survey, verdict};
use members::timestamp::{now, rfc3339};
use serde::Serialize;

use super::ClusterAccess;

/// The state of a cluster at one time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The time, in the format of RFC 3339.
    pub(crate) at: String,
    /// The verdict on the whole cluster.
    pub(crate) verdict: Verdict,
    /// The members of the cluster.
    pub(crate) members: Vec<Row>,
    /// Whether all members that answered have the same member list.
    pub(crate) lists_agree: bool,
    /// Each member's own member list.
    pub(crate) lists: Vec<List>,
    /// The images and updates of the cluster.
    pub(crate) update: Update,
    /// The newest scheduled snapshot. `None` if the recipe has no `[backup]`, or if the client
    /// certificate cannot be read.
    pub(crate) backup: Option<Backup>,
    /// Faults that are not specific to one member.
    pub(crate) errors: Vec<Reason>,
}

/// The member list of one member.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct List {
    /// The member that returned the list.
    pub(crate) from: String,
    /// The entries, or `None` if the member did not answer.
    pub(crate) members: Option<Vec<Listed>>,
}

/// One entry of a member list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listed {
    /// The member's id in hexadecimal digits, as in etcdctl's output.
    pub(crate) id: String,
    /// The member's name, or its id if the member has never started.
    pub(crate) name: String,
    /// `voter` or `learner`.
    pub(crate) role: &'static str,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
}

/// The images and updates of the cluster.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Update {
    /// The serial of the newest image that was built on this machine.
    pub(crate) built: Option<u64>,
    /// The serial of the newest image that any member has started to install by an update.
    pub(crate) newest: Option<u64>,
    /// The member that is updating itself.
    pub(crate) turn: Option<UpdateTurn>,
    /// An operator's order that no member may update itself.
    pub(crate) halt: Option<UpdateHalt>,
    /// The failure of the update to the newest image, if the update failed.
    pub(crate) failed: Option<FailedRelease>,
    /// The member that is restarting its etcd to trust another CA.
    pub(crate) restart: Option<String>,
}

impl Report {
    /// Queries all members in parallel, and then reads the keys.
    pub(crate) async fn ask(access: &ClusterAccess, comparison: DataComparison) -> Self {
        let cluster = &access.cluster;
        let mut errors = Vec::new();
        let (rows, backup, update) = match access.credentials() {
            Ok(credentials) => {
                let mut rows = survey(cluster, &credentials, &BTreeSet::new(), comparison).await;
                add_image_checks(&mut rows, &credentials).await;
                let voter = rows.iter().find(|row| row.votes);
                let endpoint = voter.map(|row| row.endpoint.as_str());
                let (backup, update) = tokio::join!(
                    Backup::ask(cluster, &credentials),
                    Update::ask(access.built, endpoint, &credentials)
                );
                (rows, backup, update)
            }
            Err(error) => {
                errors.push(format!("{error:#}").into());
                (Vec::new(), None, Ok(Update::default()))
            }
        };
        let update = update.unwrap_or_else(|error| {
            errors.push(format!("cannot read the state of updates: {error:#}").into());
            Update {
                built: access.built,
                ..Update::default()
            }
        });
        let lists: Vec<List> = rows.iter().map(List::of).collect();
        Self {
            cluster: cluster.name.to_string(),
            at: rfc3339(now()),
            verdict: if rows.is_empty() {
                Verdict::NoQuorum
            } else {
                verdict(&rows)
            },
            lists_agree: agree(&lists),
            lists,
            members: rows,
            update,
            backup,
            errors,
        }
    }

    /// Reads the newest image again, and then queries all members that it lists. A repeated query
    /// calls this function, because a build may have replaced the image since the last query.
    pub(crate) async fn ask_again(access: &mut ClusterAccess, comparison: DataComparison) -> Self {
        let refreshed = access.refresh();
        let mut report = Self::ask(access, comparison).await;
        if let Err(error) = refreshed {
            let fault = format!("cannot read the newest image: {error:#}");
            report.errors.push(fault.into());
        }
        report
    }

    /// Returns the names of the members that are not healthy voters, or that have faults.
    pub(super) fn faulty(&self) -> Vec<&str> {
        let healthy = |row: &&Row| !row.healthy || row.learner || !row.errors.is_empty();
        self.members
            .iter()
            .filter(healthy)
            .map(|row| row.name.as_str())
            .collect()
    }

    /// Returns the id and the name of each member that any of the lists contains.
    pub(crate) fn listed(&self) -> BTreeMap<&str, &str> {
        let mut names = BTreeMap::new();
        for listed in self
            .lists
            .iter()
            .flat_map(|list| list.members.iter().flatten())
        {
            let name = names
                .entry(listed.id.as_str())
                .or_insert(listed.name.as_str());
            if *name == listed.id {
                *name = listed.name.as_str();
            }
        }
        names
    }
}

impl Update {
    /// Reads the keys from the member at `endpoint`. Without an endpoint, returns only the serial
    /// of the newest built image.
    async fn ask(
        built: Option<u64>,
        endpoint: Option<&str>,
        credentials: &Credentials,
    ) -> Result<Self> {
        let Some(endpoint) = endpoint else {
            return Ok(Self {
                built,
                ..Self::default()
            });
        };
        let client = Client::connect(endpoint, credentials).await?;
        let newest = KeyState::<NewestRelease>::read(&client, NEWEST_RELEASE)
            .await?
            .value;
        let newest = newest.map(|newest| newest.serial);
        Ok(Self {
            built,
            newest,
            turn: KeyState::read(&client, TURN).await?.value,
            halt: KeyState::read(&client, HALT).await?.value,
            failed: match newest {
                Some(serial) => KeyState::read(&client, &failed_key(serial)).await?.value,
                None => None,
            },
            restart: client
                .get(RESTART)
                .await?
                .map(|found| String::from_utf8_lossy(&found.value).into_owned()),
        })
    }
}

impl List {
    /// Returns the role of the member with this id in this list.
    pub(crate) fn role_of(&self, id: &str) -> &'static str {
        self.members.as_ref().map_or("no answer", |members| {
            members
                .iter()
                .find(|listed| listed.id == id)
                .map_or("absent", |listed| listed.role)
        })
    }

    fn of(row: &Row) -> Self {
        let entries = row.list.iter().map(Listed::of).collect::<Vec<_>>();
        Self {
            from: row.name.clone(),
            members: (!entries.is_empty()).then_some(entries),
        }
    }
}

impl Listed {
    fn of(member: &Member) -> Self {
        Self {
            id: format!("{:x}", member.id),
            name: member.title(),
            role: if member.is_learner {
                "learner"
            } else {
                "voter"
            },
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
        }
    }
}

/// Returns whether all known lists have the same members with the same roles and peer URLs. Names
/// are not compared, because not all members learn the name of a new member at the same time.
fn agree(lists: &[List]) -> bool {
    let key = |list: &List| {
        let entries = list.members.as_ref()?;
        let mut key: Vec<_> = entries
            .iter()
            .map(|listed| (listed.id.clone(), listed.role, listed.peer_urls.clone()))
            .collect();
        key.sort();
        Some(key)
    };
    let mut keys = lists.iter().filter_map(key);
    let first = keys.next();
    keys.all(|other| Some(other) == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_the_report() {
        let report = Report {
            cluster: "demo".to_owned(),
            at: String::new(),
            verdict: Verdict::Healthy,
            members: Vec::new(),
            lists_agree: true,
            lists: Vec::new(),
            update: Update::default(),
            backup: None,
            errors: Vec::new(),
        };
        assert_eq!(documented("status.md", "builder status"), keys(&report));
        assert_eq!(
            documented("status.md", "Updates in builder status"),
            keys(&report.update)
        );
    }
}
