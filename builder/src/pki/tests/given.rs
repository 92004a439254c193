//! Tests of authorities and certificates that the user provides.

use std::fs;

use time::Duration;

use super::openssl::openssl;
use super::*;

/// Creates a CA with openssl, like a CA that a user might provide. Returns the paths of its
/// certificate and its key.
fn make_authority(dir: &Path, name: &str, key: &[&str]) -> (PathBuf, PathBuf) {
    let (cert, key_path) = (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    );
    let mut args = vec!["req", "-x509", "-nodes", "-days", "1000", "-newkey"];
    args.extend(key);
    let subject = format!("/O=Example/CN={name}");
    args.extend([
        "-subj",
        &subject,
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
        "-out",
    ]);
    args.extend([cert.to_str().unwrap(), "-keyout"]);
    openssl(&args, &[&key_path]);
    (cert, key_path)
}

fn provided(cert: &Path, key: &Path) -> Authority {
    Authority::Provided {
        cert: cert.to_owned(),
        key: key.to_owned(),
    }
}

/// Each CA of Active Directory has a subject with two DC attributes.
#[test]
fn a_ca_whose_certificates_no_node_would_accept_is_refused() {
    for (subject, extension, why) in [
        (
            "/DC=com/DC=example/CN=Corp CA",
            "nsComment=none",
            "must sign it",
        ),
        (
            "/CN=Corp CA",
            "nameConstraints=critical,permitted;DNS:example.com",
            "the builder cannot sign with",
        ),
    ] {
        let folder = Folder::new();
        let (cert, key) = (
            folder.0.path().join("ca.crt"),
            folder.0.path().join("ca.key"),
        );
        let args = [
            "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", subject,
        ];
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let extensions = ["-addext", usage, "-addext", extension, "-out"];
        let paths = [cert.to_str().unwrap(), "-keyout"];
        openssl(&[&args[..], &extensions, &paths].concat(), &[&key]);
        let authority = provided(&cert, &key);
        let error = open(&folder.path(), &cluster(), &authority, LIFETIMES, now()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("ca.crt") && error.contains(why) && error.contains("at most once"),
            "{error}"
        );
    }
}

#[test]
fn the_users_own_authority_signs_and_its_key_stays_where_it_is() {
    let keys: [&[&str]; 3] = [
        &["rsa:2048"],
        &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["ed25519"],
    ];
    for key in keys {
        let folder = Folder::new();
        let (cert, key) = make_authority(folder.0.path(), "given", key);
        let authority = provided(&cert, &key);
        let mut pki = open(&folder.path(), &cluster(), &authority, LIFETIMES, now()).unwrap();
        pki.node_tls(&Node::new("etcd-1").at(101)).unwrap();
        drop(pki);
        assert!(!folder.file("ca.key").exists());
        openssl(
            &["verify", "-CAfile"],
            &[
                &folder.file("ca.crt"),
                &folder.file("nodes/etcd-1/server.crt"),
            ],
        );
        // If the CA's key is missing, the builder uses the issued certificates unchanged.
        let (_, events) = folder.node(now(), 101).unwrap();
        assert_eq!(events, []);
        let error = folder.node(now(), 102).unwrap_err().to_string();
        assert!(
            error.contains("server.crt") && error.contains("IP:10.101.15.102"),
            "{error}"
        );
    }
}

#[test]
fn an_authority_is_replaced_only_through_a_file_with_both_authorities() {
    let folder = Folder::new();
    let key = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (one, one_key) = make_authority(folder.0.path(), "one", key);
    let (two, two_key) = make_authority(folder.0.path(), "two", key);
    let build = |cert: &Path, key: &Path| {
        let authority = provided(cert, key);
        let mut pki = open(&folder.path(), &cluster(), &authority, LIFETIMES, now())?;
        pki.node_tls(&Node::new("etcd-1").at(101))
    };
    build(&one, &one_key).unwrap();
    let error = build(&two, &two_key).unwrap_err().to_string();
    assert!(
        error.contains("CN=one") && error.contains("CN=two") && error.contains("both"),
        "{error}"
    );
    let error = build(&one, &two_key).unwrap_err().to_string();
    assert!(
        error.contains("two.key") && error.contains("not the key of"),
        "{error}"
    );
    let both = folder.0.path().join("both.crt");
    fs::write(
        &both,
        fs::read_to_string(&one).unwrap() + &fs::read_to_string(&two).unwrap(),
    )
    .unwrap();
    let tls = build(&both, &one_key).unwrap();
    assert_eq!(tls.0.ca.matches("BEGIN").count(), 2);
    assert_eq!(folder.leaf("server").issuer, "O=Example, CN=one");
    build(&both, &two_key).unwrap();
    assert_eq!(folder.leaf("server").issuer, "O=Example, CN=two");
    build(&two, &two_key).unwrap();
}

