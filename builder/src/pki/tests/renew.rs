//! Tests when a certificate is reissued.

use super::*;

#[test]
fn a_certificate_is_renewed_in_time_and_the_old_certificate_is_kept() {
    let folder = Folder::new();
    let (first, _) = folder.node(now(), 101).unwrap();
    let (second, events) = folder.node(now() + Duration::days(336), 101).unwrap();
    assert_ne!(first.server, second.server);
    assert_eq!(first.ca, second.ca);
    let text: Vec<String> = events.iter().map(ToString::to_string).collect();
    assert!(
        text[0].contains("too soon") && text[0].contains(".old-"),
        "{text:?}"
    );
    let kept = folder
        .modes()
        .into_iter()
        .filter(|(name, _)| name.contains(".old-"))
        .collect::<Vec<_>>();
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert!(
        kept.iter()
            .all(|(name, mode)| !name.contains(".key") || *mode == 0o600)
    );
}

#[test]
fn an_unreadable_certificate_is_replaced_and_the_reason_is_one_sentence() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    fs::write(folder.file("nodes/etcd-1/server.crt"), "garbage").unwrap();
    let (_, events) = folder.node(now(), 101).unwrap();
    let text = events[0].to_string();
    assert!(
        text.contains("server.crt: replaced, because it contains no certificate"),
        "{text}"
    );
}

#[test]
fn a_changed_address_issues_a_new_certificate() {
    let folder = Folder::new();
    let (first, _) = folder.node(now(), 101).unwrap();
    let (second, events) = folder.node(now(), 102).unwrap();
    assert!(
        first.server != second.server && first.peer != second.peer && first.client == second.client
    );
    assert!(
        events[0]
            .to_string()
            .contains("its SANs lack IP:10.101.15.102"),
        "{}",
        events[0]
    );
}

#[test]
fn a_certificate_never_outlives_its_authority_and_is_not_renewed_without_effect() {
    let folder = Folder::new();
    let late = now() + Duration::days(3640);
    folder.node(now(), 101).unwrap();
    folder.node(late, 101).unwrap();
    let ca = Certificate::all(&fs::read_to_string(folder.file("ca.crt")).unwrap())
        .unwrap()
        .remove(0);
    assert_eq!(folder.leaf("server").not_after, ca.not_after);
    let (_, events) = folder.node(late, 101).unwrap();
    assert!(
        matches!(events.as_slice(), [Event::Warning { .. }]),
        "{events:?}"
    );
    let error = folder
        .node(now() + Duration::days(3651), 101)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ca.crt") && error.contains("expired on"),
        "{error}"
    );
}
