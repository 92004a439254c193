//! Tests which changes of a node document are reported.

use super::*;
use crate::steps::test_identity_from;

#[test]
fn a_later_build_serial_alone_changes_nothing() {
    let old = test_identity_from(2025).node;
    let mut new = old.clone();
    assert_eq!(changes(&old, &new).unwrap(), (vec![], false));
    new.release = Some(9);
    assert_eq!(changes(&old, &new).unwrap(), (vec![], false));
}

#[test]
fn each_change_is_listed_including_a_change_of_cas() {
    let old = test_identity_from(2025).node;
    let mut both = test_identity_from(2026).node;
    both.tls.ca.push_str(&old.tls.ca);
    let (said, changes_ca) = changes(&old, &both).unwrap();
    assert!(changes_ca);
    assert_eq!(said.len(), 4, "{said:?}");
    for (at, words) in [
        (0, "server certificate: until 20"),
        (
            1,
            "peer certificate: until 2040-01-01T00:00:00Z -> until 2040-",
        ),
        (3, "trusts test CA "),
    ] {
        assert!(said[at].starts_with(words), "{words}: {said:?}");
    }
    let mut last = both.clone();
    last.tls.ca.truncate(both.tls.ca.len() - old.tls.ca.len());
    last.machine.serial = "X1".parse().ok();
    let (said, changes_ca) = changes(&both, &last).unwrap();
    assert!(
        changes_ca && said[0].starts_with("no longer trusts test CA "),
        "{said:?}"
    );
    assert_eq!(said[1..], ["different machine identifiers"]);
}

#[test]
fn messages_do_not_contain_keys() {
    let (said, _) = changes(
        &test_identity_from(2025).node,
        &test_identity_from(2026).node,
    )
    .unwrap();
    assert!(!said.join("\n").contains("PRIVATE"), "{said:?}");
}
