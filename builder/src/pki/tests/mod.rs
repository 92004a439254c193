mod ca_expiry;
mod client;
mod cluster;
mod contents;
mod enrolment;
mod file_store;
mod given;
mod lost;
mod openssl;
mod path_text;
mod renew;
mod rotate;
mod show;
mod unreadable;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use recipes::{Domain, Label, Sha256};
use time::Duration;

use super::certificate::{Certificate, public_half};
use super::*;

const LIFETIMES: Lifetimes = Lifetimes {
    authority: 3650,
    certificate: Duration::days(365),
    renew_before: Duration::days(30),
    nodes_ask: false,
};

/// Returns one fixed time for all tests, so that no test depends on its own duration. The time is
/// slightly in the future, so that a certificate that openssl creates during a test is already
/// valid. The builder backdates its own certificates by an hour, so openssl considers them valid
/// too.
fn now() -> OffsetDateTime {
    static NOW: std::sync::OnceLock<OffsetDateTime> = std::sync::OnceLock::new();
    *NOW.get_or_init(|| {
        OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + Duration::minutes(10)
    })
}

struct Node {
    cluster: Label,
    domain: Domain,
    name: Label,
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            cluster: "demo".parse().unwrap(),
            domain: "cluster.local".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    /// Returns a cluster that consists of only this node.
    fn cluster(&self, last: u8) -> ClusterRecord {
        let Self {
            cluster: name,
            domain,
            name: node,
        } = self;
        let nodes = [(node.clone(), [10, 101, 15, last].into())].into();
        ClusterRecord {
            name: name.clone(),
            domain: domain.clone(),
            nodes,
        }
    }

    fn at(&self, last: u8) -> Subject<'_> {
        let address = [10, 101, 15, last].into();
        Subject {
            cluster: &self.cluster,
            domain: &self.domain,
            name: &self.name,
            address,
        }
    }
}

/// Returns the cluster that most tests use.
fn cluster() -> ClusterRecord {
    Node::new("etcd-1").cluster(101)
}

/// A folder for a PKI, with the operations that most tests perform on it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("pki")
    }

    fn open(&self, now: OffsetDateTime) -> Result<Pki, PkiError> {
        self.open_with(LIFETIMES, now)
    }

    fn open_with(&self, lifetimes: Lifetimes, now: OffsetDateTime) -> Result<Pki, PkiError> {
        open(&self.path(), &cluster(), &Authority::Own, lifetimes, now)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn leaf(&self, name: &str) -> Certificate {
        let pem = fs::read_to_string(self.file(&format!("nodes/etcd-1/{name}.crt"))).unwrap();
        Certificate::all(&pem).unwrap().remove(0)
    }

    /// Returns the node's certificates that the previous authority signed.
    fn previous_ca_tls(&self) -> Option<NodeTls> {
        self.open(now())
            .unwrap()
            .node_tls(&Node::new("etcd-1").at(101))
            .unwrap()
            .1
    }

    fn node(&self, now: OffsetDateTime, last: u8) -> Result<(NodeTls, Vec<Event>), PkiError> {
        let mut pki = self.open(now)?;
        let (tls, _) = pki.node_tls(&Node::new("etcd-1").at(last))?;
        Ok((tls, pki.events().to_vec()))
    }

    /// Returns the names of all files below the folder, with their modes.
    fn modes(&self) -> Vec<(String, u32)> {
        let mut out = Vec::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap().map(Result::unwrap) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                out.push((
                    entry
                        .path()
                        .strip_prefix(self.path())
                        .unwrap()
                        .display()
                        .to_string(),
                    mode,
                ));
                if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        out.sort();
        out
    }
}

