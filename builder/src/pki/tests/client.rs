use super::*;
use crate::documentation::{documented, keys};
use crate::pki::client::{ClientFiles, issue_client, newest_client};

fn named(name: &str) -> ClientName {
    name.parse().unwrap()
}

/// Issues a certificate that is valid for an hour into the folder `out`.
fn issue_to(folder: &Folder, name: &str, out: &Path) -> Result<(), PkiError> {
    let (dir, life) = (folder.path(), Duration::hours(1));
    issue_client(&dir, &Authority::Own, &named(name), life, Some(out), now()).map(drop)
}

#[test]
fn an_operators_certificate_is_short_lived_and_signed_by_the_clusters_ca() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    let life = Duration::hours(12);
    let made = issue_client(&dir, &Authority::Own, &named("alice"), life, None, now()).unwrap();
    assert_eq!(documented("json.md", "builder pki client"), keys(&made));
    assert_eq!(made.subject, "O=demo, CN=alice");
    let files = ClientFiles::of(&dir.join("clients/alice"));
    for path in [&files.ca, &files.cert, &files.key] {
        let permissions = fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, 0o600, "{}", path.display());
    }
    let [ca, cert, key] = files.read(now()).unwrap();
    assert_eq!(ca, fs::read_to_string(dir.join("ca.crt")).unwrap());
    assert!(key.contains("PRIVATE KEY"));
    let leaf = Certificate::all(&cert).unwrap().remove(0);
    assert_eq!(leaf.not_after, now() + life);
    assert_eq!(leaf.ekus, ["clientAuth".to_owned()].into());
    assert!(leaf.sans.is_empty() && !leaf.authority);
    let expired = files.read(now() + life).unwrap_err().to_string();
    assert!(expired.contains("builder pki client"), "{expired}");
}

#[test]
fn a_new_client_certificate_replaces_the_certificate_of_the_same_name() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    assert_eq!(newest_client(&dir).unwrap(), None);
    let issue = |name: &str, hours| {
        let life = Duration::hours(hours);
        issue_client(&dir, &Authority::Own, &named(name), life, None, now()).unwrap()
    };
    issue("alice", 30);
    let first = ClientFiles::of(&dir.join("clients/alice"))
        .read(now())
        .unwrap();
    issue("bob", 20);
    assert_eq!(
        newest_client(&dir).unwrap(),
        Some(dir.join("clients/alice"))
    );
    issue("alice", 10);
    let second = ClientFiles::of(&dir.join("clients/alice"))
        .read(now())
        .unwrap();
    assert!(first[1] != second[1] && first[2] != second[2], "a new key");
    assert_eq!(newest_client(&dir).unwrap(), Some(dir.join("clients/bob")));
    // An interrupted replacement leaves a certificate without its key.
    fs::rename(
        dir.join("clients/bob/client.key"),
        dir.join("clients/bob.key"),
    )
    .unwrap();
    assert_eq!(
        newest_client(&dir).unwrap(),
        Some(dir.join("clients/alice"))
    );
    fs::rename(
        dir.join("clients/bob.key"),
        dir.join("clients/bob/client.key"),
    )
    .unwrap();
    // The error names a missing file.
    fs::remove_file(dir.join("clients/bob/client.crt")).unwrap();
    let missing = ClientFiles::of(&dir.join("clients/bob"))
        .read(now())
        .unwrap_err();
    assert!(
        missing.to_string().contains("client.crt: it is missing"),
        "{missing}"
    );
}

#[test]
fn a_folder_without_the_authoritys_key_issues_no_client_certificate() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    fs::remove_file(dir.join("ca.key")).unwrap();
    let life = Duration::hours(1);
    let error =
        issue_client(&dir, &Authority::Own, &named("alice"), life, None, now()).unwrap_err();
    assert!(error.to_string().contains("--recipe"), "{error}");
    assert!(!dir.join("clients").exists(), "files were written");
}

#[test]
fn a_client_certificate_replaces_no_other_file_of_the_pki() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    let issue = |out: &Path| {
        let life = Duration::hours(1);
        let name = named("alice");
        issue_client(&dir, &Authority::Own, &name, life, Some(out), now())
    };
    let ca = fs::read(dir.join("ca.crt")).unwrap();
    for out in [
        "",
        "nodes/etcd-1",
        "nodes/../nodes/new",
        "new/folder",
        "clients/bob",
    ] {
        let error = issue(&dir.join(out)).unwrap_err().to_string();
        assert!(error.contains("inside the PKI folder"), "{out}: {error}");
    }
    assert_eq!(fs::read(dir.join("ca.crt")).unwrap(), ca);
}

