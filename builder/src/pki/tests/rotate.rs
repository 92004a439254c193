//! Tests the replacement of an authority. During the replacement, every build must succeed, and
//! each node must trust the certificates that the other nodes present.

use super::openssl::openssl;
use super::*;

fn subjects(folder: &Folder) -> Vec<String> {
    let pem = fs::read_to_string(folder.file("ca.crt")).unwrap();
    Certificate::all(&pem)
        .unwrap()
        .into_iter()
        .map(|certificate| certificate.subject)
        .collect()
}

fn built() -> (Folder, NodeTls) {
    let folder = Folder::new();
    let (tls, _) = folder.node(now(), 101).unwrap();
    (folder, tls)
}

fn rotate_now(folder: &Folder) -> Result<Vec<Event>, PkiError> {
    rotate(&folder.path(), LIFETIMES.authority, now())
}

#[test]
fn the_next_authority_signs_and_the_previous_authority_is_trusted_until_it_is_retired() {
    let (folder, before) = built();
    let old = subjects(&folder);
    rotate_now(&folder).unwrap();
    let both = subjects(&folder);
    assert!(
        both.len() == 2 && both[1..] == old[..] && both[0] != old[0],
        "{both:?}"
    );
    let error = retire(&folder.path(), now()).unwrap_err().to_string();
    assert!(
        error.contains("nodes/etcd-1/") && error.contains("build, give every node"),
        "{error}"
    );

    let (tls, _) = folder.node(now(), 101).unwrap();
    assert_eq!(tls.ca, fs::read_to_string(folder.file("ca.crt")).unwrap());
    for name in ["server", "peer", "client"] {
        assert_eq!(folder.leaf(name).issuer, both[0]);
    }
    assert_ne!(
        tls.peer.key, before.peer.key,
        "a certificate from the new CA must have a new key"
    );
    let until_then = folder.previous_ca_tls().unwrap();
    assert_eq!(
        until_then,
        NodeTls {
            ca: tls.ca.clone(),
            ..before
        },
        "members without a new document trust the previous CA"
    );
    let error = rotate_now(&folder).unwrap_err().to_string();
    assert!(
        error.contains(&both[0]) && error.contains("builder pki retire"),
        "{error}"
    );

    retire(&folder.path(), now()).unwrap();
    assert_eq!(subjects(&folder), both[..1]);
    let (last, events) = folder.node(now(), 101).unwrap();
    assert!(
        last.peer == tls.peer && events.len() == 1,
        "existing files stay, and leftovers of the old CA are removed: {events:?}"
    );
    names_the_retired_ca(&events[0]);
    assert!(folder.previous_ca_tls().is_none());
    assert!(
        retire(&folder.path(), now())
            .unwrap_err()
            .to_string()
            .contains("nothing to retire")
    );
    keeps_replaced_files(&folder);
    openssl(
        &["verify", "-CAfile"],
        &[
            &folder.file("ca.crt"),
            &folder.file("nodes/etcd-1/peer.crt"),
        ],
    );
}

/// Checks that the event says what happened to the certificates of the retired CA.
fn names_the_retired_ca(event: &Event) {
    let event = event.to_string();
    assert!(
        event.contains("nodes/etcd-1/before: moved to ")
            && event.contains("/before.old-")
            && event.contains("no longer trusted"),
        "{event}"
    );
}

/// Checks that the builder keeps the files of the replaced CA, with their original modes.
fn keeps_replaced_files(folder: &Folder) {
    let kept: Vec<_> = folder
        .modes()
        .into_iter()
        .filter(|(name, _)| name.starts_with("ca.") && name.contains("old"))
        .collect();
    let modes = |start: &str| {
        kept.iter()
            .filter(|(name, _)| name.starts_with(start))
            .map(|(_, mode)| *mode)
            .collect()
    };
    let (keys, certs): (Vec<u32>, Vec<u32>) = (modes("ca.key"), modes("ca.crt"));
    assert!(keys == [0o600] && certs == [0o644, 0o644], "{kept:?}");
}

/// Recreates the states in which a killed `rotate` leaves its three files. In each state, a build
/// must still work, and a second `rotate` must complete the rotation.
#[test]
fn a_killed_rotation_continues_with_the_same_authority() {
    let (whole, _) = built();
    rotate_now(&whole).unwrap();
    let (both, next) = (
        fs::read(whole.file("ca.crt")).unwrap(),
        fs::read(whole.file("ca.key")).unwrap(),
    );
    let old = whole
        .modes()
        .into_iter()
        .map(|(name, _)| name)
        .find(|name| name.starts_with("ca.key.old"))
        .unwrap();
    for cut in 0..3 {
        let (folder, _) = built();
        if cut > 0 {
            // Copy the first authority of the folder `whole` into `folder`.
            fs::copy(whole.file(&old), folder.file("ca.key")).unwrap();
            let first = String::from_utf8(both.clone()).unwrap();
            let first = first.split_once("-----END CERTIFICATE-----\n").unwrap().1;
            fs::write(
                folder.file("ca.crt"),
                if cut == 2 { both.clone() } else { first.into() },
            )
            .unwrap();
            fs::remove_dir_all(folder.file("nodes")).unwrap();
            fs::write(folder.file("next-ca.key"), &next).unwrap();
            fs::set_permissions(folder.file("next-ca.key"), Permissions::from_mode(0o600)).unwrap();
            let error = retire(&folder.path(), now()).unwrap_err().to_string();
            assert!(error.contains("rotate` again"), "{error}");
        }
        folder.node(now(), 101).unwrap();
        rotate_now(&folder).unwrap();
        assert!(!folder.file("next-ca.key").exists());
        assert_eq!(subjects(&folder).len(), 2);
        if cut > 0 {
            assert_eq!(
                fs::read(folder.file("ca.key")).unwrap(),
                next,
                "another CA was created"
            );
        }
        folder.node(now(), 101).unwrap();
        assert_eq!(folder.leaf("peer").issuer, subjects(&folder)[0]);
        assert!(folder.previous_ca_tls().is_some());
    }
}

#[test]
fn an_operator_with_an_external_ca_gets_instructions() {
    let (folder, _) = built();
    fs::remove_file(folder.file("ca.key")).unwrap();
    let error = rotate_now(&folder).unwrap_err().to_string();
    assert!(error.contains("[tls] ca-cert and ca-key"), "{error}");
}