/// An earlier version corrupted the folder if the user provided a leaf certificate, another CA's
/// key, or an expired CA.
#[test]
fn a_refused_authority_leaves_nothing_behind() {
    let folder = Folder::new();
    let key = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let base = folder.0.path();
    let (cert, ca_key) = make_authority(base, "good", key);
    let (_, other_key) = make_authority(base, "other", key);
    let (leaf, leaf_key) = leaf_certificate(base);
    let build = |cert: &Path, key: &Path, now| {
        let authority = provided(cert, key);
        open(&folder.path(), &cluster(), &authority, LIFETIMES, now)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let broken = base.join("broken.crt");
    fs::write(&broken, "nothing").unwrap();
    for (cert, key, now, expected) in [
        (&leaf, &leaf_key, now(), "is not a CA certificate"),
        (&cert, &other_key, now(), "it is not the key of"),
        (&cert, &ca_key, now() + Duration::days(1001), "expired on"),
        (&broken, &ca_key, now(), "it contains no certificate"),
    ] {
        let error = build(cert, key, now).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(
            !folder.path().exists(),
            "{expected}: the refused build left {:?}",
            folder.modes()
        );
    }
    // An earlier version of the builder refused the authority, but left ca.crt behind. A build must
    // not use this file.
    fs::create_dir(folder.path()).unwrap();
    fs::copy(&leaf, folder.file("ca.crt")).unwrap();
    build(&cert, &ca_key, now()).unwrap();
    assert_eq!(
        fs::read(folder.file("ca.crt")).unwrap(),
        fs::read(&cert).unwrap()
    );
    refuses_another_authority(&Authority::Provided {
        cert: cert.clone(),
        key: ca_key.clone(),
    });
    // In a folder that is in use, a refused authority does not change anything.
    let before = folder.modes();
    build(&leaf, &leaf_key, now()).unwrap_err();
    assert_eq!(
        (folder.modes(), fs::read(folder.file("ca.crt")).unwrap()),
        (before, fs::read(&cert).unwrap())
    );
}

/// Creates a certificate that is not a CA certificate, and its key.
fn leaf_certificate(base: &Path) -> (PathBuf, PathBuf) {
    let leaf = base.join("leaf.crt");
    let leaf_key = base.join("leaf.key");
    let args = [
        "req", "-x509", "-nodes", "-days", "9", "-newkey", "ed25519", "-subj", "/CN=leaf",
        "-addext",
    ];
    let more = [
        "basicConstraints=critical,CA:FALSE",
        "-out",
        leaf.to_str().unwrap(),
        "-keyout",
    ];
    openssl(&[&args[..], &more[..]].concat(), &[&leaf_key]);
    (leaf, leaf_key)
}

/// Checks that a folder with its own CA refuses the user's CA.
fn refuses_another_authority(given: &Authority) {
    let own = Folder::new();
    own.node(now(), 101).unwrap();
    let error = open(&own.path(), &cluster(), given, LIFETIMES, now())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has its own CA"), "{error}");
}

#[test]
fn ready_made_certificates_are_checked_like_the_builders_certificates() {
    let folder = Folder::new();
    let other = Folder::new();
    folder.node(now(), 101).unwrap();
    other.node(now(), 101).unwrap();
    fs::remove_file(folder.file("ca.key")).unwrap();
    folder.node(now(), 101).unwrap();
    let server = |suffix: &str| format!("nodes/etcd-1/server.{suffix}");
    let ours = [server("crt"), server("key")].map(|name| fs::read(folder.file(&name)).unwrap());
    let fails = |what: &str, expected: &str| {
        let error = folder.node(now(), 101).unwrap_err().to_string();
        assert!(
            error.contains("server.crt") && error.contains(expected),
            "{what}: {error}"
        );
    };
    fs::copy(other.file(&server("key")), folder.file(&server("key"))).unwrap();
    fails(
        "another's key",
        "it does not match the private key in the same folder",
    );
    fs::copy(other.file(&server("crt")), folder.file(&server("crt"))).unwrap();
    fails("another authority's", "it is signed by");
    for kind in ["crt", "key"] {
        fs::copy(
            folder.file(&format!("nodes/etcd-1/client.{kind}")),
            folder.file(&server(kind)),
        )
        .unwrap();
    }
    fails("a client's", "its extended key usage lacks serverAuth");
    fails("a client's", "its SANs lack");
    fs::write(folder.file(&server("crt")), "garbage").unwrap();
    fails("garbage", "it contains no certificate");
    for (kind, bytes) in ["crt", "key"].iter().zip(&ours) {
        fs::write(folder.file(&server(kind)), bytes).unwrap();
    }
    let error = folder
        .node(now() + Duration::days(366), 101)
        .unwrap_err()
        .to_string();
    assert!(error.contains("it expired on"), "{error}");
    fs::remove_file(folder.file(&server("crt"))).unwrap();
    fails("none", "there is no ca.key");
}