/// Opens the PKI folder of a cluster as a build does, and records the serial of the build's image.
fn open(
    dir: &Path,
    cluster: &ClusterRecord,
    authority: &Authority,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Pki, PkiError> {
    let pki = super::open(Opener::Build, dir, cluster, authority, lifetimes, now)?;
    pki.reserve_image_serial(Sha256::of(b"image"))?;
    pki.publish_image_serial()?;
    Ok(pki)
}

#[test]
fn a_build_in_a_new_folder_creates_an_authority_and_a_nodes_certificates() {
    let folder = Folder::new();
    let (tls, events) = folder.node(now(), 101).unwrap();
    assert_eq!(tls.ca, fs::read_to_string(folder.file("ca.crt")).unwrap());
    assert_eq!(events.len(), 5, "{events:?}");
    let server = folder.leaf("server");
    assert_eq!(server.common_name.as_deref(), Some("etcd-1.cluster.local"));
    let sans = [
        "DNS:etcd-1",
        "DNS:etcd-1.cluster.local",
        "DNS:localhost",
        "IP:10.101.15.101",
        "IP:127.0.0.1",
        "IP:::1",
    ];
    assert_eq!(server.sans, sans.map(str::to_owned).into());
    assert_eq!(
        server.ekus,
        ["clientAuth", "serverAuth"].map(str::to_owned).into()
    );
    assert_eq!(server.not_before, now_hour_before(&server));
    assert_eq!(folder.leaf("peer").ekus, server.ekus);
    let client = folder.leaf("client");
    assert_eq!(client.common_name.as_deref(), Some("root"));
    assert_eq!((client.ekus.len(), client.sans.len()), (1, 0));
    assert!(Certificate::all(&tls.ca).unwrap()[0].authority);
}

fn now_hour_before(certificate: &Certificate) -> OffsetDateTime {
    certificate.not_after - Duration::days(365) - Duration::hours(1)
}

#[test]
fn a_second_build_issues_nothing_and_returns_the_same_documents() {
    let folder = Folder::new();
    let (first, _) = folder.node(now(), 101).unwrap();
    let before = folder.modes();
    let (second, events) = folder.node(now() + Duration::days(300), 101).unwrap();
    assert_eq!((first, vec![]), (second, events));
    assert_eq!(before, folder.modes());
}

#[test]
fn the_next_build_finishes_a_build_killed_between_key_and_certificate() {
    let folder = Folder::new();
    folder.open(now()).unwrap();
    // A build creates the authority before the signing key.
    for name in ["signing.key", "serial.json"] {
        fs::remove_file(folder.file(name)).unwrap();
    }
    for (gone, kept) in [
        ("ca.crt", "ca.key"),
        ("nodes/etcd-1/peer.crt", "nodes/etcd-1/peer.key"),
    ] {
        let key = fs::read(folder.file(kept)).unwrap();
        fs::remove_file(folder.file(gone)).unwrap();
        fs::write(folder.file(".unfinished-x"), "half").unwrap();
        folder.node(now(), 101).unwrap();
        assert!(folder.file(gone).exists() && !folder.file(".unfinished-x").exists());
        assert_eq!(fs::read(folder.file(kept)).unwrap(), key);
    }
    // A certificate without its key cannot be used.
    fs::remove_file(folder.file("nodes/etcd-1/peer.key")).unwrap();
    let (_, events) = folder.node(now(), 101).unwrap();
    assert!(
        events[0].to_string().contains("its private key is missing"),
        "{events:?}"
    );
}

#[test]
fn a_build_fails_instead_of_replacing_a_lost_file() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    fs::remove_file(folder.file("signing.key")).unwrap();
    let error = folder.open(now()).unwrap_err().to_string();
    assert!(
        error.contains("signing.key") && error.contains("backup"),
        "{error}"
    );
    for name in ["ca.key", "ca.crt"] {
        fs::remove_file(folder.file(name)).unwrap();
    }
    let error = folder.open(now()).unwrap_err().to_string();
    assert!(error.contains("restore ca.crt and ca.key"), "{error}");
}

#[test]
fn only_the_owner_can_read_the_keys_under_any_umask() {
    for umask in ["000", "077", "777"] {
        let folder = Folder::new();
        let script = format!("umask {umask}; exec \"$0\" --exact pki::tests::child --ignored");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env("PKI_TEST_FOLDER", folder.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "umask {umask}: {output:?}");
        assert_eq!(
            fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        let modes = folder.modes();
        assert!(modes.len() >= 12);
        for (name, mode) in modes {
            let expected = match Path::new(&name).extension().and_then(|e| e.to_str()) {
                Some("key") => 0o600,
                Some("crt" | "pub" | "json") => 0o644,
                _ if name == ".lock" => mode & 0o600,
                _ => 0o700,
            };
            assert_eq!(mode, expected, "{name} under umask {umask}");
        }
    }
}

#[test]
#[ignore = "run by only_the_owner_can_read_the_keys_under_any_umask, in its own process"]
fn child() {
    // `make test-all` also runs this function as a separate test. That run does not set
    // PKI_TEST_FOLDER, so the function does nothing.
    let Some(folder) = std::env::var_os("PKI_TEST_FOLDER") else {
        return;
    };
    let dir = PathBuf::from(folder).join("pki");
    let mut pki = open(&dir, &cluster(), &Authority::Own, LIFETIMES, now()).unwrap();
    pki.node_tls(&Node::new("etcd-1").at(101)).unwrap();
}

#[test]
fn concurrent_builds_share_one_authority() {
    let folder = Folder::new();
    let all: Vec<NodeTls> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| folder.node(now(), 101).unwrap().0))
            .collect();
        builds
            .into_iter()
            .map(|build| build.join().unwrap())
            .collect()
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_key_that_others_can_read_stops_the_build() {
    let folder = Folder::new();
    folder.node(now(), 101).unwrap();
    for name in ["ca.key", "signing.key", "nodes/etcd-1/server.key"] {
        let path = folder.file(name);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = folder.node(now(), 101).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("0644") && error.contains("chmod 600"),
            "{error}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn the_object_stores_credentials_in_the_folder_are_read_and_must_be_secret() {
    let folder = Folder::new();
    let pki = folder.open(now()).unwrap();
    assert_eq!(pki.store_keys().unwrap(), None);
    let path = folder.file("s3-keys");
    fs::write(
        &path,
        "AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=secret\n",
    )
    .unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(
        pki.store_keys()
            .unwrap_err()
            .to_string()
            .contains("its mode is 0640")
    );
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(pki.store_keys().unwrap().unwrap().id, "AKIA");
    fs::write(&path, "AWS_ACCESS_KEY_ID=AKIA\n").unwrap();
    let said = pki.store_keys().unwrap_err().to_string();
    assert!(
        said.contains("s3-keys")
            && said.contains("AWS_SECRET_ACCESS_KEY")
            && !said.contains("AKIA"),
        "{said}"
    );
}