#[test]
fn a_client_certificate_replaces_no_file_of_another_pki() {
    let (folder, other) = (Folder::new(), Folder::new());
    folder.open(now()).unwrap();
    other.node(now(), 101).unwrap();
    let ca = fs::read(other.file("ca.crt")).unwrap();
    for out in ["", "nodes/etcd-1", "new/folder"] {
        let error = issue_to(&folder, "alice", &other.file(out)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("inside the PKI folder") && error.contains("name another folder"),
            "{out}: {error}"
        );
    }
    // The folder of a user's CA has no signing key.
    fs::remove_file(other.file("signing.key")).unwrap();
    let error = issue_to(&folder, "alice", &other.path()).unwrap_err();
    assert!(error.to_string().contains("the key of a CA"), "{error}");
    assert_eq!(fs::read(other.file("ca.crt")).unwrap(), ca);
    let beside = other.file("alice");
    issue_to(&folder, "alice", &beside).unwrap();
}

#[test]
fn a_client_certificate_replaces_only_files_of_the_same_client_and_ca() {
    let (folder, other) = (Folder::new(), Folder::new());
    folder.open(now()).unwrap();
    other.open(now()).unwrap();
    let base = folder.0.path();
    let refused = |out: &Path, file: &str| {
        let path = out.join(file);
        let before = fs::read(&path).unwrap();
        let error = issue_to(&folder, "alice", out).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{file}: it ")) && error.contains("move this file"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before, "{file} was replaced");
    };
    let out = |name: &str| base.join(name);
    issue_to(&other, "alice", &out("other")).unwrap();
    refused(&out("other"), "ca.crt");
    fs::remove_file(out("other/ca.crt")).unwrap();
    refused(&out("other"), "client.crt");
    fs::remove_file(out("other/client.crt")).unwrap();
    refused(&out("other"), "client.key");
    issue_to(&folder, "bob", &out("bob")).unwrap();
    refused(&out("bob"), "client.crt");
    issue_to(&folder, "alice", &out("alice")).unwrap();
    fs::copy(out("bob/client.key"), out("alice/client.key")).unwrap();
    refused(&out("alice"), "client.key");
    // The file contains the cluster's CA and another CA.
    let ca = fs::read_to_string(folder.file("ca.crt")).unwrap();
    let both = ca.clone() + &fs::read_to_string(other.file("ca.crt")).unwrap();
    fs::create_dir(out("both")).unwrap();
    fs::write(out("both/ca.crt"), both).unwrap();
    refused(&out("both"), "ca.crt");
    fs::write(out("both/ca.crt"), ca).unwrap();
    issue_to(&folder, "alice", &out("both")).unwrap();
}

#[test]
fn a_client_certificate_is_renewed_in_its_folder_after_expiry_rotation_and_interruption() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let out = folder.0.path().join("alice");
    let files = ClientFiles::of(&out);
    let renew = |now| {
        let life = Duration::hours(1);
        let (dir, name) = (folder.path(), named("alice"));
        issue_client(&dir, &Authority::Own, &name, life, Some(&out), now).unwrap();
        files.read(now).unwrap()
    };
    let first = renew(now());
    let second = renew(now() + Duration::days(2));
    assert_ne!(first[2], second[2], "a new key");
    rotate(&folder.path(), LIFETIMES.authority, now()).unwrap();
    retire(&folder.path(), now()).unwrap();
    let third = renew(now());
    assert_ne!(first[0], third[0], "another CA");
    // An interruption leaves a certificate without its key.
    fs::remove_file(&files.key).unwrap();
    renew(now());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
}

#[test]
fn the_operators_own_ca_issues_a_client_certificate() {
    let (given, folder) = (Folder::new(), Folder::new());
    given.open(now()).unwrap();
    let provided = Authority::Provided {
        cert: given.path().join("ca.crt"),
        key: given.path().join("ca.key"),
    };
    open(&folder.path(), &cluster(), &provided, LIFETIMES, now()).unwrap();
    let out = given.0.path().join("desk");
    let life = Duration::hours(1);
    let made = issue_client(
        &folder.path(),
        &provided,
        &named("alice"),
        life,
        Some(&out),
        now(),
    );
    assert_eq!(made.unwrap().key, out.join("client.key"));
    ClientFiles::of(&out).read(now()).unwrap();
}

#[test]
fn the_common_name_is_the_name_of_the_etcd_user_but_not_of_a_node() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    let dir = folder.path();
    let issue = |name: &str| {
        let life = Duration::hours(1);
        issue_client(&dir, &Authority::Own, &named(name), life, None, now())
    };
    for name in ["Alice", "alice_b", "alice@example.com"] {
        let made = issue(name).unwrap();
        assert_eq!(made.subject, format!("O=demo, CN={name}"));
        let files = ClientFiles::of(&dir.join("clients").join(name));
        files.read(now()).unwrap();
        let json = serde_json::to_value(&made).unwrap();
        assert_eq!(json["name"], name);
    }
    for name in ["etcd-1", "etcd-1.cluster.local"] {
        let error = issue(name).unwrap_err().to_string();
        assert!(error.contains("a node's name"), "{error}");
        assert!(!dir.join("clients").join(name).exists());
    }
}
