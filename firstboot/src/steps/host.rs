//! Sets the host's name (the guide's step 3.1.1) and the names of its peers (3.1.9).

use anyhow::Result;
use recipes::ClusterDocument;

use crate::change::{Change, file};
use crate::files::{self, DesiredFile};
use crate::identity::Identity;

/// Returns the changes that set the full host name, as CentOS's installer does.
pub(super) fn name(identity: &Identity) -> Result<Vec<Change>> {
    let name = identity.fqdn();
    let mut changes: Vec<Change> = file(DesiredFile::new("/etc/hostname", format!("{name}\n")))?
        .into_iter()
        .collect();
    if nix::unistd::gethostname()?.to_str() != Some(&name) {
        changes.push(Change::Hostname(name));
    }
    Ok(changes)
}

/// Returns the change that restores the lines of the members in /etc/hosts. The overlay contains an
/// /etc/hosts that lists every member, but a DHCP client or an operator may have changed the file.
/// The change removes the members' names from all other lines, and keeps the rest of these lines.
pub(super) fn hosts(identity: &Identity) -> Result<Option<Change>> {
    let before = files::read_if_there("/etc/hosts")?.unwrap_or_default();
    let before = String::from_utf8_lossy(&before);
    let after = with_members(&before, &identity.cluster);
    file(DesiredFile::new("/etc/hosts", after))
}

fn with_members(before: &str, cluster: &ClusterDocument) -> String {
    let wanted = |line: &str| {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let address = words.next();
        let names: Vec<&str> = words.collect();
        cluster.members.iter().position(|member| {
            let fqdn = cluster.fqdn(&member.name);
            address == Some(&member.address.to_string())
                && names == [fqdn.as_str(), member.name.as_str()]
        })
    };
    let is_member = |word: &str| {
        cluster
            .members
            .iter()
            .any(|member| word == member.name.as_str() || word == cluster.fqdn(&member.name))
    };
    let mut missing: Vec<bool> = vec![true; cluster.members.len()];
    let mut lines: Vec<String> = Vec::new();
    for line in before.lines() {
        if let Some(member) = wanted(line) {
            missing[member] = false;
        } else {
            // A line that assigns a member's name to a different address would direct connections
            // to the wrong machine. The line can also have other names, for example localhost.
            let words = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = words.split_whitespace().collect();
            let others: Vec<&str> = words
                .iter()
                .copied()
                .filter(|word| !is_member(word))
                .collect();
            if others.len() < words.len() {
                if others.len() > 1 {
                    lines.push(others.join(" "));
                }
                continue;
            }
        }
        lines.push(line.to_owned());
    }
    let absent = cluster
        .members
        .iter()
        .zip(missing)
        .filter(|(_, missing)| *missing);
    lines.extend(absent.map(|(member, _)| {
        format!(
            "{} {} {}",
            member.address,
            cluster.fqdn(&member.name),
            member.name
        )
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterDocument {
        recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap()
            .cluster_document()
    }

    #[test]
    fn members_are_added_and_other_lines_are_kept() {
        let after = with_members(
            "127.0.0.1 localhost\n# mine\n192.0.2.1 printer\n",
            &cluster(),
        );
        let expected = "127.0.0.1 localhost\n# mine\n192.0.2.1 printer\n\
                        10.101.15.101 etcd-1.cluster.local etcd-1\n\
                        10.101.15.102 etcd-2.cluster.local etcd-2\n\
                        10.101.15.103 etcd-3.cluster.local etcd-3\n";
        assert_eq!(after, expected);
        assert_eq!(
            with_members(&after, &cluster()),
            after,
            "applying the changes again changes nothing"
        );
    }

    #[test]
    fn a_wrong_address_of_a_member_is_removed() {
        let after = with_members(
            "127.0.0.1 localhost etcd-1 # mine\n127.0.1.1 etcd-1\n10.101.15.9 etcd-2.cluster.local\n",
            &cluster(),
        );
        assert!(
            after.starts_with("127.0.0.1 localhost\n10.101.15.101 "),
            "{after}"
        );
        assert!(
            !after.contains("127.0.1.1") && !after.contains("10.101.15.9 "),
            "{after}"
        );
    }
}
