//! Writes etcd.conf (the guide's steps 3.3.1 to 3.5.2) with the variables of the etcd version that
//! will run. etcd ignores an unknown variable and only logs a warning, so each minor version gets
//! its own variables. The variables are from etcd's embed/config.go and etcdmain/config.go at
//! v3.4.45, and from the same files below server/ at v3.5.33, v3.6.14 and v3.7.1.

use anyhow::Result;
use recipes::cluster::{EtcdSettings, Member};

use crate::certificates::PEER;
use crate::change::{Change, file};
use crate::domain::InitialCluster;
use crate::files::{DesiredFile, ETCD};
use crate::identity::Identity;
use crate::paths;

fn wanted(own: &Member, settings: &EtcdSettings, start: &InitialCluster) -> DesiredFile {
    DesiredFile::new(paths::ETCD_CONF, render(own, settings, start)).mode(0o640, (0, ETCD.1))
}

fn render(own: &Member, settings: &EtcdSettings, start: &InitialCluster) -> String {
    let tls = |file: &str| format!("{}/{file}", paths::TLS);
    let members: Vec<String> = start
        .members
        .iter()
        .map(|(name, url)| format!("{name}={url}"))
        .collect();
    let mut pairs: Vec<(&str, String)> = vec![
        ("NAME", own.name.to_string()),
        ("DATA_DIR", paths::DATA.to_owned()),
        ("LISTEN_PEER_URLS", own.peer_url()),
        (
            "LISTEN_CLIENT_URLS",
            format!("{},https://127.0.0.1:2379", own.client_url()),
        ),
        // This port serves the metrics over plain HTTP, and therefore only on loopback.
        ("LISTEN_METRICS_URLS", "http://127.0.0.1:2381".to_owned()),
        ("INITIAL_ADVERTISE_PEER_URLS", own.peer_url()),
        ("ADVERTISE_CLIENT_URLS", own.client_url()),
        ("INITIAL_CLUSTER", members.join(",")),
        ("INITIAL_CLUSTER_STATE", start.state.to_owned()),
        ("INITIAL_CLUSTER_TOKEN", start.token.clone()),
        ("STRICT_RECONFIG_CHECK", "true".to_owned()),
        ("CERT_FILE", tls("server.crt")),
        ("KEY_FILE", tls("server.key")),
        ("TRUSTED_CA_FILE", tls("ca.crt")),
        ("CLIENT_CERT_AUTH", "true".to_owned()),
        ("PEER_CERT_FILE", tls("peer.crt")),
        ("PEER_KEY_FILE", tls("peer.key")),
        ("PEER_TRUSTED_CA_FILE", tls("ca.crt")),
        ("PEER_CLIENT_CERT_AUTH", "true".to_owned()),
        // Only peers may connect to a peer port. The peer certificates of all nodes contain the
        // name in `PEER` (step 3.2.4), but the client certificates do not contain this name.
        ("PEER_CERT_ALLOWED_HOSTNAME", PEER.to_owned()),
        (
            "HEARTBEAT_INTERVAL",
            settings.heartbeat_interval_ms.to_string(),
        ),
        ("ELECTION_TIMEOUT", settings.election_timeout_ms.to_string()),
        (
            "QUOTA_BACKEND_BYTES",
            settings.quota_backend_bytes.to_string(),
        ),
        ("AUTO_COMPACTION_MODE", "periodic".to_owned()),
        (
            "AUTO_COMPACTION_RETENTION",
            format!("{}h", settings.auto_compaction_hours),
        ),
        ("SNAPSHOT_COUNT", settings.snapshot_count.to_string()),
        ("MAX_REQUEST_BYTES", settings.max_request_bytes.to_string()),
    ];
    pairs.extend(by_version(settings));
    let lines = pairs
        .iter()
        .map(|(key, value)| format!("ETCD_{key}={value}\n"));
    format!(
        "# Written by firstboot for etcd {}. firstboot overwrites changes at the next boot.\n",
        settings.version
    ) + &lines.collect::<String>()
}

fn by_version(settings: &EtcdSettings) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if !settings.version.at_least(5) {
        // From etcd 3.5 on, these values of `LOGGER` and `PRE_VOTE` are the defaults.
        pairs.push(("LOGGER", "zap".to_owned()));
        pairs.push(("PRE_VOTE", "true".to_owned()));
    }
    // The setting for the minimum TLS version was introduced in 3.5.8. Write the setting only from
    // 3.6 on, because every patch version of 3.6 has it.
    if settings.version.at_least(6) {
        pairs.push(("TLS_MIN_VERSION", "TLS1.2".to_owned()));
    }
    pairs.extend(corruption_checks(settings));
    pairs
}

