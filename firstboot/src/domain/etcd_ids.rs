//! Computes the ids that etcd assigns to a new cluster and its members. The ids of a cluster and
//! its members depend only on the peer URLs and the token, so firstboot can compute the id of a
//! cluster before the cluster exists. The computation is that of etcd's
//! server/etcdserver/api/membership (member.go, cluster.go), and is the same from v3.4 to v3.7.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Returns the first eight bytes of a SHA-1 digest, as a number. etcd computes its ids with SHA-1.
/// The security of the cluster does not depend on etcd's ids.
fn hash(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Computes the id of an initial member that has one peer URL.
pub(crate) fn member_id(peer_url: &str, token: &str) -> u64 {
    hash(format!("{peer_url}{token}").as_bytes())
}

/// Computes the id of the cluster that these initial members form.
pub(crate) fn cluster_id<'a>(peer_urls: impl IntoIterator<Item = &'a str>, token: &str) -> u64 {
    let mut ids: Vec<u64> = peer_urls
        .into_iter()
        .map(|url| member_id(url, token))
        .collect();
    ids.sort_unstable();
    hash(
        &ids.iter()
            .flat_map(|id| id.to_be_bytes())
            .collect::<Vec<u8>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_default_member_has_its_well_known_id() {
        let url = "http://localhost:2380";
        assert_eq!(member_id(url, "etcd-cluster"), 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id([url], "etcd-cluster"), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let urls = [
            "http://localhost:22380",
            "http://localhost:2380",
            "http://localhost:32380",
        ];
        assert_eq!(cluster_id(urls, "tkn"), 0x7dee_9ba7_6d59_ed53);
        assert_eq!(
            cluster_id(urls.into_iter().rev(), "tkn"),
            0x7dee_9ba7_6d59_ed53
        );
        assert_eq!(
            member_id("http://localhost:2380", "tkn"),
            0x7339_c4e5_e833_c029
        );
    }
}
