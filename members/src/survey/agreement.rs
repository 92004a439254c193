//! Checks whether the members agree on the member list, of which each member has its own copy. Also
//! checks whether the versions of etcd on all members are compatible.

use std::collections::BTreeSet;

use recipes::EtcdVersion;
use recipes::upgrade;

use super::row::Row;
use crate::etcd::Member;
use crate::reason::ReasonId;

/// Adds each member's differences from the other members to that member's errors.
pub(super) fn check(rows: &mut [Row]) {
    lists(rows);
    versions(rows);
}

/// Returns the compared properties of each listed member: the member's id, whether the member is a
/// learner, and the member's peer URLs.
fn key(list: &[Member]) -> BTreeSet<(u64, bool, &[String])> {
    list.iter()
        .map(|member| (member.id, member.is_learner, member.peer_urls.as_slice()))
        .collect()
}

/// Compares each list with the most frequent list, or with the first of several equally frequent
/// lists.
fn lists(rows: &mut [Row]) {
    let heard = || rows.iter().filter(|row| !row.list.is_empty());
    let count = |row: &&Row| {
        heard()
            .filter(|other| key(&other.list) == key(&row.list))
            .count()
    };
    let Some(most) = heard().map(|row| count(&row)).max() else {
        return;
    };
    let Some(usual) = heard().find(|row| count(row) == most) else {
        return;
    };
    let usual = usual.list.clone();
    let names: Vec<String> = heard()
        .filter(|row| key(&row.list) == key(&usual))
        .map(|row| row.name.clone())
        .collect();
    for row in rows
        .iter_mut()
        .filter(|row| !row.list.is_empty() && key(&row.list) != key(&usual))
    {
        let text = format!(
            "its member list differs from that of {}: {}",
            names.join(", "),
            differences(&usual, &row.list)
        );
        row.errors.push(ReasonId::MemberListsDiffer.because(text));
    }
}

fn differences(usual: &[Member], own: &[Member]) -> String {
    let find = |list: &'_ [Member], id| list.iter().find(|member| member.id == id).cloned();
    let mut parts = Vec::new();
    for member in own {
        match find(usual, member.id) {
            None => parts.push(format!("it also has {}", describe(member))),
            Some(other) if other != *member => {
                // Use the name from either list, because one of the lists may not contain the name
                // yet.
                let known = if member.name.is_empty() {
                    &other
                } else {
                    member
                };
                parts.push(format!(
                    "it lists {0} as {1}, but the others list {0} as {2}",
                    known.title(),
                    role(member),
                    role(&other)
                ));
            }
            Some(_) => {}
        }
    }
    let lacks = usual.iter().filter(|member| find(own, member.id).is_none());
    parts.extend(lacks.map(|member| format!("it lacks {}", describe(member))));
    parts.join("; ")
}

fn role(member: &Member) -> String {
    let role = if member.is_learner {
        "a learner"
    } else {
        "a voter"
    };
    format!("{role} at {}", member.peer_urls.join(", "))
}

fn describe(member: &Member) -> String {
    format!("{}, {}", member.title(), role(member))
}

/// Adds an error to each member whose version of etcd is incompatible with the version of another
/// member. The error names the first incompatible member.
fn versions(rows: &mut [Row]) {
    let heard: Vec<(String, EtcdVersion)> = rows
        .iter()
        .filter_map(|row| Some((row.name.clone(), row.version.parse().ok()?)))
        .collect();
    for row in rows.iter_mut() {
        let Ok(own) = row.version.parse() else {
            continue;
        };
        let obstacle = heard
            .iter()
            .find_map(|(name, version)| upgrade::coexistence_obstacle(own, name, *version));
        row.errors
            .extend(obstacle.map(|obstacle| ReasonId::EtcdVersion.because(obstacle.to_string())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id,
            name: format!("etcd-{id}"),
            peer_urls: vec![format!("https://10.0.0.{id}:2380")],
            ..Member::default()
        }
    }

    fn row(id: u64, list: &[Member]) -> Row {
        Row {
            name: format!("etcd-{id}"),
            version: "3.5.33".into(),
            healthy: true,
            member: true,
            votes: true,
            list: list.to_vec(),
            ..Row::default()
        }
    }

    fn errors(rows: &mut [Row]) -> Vec<String> {
        check(rows);
        rows.iter()
            .map(|row| row.errors.iter().map(|error| error.text.clone()).collect())
            .collect()
    }

    #[test]
    fn members_that_agree_have_no_errors() {
        let all = [1, 2, 3].map(member);
        // A list from which a member's name is still missing does not count as different.
        let unnamed = [
            member(1),
            member(2),
            Member {
                name: String::new(),
                ..member(3)
            },
        ];
        let mut rows = [row(1, &all), row(2, &unnamed), row(3, &all), row(4, &[])];
        assert!(errors(&mut rows).iter().all(String::is_empty), "{rows:?}");
    }

    /// The lists are those of etcd 3.6.14 and 3.5.1 (etcd-io/etcd#19557). In one of the lists, a
    /// voter has become a learner again and has lost its name.
    #[test]
    fn the_differences_of_a_member_list_are_reported() {
        let all = [1, 2, 3].map(member);
        let learner = Member {
            name: String::new(),
            is_learner: true,
            ..member(1)
        };
        let mut rows = [
            row(1, &all),
            row(2, &[learner, member(2), member(3)]),
            row(3, &all),
        ];
        let said = errors(&mut rows);
        let expected = "its member list differs from that of etcd-1, etcd-3: it lists etcd-1 as a \
                        learner at https://10.0.0.1:2380, but the others list etcd-1 as a voter at \
                        https://10.0.0.1:2380";
        assert_eq!(said, ["", expected, ""]);
        let mut rows = [
            row(1, &all),
            row(2, &[member(1), member(2), member(4)]),
            row(3, &all),
        ];
        let said = errors(&mut rows);
        assert!(
            said[1]
                .contains("it also has etcd-4, a voter at https://10.0.0.4:2380; it lacks etcd-3"),
            "{said:?}"
        );
    }

    #[test]
    fn incompatible_versions_are_reported_at_both_members() {
        let all = [1, 2, 3].map(member);
        let mut rows = [
            row(1, &all),
            Row {
                version: "3.5.1".into(),
                ..row(2, &all)
            },
            row(3, &all),
        ];
        assert!(errors(&mut rows).iter().all(String::is_empty), "{rows:?}");
        rows[0].version = "3.6.14".into();
        let said = errors(&mut rows);
        assert!(
            said[0].contains("etcd-2 is etcd 3.5.1, and 3.6.14 cannot run alongside it"),
            "{said:?}"
        );
        assert!(
            said[1].contains("etcd-1 is etcd 3.6.14, and 3.5.1 cannot run alongside it")
                && said[2].is_empty(),
            "{said:?}"
        );
        assert_eq!(
            super::super::verdict(&rows),
            super::super::Verdict::Degraded
        );
    }
}
