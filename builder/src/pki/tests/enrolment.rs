//! Tests of the certificates for keys that a node generated itself.

use super::*;
use crate::pki::PublicKeys;
use crate::pki::approval::asked;

impl Folder {
    fn enrol(&self, name: &str, keys: &PublicKeys) -> Result<bool, PkiError> {
        self.open(now())?
            .enrol(&name.parse().unwrap(), keys, FirstKeyPolicy::Any)
    }

    fn certificates(&self) -> Option<super::super::enrolment::Certificates> {
        let mut pki = self.open(now()).unwrap();
        pki.certificates(&Node::new("etcd-1").at(101)).unwrap()
    }
}

fn approve_key(folder: &Folder, keys: &PublicKeys) -> Result<Option<Event>, PkiError> {
    let name = "etcd-1".parse().unwrap();
    approve(&folder.path(), &name, keys.fingerprint(), now())
}

#[test]
fn certificates_are_for_the_enrolled_keys_and_no_private_key_is_created() {
    let folder = Folder::new();
    assert_eq!(folder.certificates(), None, "not enrolled");
    let keys = PublicKeys::generate();
    assert!(folder.enrol("etcd-1", &keys).unwrap(), "new keys");
    assert!(!folder.enrol("etcd-1", &keys).unwrap(), "the same keys");
    let (tls, before) = folder.certificates().unwrap();
    assert_eq!(before, None);
    for (role, certificate) in Role::ALL.into_iter().zip(tls.pairs()) {
        assert_eq!(certificate.key, None);
        let leaf = Certificate::all(&certificate.cert).unwrap().remove(0);
        assert_eq!(leaf.public_key, keys.of(role));
        assert_eq!(leaf.sans, role.sans(&Node::new("etcd-1").at(101)));
    }
    assert_eq!(
        folder.certificates().unwrap().0,
        tls,
        "the second call reissued the certificates"
    );
    let secrets: Vec<String> = folder
        .modes()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.contains(".key"))
        .collect();
    assert_eq!(
        secrets.len(),
        2,
        "expected only the CA's key and the signing key, found: {secrets:?}"
    );
    let shown = show(&folder.path(), now()).unwrap();
    assert!(
        shown.iter().all(|info| info.problems.is_empty()),
        "{shown:?}"
    );
}

#[test]
fn an_approval_before_the_first_request_is_valid_only_for_the_approved_key() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let (approved, other) = (PublicKeys::generate(), PublicKeys::generate());
    approve_key(&folder, &approved).unwrap();
    let error = folder.enrol("etcd-1", &other).unwrap_err();
    assert!(matches!(error, PkiError::KeyNotApproved { .. }), "{error}");
    folder.enrol("etcd-1", &approved).unwrap();
}

#[test]
fn another_key_is_refused_until_it_is_approved() {
    let folder = Folder::new();
    let (first, second, third) = (
        PublicKeys::generate(),
        PublicKeys::generate(),
        PublicKeys::generate(),
    );
    folder.enrol("etcd-1", &first).unwrap();
    let (old, _) = folder.certificates().unwrap();
    let refused = |keys: &PublicKeys| {
        let error = folder.enrol("etcd-1", keys).unwrap_err().to_string();
        assert!(error.ends_with("[key-not-approved]"), "{error}");
        for shown in [first.fingerprint(), keys.fingerprint()] {
            assert!(error.contains(&shown.to_string()), "{error}");
        }
    };
    refused(&second);
    approve_key(&folder, &third).unwrap();
    refused(&second);
    approve_key(&folder, &second).unwrap();
    assert_eq!(
        folder.certificates().unwrap().0,
        old,
        "an approved key is not enrolled yet"
    );
    folder.enrol("etcd-1", &second).unwrap();
    let mut pki = folder.open(now()).unwrap();
    let issued = pki.certificates(&Node::new("etcd-1").at(101)).unwrap();
    let (new, _) = issued.unwrap();
    assert!(new.server != old.server && new.ca == old.ca);
    let events: Vec<String> = pki.events.iter().map(Event::to_string).collect();
    assert!(
        events[0].contains("replaced, because it is not for the key that the node generated"),
        "{events:?}"
    );
    drop(pki);
    // An approval permits only one change of the node's keys.
    let error = folder.enrol("etcd-1", &first).unwrap_err();
    assert!(matches!(error, PkiError::KeyNotApproved { .. }), "{error}");
}

#[test]
fn the_first_key_requires_approval_if_the_operator_requests_it() {
    let folder = Folder::new();
    let keys = PublicKeys::generate();
    let name = "etcd-1".parse().unwrap();
    let enrol = || {
        let mut pki = folder.open(now()).unwrap();
        pki.enrol(&name, &keys, FirstKeyPolicy::Approved)
    };
    let error = enrol().unwrap_err().to_string();
    assert!(
        error.contains("has no approved key") && error.ends_with("[key-not-approved]"),
        "{error}"
    );
    assert_eq!(folder.certificates(), None);
    assert_eq!(
        asked(&folder.path(), &name).unwrap(),
        Some(keys.fingerprint())
    );
    approve_key(&folder, &keys).unwrap();
    enrol().unwrap();
    assert_eq!(asked(&folder.path(), &name).unwrap(), None);
    assert!(folder.certificates().is_some());
}