/// Returns the settings for the two corruption checks, which are off by default in every version.
/// The check at each compaction was introduced in 3.5.5 (CHANGELOG-3.5, etcd-io/etcd#14039). In
/// 3.6, both checks became feature gates (server/features/etcd_features.go), and 3.7 removed the
/// old names.
fn corruption_checks(settings: &EtcdSettings) -> Vec<(&'static str, String)> {
    let (initial, compact) = (settings.initial_corrupt_check, settings.compact_hash_check);
    let version = settings.version;
    if version.at_least(6) {
        let gates = [
            ("InitialCorruptCheck=true", initial),
            ("CompactHashCheck=true", compact),
        ];
        let gates: Vec<&str> = gates
            .iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(gate, _)| *gate)
            .collect();
        return if gates.is_empty() {
            vec![]
        } else {
            vec![("FEATURE_GATES", gates.join(","))]
        };
    }
    let knows_compact = (version.minor, version.patch) >= (5, 5);
    let keys = [
        ("EXPERIMENTAL_INITIAL_CORRUPT_CHECK", initial),
        (
            "EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED",
            compact && knows_compact,
        ),
    ];
    keys.iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(key, _)| (*key, "true".to_owned()))
        .collect()
}

/// Returns the change that corrects etcd's configuration, or `None` if the configuration is
/// correct. After etcd has created its WAL (`has_wal`), the configuration no longer allows etcd to
/// bootstrap a cluster.
pub(crate) fn plan(
    identity: &Identity,
    start: &InitialCluster,
    has_wal: bool,
) -> Result<Option<Change>> {
    let cluster = &identity.cluster;
    let own = identity.member()?;
    let start = if has_wal {
        &start.for_existing_wal(own)
    } else {
        start
    };
    file(wanted(own, &cluster.etcd, start))
}

pub(crate) fn configure(identity: &Identity, start: &InitialCluster, has_wal: bool) -> Result<()> {
    plan(identity, start, has_wal)?
        .iter()
        .try_for_each(Change::apply_and_log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(version: &str) -> String {
        let recipe = recipes::recipe::read(include_str!("../../../recipes/three-node.toml"))
            .recipe
            .unwrap();
        let mut cluster = recipe.cluster_document();
        cluster.etcd.version = version.parse().unwrap();
        let start = InitialCluster::new_cluster(
            &cluster,
            "etcd-x",
            cluster.members.iter().map(|member| &member.name),
        );
        render(&cluster.members[1], &cluster.etcd, &start)
    }

    #[test]
    fn the_configuration_describes_the_member_to_etcd() {
        let text = rendered("3.6.14");
        for line in [
            "ETCD_NAME=etcd-2",
            "ETCD_LISTEN_CLIENT_URLS=https://10.101.15.102:2379,https://127.0.0.1:2379",
            "ETCD_INITIAL_CLUSTER=etcd-1=https://10.101.15.101:2380,etcd-2=https://10.101.15.102:2380,\
             etcd-3=https://10.101.15.103:2380",
            "ETCD_INITIAL_CLUSTER_STATE=new",
            "ETCD_INITIAL_CLUSTER_TOKEN=etcd-x",
            "ETCD_PEER_CLIENT_CERT_AUTH=true",
            "ETCD_PEER_CERT_ALLOWED_HOSTNAME=localhost",
            "ETCD_AUTO_COMPACTION_RETENTION=10h",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn each_minor_version_gets_its_own_keys() {
        assert!(rendered("3.4.23").contains("ETCD_LOGGER=zap"));
        assert!(rendered("3.5.1").contains("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true"));
        let compact = "ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED=true";
        assert!(rendered("3.5.5").contains(compact) && !rendered("3.5.4").contains(compact));
        assert!(!rendered("3.4.45").contains(compact));
        for version in ["3.6.14", "3.7.1"] {
            let text = rendered(version);
            assert!(
                text.contains(
                    "ETCD_FEATURE_GATES=InitialCorruptCheck=true,CompactHashCheck=true\n"
                ),
                "{text}"
            );
            assert!(
                !text.contains("EXPERIMENTAL") && !text.contains("LOGGER"),
                "{text}"
            );
        }
    }

    #[test]
    fn no_value_in_the_configuration_needs_quotes() {
        for line in rendered("3.6.14")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            assert!(
                line.starts_with("ETCD_") && !line.contains(['"', '\'', '\\', '$', ' ', '#']),
                "{line}"
            );
        }
    }
}
