//! Defines the proposal on which the members agree: the nonces of all initial members, and whether
//! the members start a new cluster, restore a snapshot or roll back.

use recipes::{ClusterDocument, Sha256};

use crate::domain::{BootstrapMode, Nonces, cluster_id};

/// The number of hexadecimal digits of the proposal's hash in the token. The resulting 64 bits are
/// enough to make the tokens of all clusters distinct.
const IN_TOKEN: usize = 16;
/// The number of digits of the snapshot's digest that precede the hash in the token. The digits
/// only help human readers, because the proposal's hash covers the whole digest.
const SNAPSHOT_IN_TOKEN: usize = 8;

/// A possible agreement of the members on the disks that form one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// The hash of all nonces and of the mode.
    pub(crate) id: Sha256,
    /// The nonces of all members that take part and have not already rolled back.
    pub(crate) nonces: Nonces,
    /// Whether the members start a new cluster, restore a snapshot or roll back.
    pub(crate) mode: BootstrapMode,
    /// etcd's `initial-cluster-token` for this proposal. No other proposal has the same token.
    pub(crate) token: String,
    /// The id of the cluster that results from this proposal.
    pub(crate) cluster_id: u64,
}

impl Proposal {
    /// Creates the proposal that the disks with these nonces form this cluster.
    pub(crate) fn new(cluster: &ClusterDocument, nonces: Nonces, mode: BootstrapMode) -> Self {
        let mut parts: Vec<String> = nonces
            .iter()
            .map(|(name, nonce)| format!("{name} {nonce}\n"))
            .collect();
        match mode {
            BootstrapMode::New => {}
            BootstrapMode::Restore { snapshot, seen } => {
                parts.push(format!("restore {snapshot} {seen:?}\n"));
            }
            BootstrapMode::Rollback { cluster } => parts.push(format!("rollback {cluster:x}\n")),
        }
        let id = Sha256::of(parts.concat().as_bytes());
        let unique = &id.to_string()[..IN_TOKEN];
        let token = match mode {
            BootstrapMode::Restore { snapshot, .. } => {
                format!(
                    "{}-r-{}-{unique}",
                    cluster.name,
                    &snapshot.to_string()[..SNAPSHOT_IN_TOKEN]
                )
            }
            _ => format!("{}-{unique}", cluster.name),
        };
        let members = cluster
            .members
            .iter()
            .filter(|member| nonces.contains_key(&member.name));
        let urls: Vec<String> = members.map(recipes::cluster::Member::peer_url).collect();
        let cluster_id = match mode {
            BootstrapMode::Rollback { cluster } => cluster,
            _ => cluster_id(urls.iter().map(String::as_str), &token),
        };
        Self {
            id,
            nonces,
            mode,
            token,
            cluster_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Nonce;

    #[test]
    fn new_nonces_give_a_new_token_and_a_new_cluster_id() {
        let cluster = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap()
            .cluster_document();
        let nonces = |numbers: [u128; 3]| -> Nonces {
            cluster
                .members
                .iter()
                .map(|member| member.name.clone())
                .zip(numbers.map(Nonce::of))
                .collect()
        };
        let restore = |content: &[u8]| BootstrapMode::Restore {
            snapshot: Sha256::of(content),
            seen: Some(1),
        };
        let mut proposals = [[1, 2, 3], [1, 2, 4], [2, 1, 3]]
            .map(|numbers| Proposal::new(&cluster, nonces(numbers), BootstrapMode::New))
            .to_vec();
        proposals.extend(
            [b"a", b"b"]
                .map(|snapshot| Proposal::new(&cluster, nonces([1, 2, 3]), restore(snapshot))),
        );
        for (i, one) in proposals.iter().enumerate() {
            for other in &proposals[..i] {
                assert_ne!(one.token, other.token);
                assert_ne!(one.cluster_id, other.cluster_id);
            }
            let snapshot = if one.mode.is_new() {
                0
            } else {
                "r-".len() + SNAPSHOT_IN_TOKEN + 1
            };
            assert_eq!(
                one.token.len(),
                cluster.name.as_str().len() + 1 + snapshot + IN_TOKEN
            );
        }
    }
}
