//! Tests of the upgrade rules.

use super::*;

fn version(text: &str) -> EtcdVersion {
    text.parse().unwrap()
}

fn cluster(members: &[&str], cluster_minor: Option<u64>) -> ClusterVersions {
    let member = |(at, text): (usize, &&str)| RunningMember {
        name: format!("etcd-{}", at + 1),
        version: version(text),
    };
    ClusterVersions {
        members: members.iter().enumerate().map(member).collect(),
        cluster_minor,
        downgrading: false,
    }
}

#[track_caller]
fn says(own: &str, start: EtcdStart, cluster: &ClusterVersions, expected: &str) {
    let said = obstacle(version(own), start, cluster)
        .map_or_else(String::new, |obstacle| obstacle.to_string());
    assert!(
        if expected.is_empty() {
            said.is_empty()
        } else {
            said.contains(expected)
        },
        "{own} {start:?}: {said:?}"
    );
}

#[test]
fn each_upgrade_requires_a_minimum_patch() {
    for (own, others, expected) in [
        ("3.5.33", "3.4.23", ""),
        ("3.5.1", "3.5.33", ""),
        ("3.6.14", "3.5.32", ""),
        (
            "3.6.14",
            "3.5.31",
            "etcd-1 is etcd 3.5.31, and 3.6.14 cannot run alongside it: 3.6 requires that every 3.5 member runs 3.5.32",
        ),
        ("3.6.0", "3.5.33", ""),
        ("3.7.1", "3.6.11", ""),
        ("3.7.1", "3.6.10", "runs 3.6.11 or later"),
        (
            "3.6.14",
            "3.4.45",
            "does not support skipping a minor version",
        ),
        (
            "3.7.1",
            "3.5.33",
            "does not support skipping a minor version",
        ),
        ("3.7.1", "3.7.0", ""),
    ] {
        says(
            own,
            EtcdStart::AsNewMember,
            &cluster(&[others], None),
            expected,
        );
        // The order of a pair does not matter: if one version must not run next to another version,
        // the reverse is also true.
        if !expected.is_empty() {
            says(
                others,
                EtcdStart::WithData(None),
                &cluster(&[own], Some(version(others).minor)),
                "cannot run alongside it",
            );
        }
    }
}

#[test]
fn one_incompatible_member_is_an_obstacle() {
    says(
        "3.6.14",
        EtcdStart::AsNewMember,
        &cluster(&["3.6.14", "3.5.33", "3.5.1"], Some(5)),
        "etcd-3 is etcd 3.5.1",
    );
    says(
        "3.6.14",
        EtcdStart::AsNewMember,
        &cluster(&["3.6.14", "3.5.33", "3.5.32"], Some(5)),
        "",
    );
    says("3.6.14", EtcdStart::AsNewMember, &cluster(&[], None), "");
}

#[test]
fn an_older_member_is_admitted_unless_the_cluster_version_is_newer() {
    let mixed = cluster(&["3.6.14", "3.5.33"], Some(5));
    says("3.5.33", EtcdStart::AsNewMember, &mixed, "");
    says(
        "3.5.33",
        EtcdStart::WithData(Some(version("3.5.33"))),
        &mixed,
        "",
    );
    let upgraded = cluster(&["3.6.14", "3.6.14"], Some(5));
    says(
        "3.5.33",
        EtcdStart::WithData(Some(version("3.5.33"))),
        &upgraded,
        "",
    );
    says(
        "3.5.33",
        EtcdStart::AsNewMember,
        &upgraded,
        "the cluster's version is 3.6, and 3.5.33 is older",
    );
    let cluster_minor = cluster(&["3.6.14", "3.6.14"], Some(6));
    says(
        "3.5.33",
        EtcdStart::WithData(None),
        &cluster_minor,
        "the cluster's version is 3.6",
    );
    says(
        "3.5.33",
        EtcdStart::WithData(None),
        &cluster(&["3.6.14"], None),
        "the cluster's version is 3.6",
    );
}

#[test]
fn the_version_that_last_used_the_data_counts() {
    let off = ClusterVersions::default();
    says(
        "3.6.14",
        EtcdStart::WithData(Some(version("3.5.1"))),
        &off,
        "the version that last used this node's data is etcd 3.5.1",
    );
    says(
        "3.6.14",
        EtcdStart::WithData(Some(version("3.5.33"))),
        &off,
        "",
    );
    says(
        "3.6.14",
        EtcdStart::WithData(Some(version("3.6.0"))),
        &off,
        "",
    );
    says(
        "3.7.1",
        EtcdStart::WithData(Some(version("3.5.33"))),
        &off,
        "does not support skipping a minor version",
    );
    says("3.6.14", EtcdStart::WithData(None), &off, "");
}

#[test]
fn the_minor_version_changes_by_one_and_back_if_etcd_can_downgrade() {
    let said = |from, to| {
        version_change(version(from), version(to))
            .map_or_else(|why| why.to_string(), |is| format!("{is:?}"))
    };
    for (from, to, expected) in [
        ("3.5.30", "3.5.33", "Patch"),
        ("3.6.14", "3.6.11", "Patch"),
        ("3.4.23", "3.5.33", "Upgrade"),
        ("3.5.33", "3.6.14", "Upgrade"),
        ("3.6.11", "3.7.1", "Upgrade"),
        ("3.7.1", "3.6.14", "Downgrade"),
        ("3.6.14", "3.5.33", "Downgrade"),
    ] {
        assert_eq!(said(from, to), expected, "{from} to {to}");
    }
    for (from, to, expected) in [
        ("3.5.1", "3.6.14", "a node with the old image is etcd 3.5.1"),
        ("3.6.14", "3.5.31", "every 3.5 member runs 3.5.32"),
        ("3.7.1", "3.6.10", "runs 3.6.11 or later"),
        (
            "3.5.33",
            "3.7.1",
            "does not support skipping a minor version",
        ),
        (
            "3.7.1",
            "3.5.33",
            "does not support skipping a minor version",
        ),
        ("3.5.33", "3.4.23", "the cluster's version is 3.5"),
    ] {
        assert!(
            said(from, to).contains(expected),
            "{from} to {to}: {}",
            said(from, to)
        );
    }
}

#[test]
fn no_member_joins_during_a_downgrade() {
    let down = ClusterVersions {
        downgrading: true,
        ..cluster(&["3.6.14", "3.6.14"], Some(5))
    };
    for own in ["3.5.33", "3.6.14"] {
        says(
            own,
            EtcdStart::AsNewMember,
            &down,
            "etcdctl downgrade cancel",
        );
        says(own, EtcdStart::WithData(None), &down, "");
    }
}

#[test]
fn the_known_faults_of_a_release_are_listed() {
    let count = |text: &str| faults(version(text)).len();
    assert_eq!(
        (
            count("3.5.0"),
            count("3.5.5"),
            count("3.5.22"),
            count("3.5.23")
        ),
        (5, 3, 1, 0)
    );
    assert_eq!(
        (count("3.4.20"), count("3.4.21"), count("3.4.38")),
        (4, 3, 0)
    );
    assert_eq!((count("3.6.4"), count("3.6.5"), count("3.7.0")), (1, 0, 0));
    assert!(faults(version("3.5.1"))[0].what.contains("#13766"));
}
