//! The cluster's own member list, held against the recipe of this node's image: which of the two is newer is not known.

use std::collections::BTreeSet;

use recipes::Label;
use recipes::cluster::Member;

use super::row::Row;
use crate::etcd::{self, Client, Credentials};

/// The members as the first node that answers knows them; none where nobody does.
#[derive(Debug)]
pub(super) struct Roster(Vec<etcd::Member>);

impl Roster {
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
        self.0.iter().any(|member| member.peer_urls.iter().any(|url| url == peer_url))
    }

    /// Where one of the recipe serves: a newer image may have given it another address.
    pub(super) fn place(&self, member: &Member) -> String {
        let named = self.0.iter().find(|listed| listed.name == member.name.as_str());
        let moved = named.filter(|_| !self.has(&member.peer_url())).and_then(|listed| listed.client_urls.first());
        moved.cloned().unwrap_or_else(|| member.client_url())
    }

    /// Says who of the recipe is no member, and who is one at another address. The rows are those of the recipe's members.
    pub(super) fn compare(&self, rows: &mut [Row], members: &[Member], without: &BTreeSet<Label>) {
        if self.0.is_empty() {
            return;
        }
        for (row, member) in rows.iter_mut().zip(members) {
            let listed = self.0.iter().find(|listed| is_of(row, listed));
            row.member = listed.is_some();
            row.without = !row.member && without.contains(&member.name);
            if row.without {
                row.notes.push("the cluster began without it (`firstboot run --without`)".to_owned());
            } else if !row.member {
                row.errors.push("in the recipe, but no member of the cluster".to_owned());
            } else if row.endpoint != member.client_url() {
                row.notes.push(format!("at {} in the recipe of this node's image", member.address));
            }
            row.errors.extend(listed.and_then(|listed| wrong_url(row, listed)));
            row.healthy &= row.member;
        }
    }

    /// Who is a member and in none of the rows, and where it serves. One that never started serves nowhere.
    pub(super) fn strangers(&self, rows: &[Row]) -> Vec<(String, String)> {
        let strangers = self.0.iter().filter(|member| !rows.iter().any(|row| is_of(row, member)));
        let place = |member: &etcd::Member| member.client_urls.first().or(member.peer_urls.first()).cloned();
        strangers.map(|member| (member.title(), place(member).unwrap_or_default())).collect()
    }

    /// What is to be said of a stranger. A cluster may have grown since this image was built, so that is no error.
    pub(super) fn note(&self, mut stranger: Row) -> Row {
        match self.never_started(&stranger.name) {
            Some(why) => stranger.errors = vec![why],
            None => stranger.notes.push("not in the recipe of this node's image".to_owned()),
        }
        stranger
    }

    /// Why a voter that was added and never started is a danger; that it does not answer says less.
    fn never_started(&self, title: &str) -> Option<String> {
        let voters = self.0.iter().filter(|member| !member.is_learner);
        let stray = voters.clone().find(|voter| voter.title() == title && voter.name.is_empty())?;
        let voters = voters.count();
        Some(format!(
            "it was added and never started, and counts as one of {voters} voters, of whom {} must run. Start it, or \
             `etcdctl member remove {:x}` [member-never-started]",
            voters / 2 + 1,
            stray.id
        ))
    }
}

/// Whether a listed member is the one of a row: it serves there, or is listed with this address, by whatever scheme and port.
fn is_of(row: &Row, listed: &etcd::Member) -> bool {
    listed.client_urls.contains(&row.endpoint) || listed.peer_urls.iter().any(|url| host(url) == host(&row.endpoint))
}

fn host(url: &str) -> &str {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What is wrong with the peer URL by which the others reach a member, and how to correct it.
fn wrong_url(row: &Row, listed: &etcd::Member) -> Option<String> {
    let right = peer_url(row);
    if listed.peer_urls.contains(&right) {
        return None;
    }
    Some(format!(
        "the member list has {} as its peer URL, and its etcd serves {right}, so the others do not reach it. \
         `etcdctl member update {:x} --peer-urls={right}` [peer-url]",
        listed.peer_urls.join(", "),
        listed.id
    ))
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
            client_urls: if name.is_empty() { vec![] } else { vec![format!("https://{address}:2379")] },
            is_learner: false,
        }
    }

    #[test]
    fn recipe_and_member_list_are_compared() {
        let recipe = ["a", "b", "c", "d"].map(|name| Member {
            name: name.parse().unwrap(),
            address: format!("10.0.0.{}", name.as_bytes()[0] - b'a' + 1).parse().unwrap(),
        });
        let roster = Roster(vec![listed("a", "10.0.0.1"), listed("d", "10.0.0.44"), listed("", "10.0.0.9")]);
        let mut rows = recipe.clone().map(|member| Row {
            name: member.name.to_string(),
            endpoint: roster.place(&member),
            healthy: true,
            ..Row::default()
        });
        assert_eq!(rows[3].endpoint, "https://10.0.0.44:2379");
        rows[2].errors = vec!["no route".to_owned()];
        roster.compare(&mut rows, &recipe, &BTreeSet::from(["c".parse().unwrap()]));
        assert_eq!(rows.each_ref().map(|row| row.healthy), [true, false, false, true]);
        assert!(remarks(&rows[1]).contains("in the recipe, but no member") && !rows[1].without);
        assert_eq!(remarks(&rows[2]), "the cluster began without it (`firstboot run --without`)");
        assert_eq!(remarks(&rows[3]), "at 10.0.0.4 in the recipe of this node's image");
        let strangers = roster.strangers(&rows);
        assert_eq!(strangers, [("1".to_owned(), "https://10.0.0.9:2380".to_owned())]);
        assert!(remarks(&roster.note(Row::default())).contains("not in the recipe"));
        let stray = Row { name: "1".into(), errors: vec!["connection refused".into()], ..Row::default() };
        assert_eq!(
            remarks(&roster.note(stray)),
            "it was added and never started, and counts as one of 3 voters, of whom 2 must run. Start it, or `etcdctl \
             member remove 1` [member-never-started]"
        );
    }

    /// As after `etcdctl member update ID --peer-urls=http://…`.
    #[test]
    fn a_peer_url_that_was_changed_by_hand_is_named() {
        let recipe = [Member { name: "a".parse().unwrap(), address: "10.0.0.1".parse().unwrap() }];
        for wrong in ["http://10.0.0.1:2380", "https://10.0.0.1:2390", "https://10.0.0.7:2380"] {
            let roster = Roster(vec![etcd::Member { peer_urls: vec![wrong.to_owned()], ..listed("a", "10.0.0.1") }]);
            let mut rows =
                [Row { name: "a".into(), endpoint: roster.place(&recipe[0]), healthy: true, ..Row::default() }];
            roster.compare(&mut rows, &recipe, &BTreeSet::new());
            assert_eq!(roster.strangers(&rows), [], "{wrong}");
            let said = remarks(&rows[0]);
            assert!(said.starts_with(&format!("the member list has {wrong} as its peer URL")), "{said}");
            assert!(said.contains("`etcdctl member update 1 --peer-urls=https://10.0.0.1:2380` [peer-url]"), "{said}");
            assert!(rows[0].member);
        }
    }
}