#[test]
fn the_state_of_an_approval_follows_the_requests_and_the_approvals() {
    let folder = Folder::new();
    let name = "etcd-1".parse().unwrap();
    let state = || approval_state(&folder.path(), &name);
    let no_pki = |what: &str| {
        let error = state().unwrap_err().to_string();
        assert!(error.contains("it has no ca.crt"), "{what}: {error}");
    };
    no_pki("a missing folder");
    fs::create_dir(folder.path()).unwrap();
    no_pki("an empty folder");
    fs::remove_dir(folder.path()).unwrap();

    let [first, second, third] = [(); 3].map(|()| PublicKeys::generate());
    folder.enrol("etcd-1", &first).unwrap();
    assert_eq!(state().unwrap(), Approval::None);
    folder.enrol("etcd-1", &second).unwrap_err();
    assert_eq!(state().unwrap(), Approval::Waiting(second.fingerprint()));
    let made = approve_key(&folder, &second).unwrap();
    assert!(matches!(made, Some(Event::Made { .. })), "{made:?}");
    assert_eq!(state().unwrap(), Approval::Approved(second.fingerprint()));
    assert_eq!(approve_key(&folder, &second).unwrap(), None, "twice");
    let replaced = approve_key(&folder, &third).unwrap();
    assert!(
        matches!(replaced, Some(Event::Replaced { .. })),
        "{replaced:?}"
    );
    assert_eq!(state().unwrap(), Approval::Waiting(second.fingerprint()));
    approve_key(&folder, &second).unwrap();
    folder.enrol("etcd-1", &second).unwrap();
    assert_eq!(state().unwrap(), Approval::None);
    // An operator can approve a key before the node requests certificates for it.
    approve_key(&folder, &third).unwrap();
    assert_eq!(state().unwrap(), Approval::Approved(third.fingerprint()));
}

#[test]
fn a_key_of_another_node_is_refused() {
    let folder = Folder::new();
    let keys = PublicKeys::generate();
    folder.enrol("etcd-1", &keys).unwrap();
    let error = folder.enrol("etcd-2", &keys).unwrap_err().to_string();
    assert!(
        error.contains("of etcd-1") && error.ends_with("[key-of-another-node]"),
        "{error}"
    );
    for remedy in ["reinstall the machine", "`firstboot csr --new-key`"] {
        assert!(error.contains(remedy), "{error}");
    }
    folder.enrol("etcd-2", &PublicKeys::generate()).unwrap();
}

#[test]
fn only_nodes_of_the_cluster_can_be_approved() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let other = "etcd-9".parse().unwrap();
    let error = approve(&folder.path(), &other, Sha256::of(b""), now()).unwrap_err();
    assert!(
        error.to_string().contains("etcd-9 is not a node"),
        "{error}"
    );
}

#[test]
fn a_cluster_can_switch_to_keys_of_the_nodes_and_back() {
    let folder = Folder::new();
    let (with_keys, _) = folder.node(now(), 101).unwrap();
    let keys = PublicKeys::generate();
    folder.enrol("etcd-1", &keys).unwrap();
    let (tls, _) = folder.certificates().unwrap();
    assert_ne!(tls.peer.cert, with_keys.peer.cert);
    assert!(!folder.file("nodes/etcd-1/peer.key").exists(), "archived");
    let (again, _) = folder.node(now(), 101).unwrap();
    assert_ne!(again.peer.key, with_keys.peer.key);
    assert_eq!(
        folder.leaf("peer").public_key,
        public_half(&again.peer.key).unwrap()
    );
}

#[test]
fn during_a_rotation_a_node_has_certificates_from_both_authorities() {
    let folder = Folder::new();
    folder.enrol("etcd-1", &PublicKeys::generate()).unwrap();
    let (old, _) = folder.certificates().unwrap();
    rotate(&folder.path(), LIFETIMES.authority, now()).unwrap();
    let (new, before) = folder.certificates().unwrap();
    let before = before.unwrap();
    assert_eq!(before.pairs(), old.pairs());
    assert_ne!(new.server, old.server);
    assert_eq!(before.ca, new.ca);
    // If a node is reinstalled during the rotation, the previous authority also signs its new keys.
    let other = PublicKeys::generate();
    approve_key(&folder, &other).unwrap();
    folder.enrol("etcd-1", &other).unwrap();
    let (new, before) = folder.certificates().unwrap();
    let before = before.unwrap();
    let leaf = |cert: &str| Certificate::all(cert).unwrap().remove(0);
    for (pair, previous) in new.pairs().into_iter().zip(before.pairs()) {
        let (pair, previous) = (leaf(&pair.cert), leaf(&previous.cert));
        assert_eq!(previous.public_key, pair.public_key);
        assert_eq!(previous.issuer, leaf(&old.server.cert).issuer);
        assert_ne!(previous.issuer, pair.issuer);
    }
    assert_eq!(folder.certificates().unwrap().1, Some(before));
    retire(&folder.path(), now()).unwrap();
    assert_eq!(folder.certificates().unwrap().1, None);
}

