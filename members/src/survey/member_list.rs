//! Compares the cluster's member list with the recipe of this node's image. Either the member list
//! or the recipe may be newer.

use std::collections::BTreeSet;

use recipes::Label;
use recipes::cluster::Member;

use super::row::Row;
use crate::etcd::{self, Client, Credentials};
use crate::reason::{Reason, ReasonId};

/// The member list of the first member that answers. The list is empty if no member answers.
#[derive(Debug)]
pub(super) struct FirstMemberList(Vec<etcd::Member>);

impl FirstMemberList {
    pub(super) async fn ask(members: &[Member], credentials: &Credentials) -> Self {
        for member in members {
            if let Ok(client) = Client::connect(&member.client_url(), credentials).await
                && let Ok(roster) = client.members(false).await
            {
                return Self(roster);
            }
        }
        Self(Vec::new())
    }

    fn has(&self, peer_url: &str) -> bool {
        self.0
            .iter()
            .any(|member| member.peer_urls.iter().any(|url| url == peer_url))
    }

    /// Returns the client URL of a member in the recipe. A newer image may have given the member a
    /// different address. Therefore, if the member list contains the member's name but not the peer
    /// URL from the recipe, returns the client URL in the list.
    pub(super) fn client_url_of(&self, member: &Member) -> String {
        let named = self
            .0
            .iter()
            .find(|listed| listed.name == member.name.as_str());
        let moved = named
            .filter(|_| !self.has(&member.peer_url()))
            .and_then(|listed| listed.client_urls.first());
        moved.cloned().unwrap_or_else(|| member.client_url())
    }

    /// Marks the recipe's members that are missing from the member list, or that have a different
    /// address or a wrong peer URL in the list. The rows must be those of the recipe's members.
    pub(super) fn compare(&self, rows: &mut [Row], members: &[Member], without: &BTreeSet<Label>) {
        if self.0.is_empty() {
            return;
        }
        for (row, member) in rows.iter_mut().zip(members) {
            let listed = self.0.iter().find(|listed| is_of(row, listed));
            row.member = listed.is_some();
            row.learner |= listed.is_some_and(|listed| is_silent_learner(row, listed));
            row.without = !row.member && without.contains(&member.name);
            if row.without {
                row.notes
                    .push("excluded from the bootstrap (`firstboot run --without`)".into());
            } else if !row.member {
                let text = "it is in the recipe, but is not a member of the cluster";
                row.errors.push(ReasonId::MemberNotListed.because(text));
            } else if row.endpoint != member.client_url() {
                row.notes.push(
                    format!(
                        "the recipe of this node's image has the address {}",
                        member.address
                    )
                    .into(),
                );
            }
            row.errors
                .extend(listed.and_then(|listed| wrong_url(row, listed)));
            row.healthy &= row.member;
        }
    }

    /// Returns the listed members that are not in any of the rows, each with a client URL. A member
    /// that has never started has no client URL, so it is returned with a peer URL.
    pub(super) fn strangers(&self, rows: &[Row]) -> Vec<(String, String)> {
        let strangers = self
            .0
            .iter()
            .filter(|member| !rows.iter().any(|row| is_of(row, member)));
        let place = |member: &etcd::Member| {
            member
                .client_urls
                .first()
                .or(member.peer_urls.first())
                .cloned()
        };
        strangers
            .map(|member| (member.title(), place(member).unwrap_or_default()))
            .collect()
    }

    /// Adds a note to a member that is not in the recipe. A member outside the recipe is not an
    /// error, because the cluster may have grown since this image was built. If the member is a
    /// voter that has never started, replaces the member's errors with one error that reports this,
    /// and adds no note.
    pub(super) fn note(&self, mut stranger: Row) -> Row {
        let mut listed = self.0.iter().filter(|listed| is_of(&stranger, listed));
        stranger.learner |= listed.any(|listed| is_silent_learner(&stranger, listed));
        match self.never_started(&stranger.name) {
            Some(why) => stranger.errors = vec![why],
            None => stranger
                .notes
                .push("not in the recipe of this node's image".into()),
        }
        stranger
    }

    /// Returns the error for a voter that was added but has never started. This error replaces the
    /// error for a member that does not answer.
    fn never_started(&self, title: &str) -> Option<Reason> {
        let voters = self.0.iter().filter(|member| !member.is_learner);
        let stray = voters
            .clone()
            .find(|voter| voter.title() == title && voter.name.is_empty())?;
        let voters = voters.count();
        Some(ReasonId::MemberNeverStarted.because(format!(
            "it was added but never started. It counts as one of {voters} voters, of which {} must \
             run. Start it, or run `etcdctl member remove {:x}`",
            voters / 2 + 1,
            stray.id
        )))
    }
}

/// Returns whether a row belongs to a listed member: the row's endpoint is one of the member's
/// client URLs, or has the same address as one of the member's peer URLs.
fn is_of(row: &Row, listed: &etcd::Member) -> bool {
    listed.client_urls.contains(&row.endpoint)
        || listed
            .peer_urls
            .iter()
            .any(|url| host(url) == host(&row.endpoint))
}

/// Returns whether a member that does not answer is a learner according to the member list. A
/// learner does not count for the quorum.
fn is_silent_learner(row: &Row, listed: &etcd::Member) -> bool {
    row.version.is_empty() && listed.is_learner
}

