//! Tests of builds and of answers to requests with a PKI folder that has lost files.

use super::*;

/// A new ca.crt would contain only one of the two CAs that the nodes trust during a rotation.
#[test]
fn a_build_never_replaces_a_lost_ca_certificate() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    for rotates in [false, true] {
        if rotates {
            rotate(&folder.path(), LIFETIMES.authority, now()).unwrap();
            folder.node(now(), 101).unwrap();
        }
        let pem = fs::read(folder.file("ca.crt")).unwrap();
        fs::remove_file(folder.file("ca.crt")).unwrap();
        let error = folder.node(now(), 101).unwrap_err().to_string();
        assert!(
            error.contains("ca.crt: it is missing, but the folder has been used")
                && error.contains("copy /etc/etcd/tls/ca.crt from a node"),
            "{error}"
        );
        assert!(!folder.file("ca.crt").exists(), "ca.crt was replaced");
        fs::write(folder.file("ca.crt"), pem).unwrap();
        folder.node(now(), 101).unwrap();
    }
}

#[test]
fn a_build_warns_if_the_record_of_the_newest_image_is_missing() {
    let folder = Folder::new();
    let warnings = || {
        let (_, events) = folder.node(now(), 101).unwrap();
        let warns = |event: &Event| matches!(event, Event::Warning { .. });
        let warnings = events.into_iter().filter(warns);
        warnings
            .map(|event| event.to_string())
            .collect::<Vec<String>>()
    };
    assert_eq!(warnings(), Vec::<String>::new(), "the first build");
    fs::remove_file(folder.file("serial.json")).unwrap();
    let text = warnings();
    assert!(
        text.len() == 1
            && text[0].contains("serial.json: it is missing")
            && text[0].contains("restore this file from a backup"),
        "{text:?}"
    );
    assert_eq!(warnings(), Vec::<String>::new(), "the record exists");
}

/// A new PKI would accept a key of any machine as a node's first key.
#[test]
fn an_answer_to_a_request_creates_no_pki() {
    let folder = Folder::new();
    let path = folder.path();
    let answer = || {
        let (cluster, own) = (cluster(), Authority::Own);
        crate::pki::open(Opener::Signer, &path, &cluster, &own, LIFETIMES, now()).map(drop)
    };
    let refused = |expected: Vec<String>, what: &str| {
        let error = answer().unwrap_err().to_string();
        assert!(error.contains("mount or restore"), "{what}: {error}");
        let names = folder.modes().into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), expected, "{what}");
    };
    folder.node(now(), 101).unwrap();
    answer().unwrap();
    for name in ["signing.key", "signing.pub"] {
        let text = fs::read(folder.file(name)).unwrap();
        fs::remove_file(folder.file(name)).unwrap();
        let names = folder.modes().into_iter().map(|(name, _)| name);
        refused(names.collect(), name);
        fs::write(folder.file(name), text).unwrap();
    }
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(Vec::new(), "a folder whose file system is not mounted");
    fs::remove_dir(&path).unwrap();
    answer().unwrap_err();
    assert!(!path.exists(), "a missing folder was created");
}