#[test]
fn an_expired_previous_authority_signs_nothing() {
    let folder = Folder::new();
    folder.enrol("etcd-1", &PublicKeys::generate()).unwrap();
    rotate(&folder.path(), 2 * LIFETIMES.authority, now()).unwrap();
    let before = |day: i64| {
        let mut pki = folder.open(now() + Duration::days(day)).unwrap();
        let found = pki.certificates(&Node::new("etcd-1").at(101)).unwrap();
        found.unwrap().1
    };
    assert!(before(0).is_some());
    for more in 0..2 {
        let after = i64::from(LIFETIMES.authority) + 1 + more;
        assert_eq!(before(after), None);
    }
    let kept = folder
        .modes()
        .into_iter()
        .filter(|(name, _)| name.contains("/before") && !name.contains(".crt"));
    assert_eq!(kept.count(), 1, "expected only the certificates of day 0");
}

#[test]
fn a_renewed_certificate_begins_later_and_the_old_certificate_is_not_kept() {
    let (folder, keys, minute) = (Folder::new(), PublicKeys::generate(), Duration::minutes(1));
    let at = |after: Duration, life: Duration| {
        let lifetimes = Lifetimes {
            certificate: life,
            renew_before: life / 2,
            nodes_ask: true,
            ..LIFETIMES
        };
        let mut pki = folder.open_with(lifetimes, now() + after).unwrap();
        let (tls, _) = pki
            .certificates(&Node::new("etcd-1").at(101))
            .unwrap()
            .unwrap();
        let leaf = Certificate::all(&tls.server.cert).unwrap().remove(0);
        (leaf, pki.events().to_vec())
    };
    folder.enrol("etcd-1", &keys).unwrap();
    let (first, _) = at(Duration::ZERO, 10 * minute);
    assert_eq!(first.not_after, now() + 10 * minute);
    assert_eq!(first.not_before, now() - minute, "a tenth of the lifetime");
    assert_eq!(at(4 * minute, 10 * minute).0.not_after, first.not_after);

    let (second, events) = at(6 * minute, 10 * minute);
    assert_eq!(second.not_after, now() + 16 * minute);
    assert_eq!(second.public_key, first.public_key);
    assert!(
        events
            .iter()
            .all(|event| matches!(event, Event::Renewed { .. }))
            && events.len() == 3,
        "{events:?}"
    );
    // The longer the lifetime of a certificate is, the further the builder backdates the
    // certificate. Nevertheless, the third certificate must begin later than the second, because a
    // node determines the newer of two documents by the dates at which their certificates begin.
    let (third, _) = at(12 * minute, Duration::days(365));
    assert!(third.not_before > second.not_before);
    // The node was off for longer than the lifetime of its certificate.
    let (fourth, _) = at(Duration::days(400), 10 * minute);
    assert!(fourth.not_before > third.not_before);
    let kept = folder
        .modes()
        .into_iter()
        .filter(|(name, _)| name.contains(".old-"));
    assert_eq!(kept.count(), 0);
}

#[test]
fn a_certificate_is_renewed_by_its_own_lifetime_after_the_recipe_shortens_the_lifetime() {
    let folder = Folder::new();
    let at = |days: i64, life: i64| {
        let life = Duration::days(life);
        let lifetimes = Lifetimes {
            certificate: life,
            renew_before: life / 2,
            nodes_ask: true,
            ..LIFETIMES
        };
        let now = now() + Duration::days(days);
        let mut pki = folder.open_with(lifetimes, now).unwrap();
        let found = pki.certificates(&Node::new("etcd-1").at(101)).unwrap();
        let (tls, _) = found.unwrap();
        Certificate::all(&tls.server.cert).unwrap().remove(0)
    };
    folder.enrol("etcd-1", &PublicKeys::generate()).unwrap();
    let first = at(0, 365);
    assert_eq!(at(150, 1).not_after, first.not_after);
    // Less than a third of the first certificate's lifetime is left, so the node requests a
    // renewal.
    let second = at(250, 1);
    assert_eq!(second.not_after, now() + Duration::days(251));
    assert!(second.not_before > first.not_before);
    assert_eq!(
        at(250, 1).not_after,
        second.not_after,
        "the certificate was renewed twice"
    );
}

#[test]
fn a_certificate_that_expires_with_its_ca_is_not_renewed() {
    let folder = Folder::new();
    let days = i64::from(LIFETIMES.authority);
    let at = |day: i64| {
        let life = Duration::days(days);
        let lifetimes = Lifetimes {
            certificate: life,
            renew_before: life / 2,
            nodes_ask: true,
            ..LIFETIMES
        };
        let now = now() + Duration::days(day);
        let mut pki = folder.open_with(lifetimes, now).unwrap();
        let found = pki.certificates(&Node::new("etcd-1").at(101)).unwrap();
        found.unwrap().0
    };
    folder.enrol("etcd-1", &PublicKeys::generate()).unwrap();
    let first = at(0);
    assert_eq!(at(days - 1), first);
}