fn host(url: &str) -> &str {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Returns the error for a member whose peer URL in the member list is wrong.
fn wrong_url(row: &Row, listed: &etcd::Member) -> Option<Reason> {
    let right = peer_url(row);
    if listed.peer_urls.contains(&right) {
        return None;
    }
    Some(ReasonId::PeerUrl.because(format!(
        "the member list has {} as this member's peer URL, but etcd on this member serves {right}, \
         so the other members cannot reach it. Run `etcdctl member update {:x} \
         --peer-urls={right}`",
        listed.peer_urls.join(", "),
        listed.id
    )))
}

fn peer_url(row: &Row) -> String {
    row.endpoint.replace(":2379", ":2380")
}

#[cfg(test)]
mod tests {
    use super::super::table::remarks;
    use super::*;

    fn listed(name: &str, address: &str) -> etcd::Member {
        etcd::Member {
            id: 1,
            name: name.into(),
            peer_urls: vec![format!("https://{address}:2380")],
            client_urls: if name.is_empty() {
                vec![]
            } else {
                vec![format!("https://{address}:2379")]
            },
            is_learner: false,
        }
    }

    #[test]
    fn recipe_and_member_list_are_compared() {
        let recipe = ["a", "b", "c", "d"].map(|name| Member {
            name: name.parse().unwrap(),
            address: format!("10.0.0.{}", name.as_bytes()[0] - b'a' + 1)
                .parse()
                .unwrap(),
        });
        let roster = FirstMemberList(vec![
            listed("a", "10.0.0.1"),
            listed("d", "10.0.0.44"),
            listed("", "10.0.0.9"),
        ]);
        let mut rows = recipe.clone().map(|member| Row {
            name: member.name.to_string(),
            endpoint: roster.client_url_of(&member),
            healthy: true,
            ..Row::default()
        });
        assert_eq!(rows[3].endpoint, "https://10.0.0.44:2379");
        rows[2].errors = vec!["no route".into()];
        roster.compare(&mut rows, &recipe, &BTreeSet::from(["c".parse().unwrap()]));
        assert_eq!(
            rows.each_ref().map(|row| row.healthy),
            [true, false, false, true]
        );
        assert!(remarks(&rows[1]).contains("[member-not-listed]") && !rows[1].without);
        assert_eq!(
            remarks(&rows[2]),
            "excluded from the bootstrap (`firstboot run --without`)"
        );
        assert_eq!(
            remarks(&rows[3]),
            "the recipe of this node's image has the address 10.0.0.4"
        );
        let strangers = roster.strangers(&rows);
        assert_eq!(
            strangers,
            [("1".to_owned(), "https://10.0.0.9:2380".to_owned())]
        );
        assert!(remarks(&roster.note(Row::default())).contains("not in the recipe"));
        let stray = Row {
            name: "1".into(),
            errors: vec!["connection refused".into()],
            ..Row::default()
        };
        assert_eq!(
            remarks(&roster.note(stray)),
            "it was added but never started. It counts as one of 3 voters, of which 2 must run. \
             Start it, or run `etcdctl member remove 1` [member-never-started]"
        );
    }

    /// A cluster of one member grows, and the new member has not answered yet.
    #[test]
    fn a_learner_that_does_not_answer_does_not_count_for_the_quorum() {
        let recipe = ["a", "b"].map(|name| Member {
            name: name.parse().unwrap(),
            address: format!("10.0.0.{}", name.as_bytes()[0] - b'a' + 1)
                .parse()
                .unwrap(),
        });
        let learner = etcd::Member {
            id: 2,
            is_learner: true,
            ..listed("", "10.0.0.2")
        };
        let roster = FirstMemberList(vec![listed("a", "10.0.0.1"), learner]);
        let answers = Row {
            endpoint: "https://10.0.0.1:2379".into(),
            version: "3.6.14".into(),
            healthy: true,
            member: true,
            votes: true,
            ..Row::default()
        };
        let silent = |name: &str, endpoint: &str| Row {
            name: name.into(),
            endpoint: endpoint.into(),
            member: true,
            errors: vec!["connection refused".into()],
            ..Row::default()
        };
        let mut rows = [answers.clone(), silent("b", "https://10.0.0.2:2379")];
        roster.compare(&mut rows, &recipe, &BTreeSet::new());
        let stranger = roster.note(silent("2", "https://10.0.0.2:2380"));
        for row in [rows[1].clone(), stranger] {
            assert!(row.learner, "{row:?}");
            assert_eq!(
                super::super::verdict(&[answers.clone(), row]),
                super::super::Verdict::Degraded
            );
        }
    }

    /// Each member list is the result of `etcdctl member update ID --peer-urls=URL` with a wrong
    /// URL.
    #[test]
    fn a_wrong_peer_url_is_reported() {
        let recipe = [Member {
            name: "a".parse().unwrap(),
            address: "10.0.0.1".parse().unwrap(),
        }];
        for wrong in [
            "http://10.0.0.1:2380",
            "https://10.0.0.1:2390",
            "https://10.0.0.7:2380",
        ] {
            let roster = FirstMemberList(vec![etcd::Member {
                peer_urls: vec![wrong.to_owned()],
                ..listed("a", "10.0.0.1")
            }]);
            let mut rows = [Row {
                name: "a".into(),
                endpoint: roster.client_url_of(&recipe[0]),
                healthy: true,
                ..Row::default()
            }];
            roster.compare(&mut rows, &recipe, &BTreeSet::new());
            assert_eq!(roster.strangers(&rows), [], "{wrong}");
            let said = remarks(&rows[0]);
            assert!(
                said.starts_with(&format!(
                    "the member list has {wrong} as this member's peer URL"
                )),
                "{said}"
            );
            assert!(
                said.contains(
                    "`etcdctl member update 1 --peer-urls=https://10.0.0.1:2380` [peer-url]"
                ),
                "{said}"
            );
            assert!(rows[0].member);
        }
    }
}
