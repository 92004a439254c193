//! Tests of the expiry of a CA.

use super::*;
use crate::pki::authority::{own, read_key};
use crate::pki::client::issue_client;

/// Creates a CA that is valid for `days` days. Returns the paths of its certificate and its key.
fn ca(dir: &Path, days: u32) -> (PathBuf, PathBuf) {
    let (cert, key) = (
        dir.join(format!("{days}.crt")),
        dir.join(format!("{days}.key")),
    );
    let pair = IssuedKey::generate().unwrap();
    let made = own(&pair, days, OffsetDateTime::UNIX_EPOCH).unwrap();
    store::put(&cert, made.pem().as_bytes(), store::PUBLIC).unwrap();
    store::put(&key, pair.serialize_pem().as_bytes(), store::SECRET).unwrap();
    (cert, key)
}

/// Reads an authority whose nodes renew their certificates an hour before they expire. Returns
/// the warnings.
fn read_at(day: i64, cert: &Path, key: Option<&Path>) -> Result<Vec<String>, PkiError> {
    let lifetimes = Lifetimes {
        authority: 0,
        certificate: Duration::hours(2),
        renew_before: Duration::hours(1),
        nodes_ask: true,
    };
    let (now, mut events) = (OffsetDateTime::UNIX_EPOCH + Duration::days(day), Vec::new());
    Signer::read(cert, key, lifetimes, now, &mut events)?;
    Ok(events.iter().map(Event::to_string).collect())
}

#[test]
fn the_builder_warns_months_before_a_ca_expires_even_if_certificates_live_for_hours() {
    let dir = tempfile::tempdir().unwrap();
    for (days, left) in [(3650, 90), (40, 10)] {
        let (cert, key) = ca(dir.path(), days);
        let warnings = |left| read_at(i64::from(days) - left, &cert, Some(&key)).unwrap();
        assert_eq!(warnings(left + 1), Vec::<String>::new(), "{days} days");
        let text = warnings(left - 1).concat();
        assert!(text.contains("plan the replacement"), "{days} days: {text}");
    }
}

#[test]
fn an_expired_ca_is_refused_only_if_it_signs_or_if_the_signer_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let ((old, old_key), (new, new_key)) = (ca(dir.path(), 10), ca(dir.path(), 1000));
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let both = dir.path().join("both.crt");
    fs::write(&both, text(&old) + &text(&new)).unwrap();
    let warnings = read_at(11, &both, Some(&new_key)).unwrap();
    assert!(
        warnings.len() == 1
            && warnings[0].contains("expired on 1970-01-11")
            && warnings[0].contains("`builder pki retire`"),
        "{warnings:?}"
    );
    let warnings = read_at(9, &both, Some(&new_key)).unwrap();
    assert!(
        warnings.len() == 1
            && warnings[0].contains("expires on 1970-01-11")
            && warnings[0].contains("`builder pki retire`"),
        "{warnings:?}"
    );
    let error = read_at(11, &both, Some(&old_key)).unwrap_err().to_string();
    assert!(error.contains("`builder pki rotate`"), "{error}");
    let error = read_at(11, &both, None).unwrap_err().to_string();
    assert!(error.contains("remove it from the file"), "{error}");
}

#[test]
fn a_ca_whose_certificate_was_renewed_for_the_same_key_signs_with_the_valid_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = ca(dir.path(), 10);
    let renewed = own(&read_key(&key).unwrap(), 1000, OffsetDateTime::UNIX_EPOCH).unwrap();
    let old = fs::read_to_string(&cert).unwrap();
    fs::write(&cert, old + &renewed.pem()).unwrap();
    let warnings = read_at(11, &cert, Some(&key)).unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].contains("another CA certificate signs now"),
        "{warnings:?}"
    );
}

fn days(days: i64) -> OffsetDateTime {
    now() + Duration::days(days)
}

#[test]
fn an_expired_previous_authority_does_not_stop_the_builder() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    rotate(&folder.path(), LIFETIMES.authority, days(3000)).unwrap();
    let after = days(i64::from(LIFETIMES.authority) + 1);
    let (tls, events) = folder.node(after, 101).unwrap();
    assert_eq!(Certificate::all(&tls.ca).unwrap().len(), 2);
    let text: Vec<String> = events.iter().map(Event::to_string).collect();
    assert!(text[0].contains("`builder pki retire`"), "{text:?}");
    let name = "alice".parse().unwrap();
    let life = Duration::hours(1);
    issue_client(&folder.path(), &Authority::Own, &name, life, None, after).unwrap();
    retire(&folder.path(), after).unwrap();
    let (last, events) = folder.node(after, 101).unwrap();
    assert!(last.server == tls.server && events.is_empty(), "{events:?}");
}

#[test]
fn a_rotation_replaces_a_ca_that_has_already_expired() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    let after = days(i64::from(LIFETIMES.authority) + 1);
    let error = folder.node(after, 101).unwrap_err().to_string();
    assert!(error.contains("`builder pki rotate`"), "{error}");
    rotate(&folder.path(), LIFETIMES.authority, after).unwrap();
    folder.node(after, 101).unwrap();
    retire(&folder.path(), after).unwrap();
}
