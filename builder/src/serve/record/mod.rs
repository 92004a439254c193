//! The records that `builder serve` keeps for each node: the progress of its installation, the time
//! at which its document was handed out, and the digests of the node's documents in the outputs
//! that were served. The installation and the delivery have separate files, because an operator can
//! allow each of them again.
//!
//! ```text
//! STATE/CLUSTER/first-build          created by the cluster's first build; shows that a document
//!                                    without a record has not been handed out
//! STATE/CLUSTER/NODE/install.json
//! STATE/CLUSTER/NODE/document.json
//! STATE/CLUSTER/NODE/served.json     digests of the documents in the outputs that were served
//! ```
//!
//! The folder belongs to the cluster and not to one output. A server must not reinstall the
//! machines of a running cluster, even if it serves another output, a new build, or a copy of the
//! output on another host. No build can determine what is on a machine's disk. Therefore, the
//! server installs a machine only if `builder allow` has permitted the installation. With
//! `--reinstall`, the server also installs a machine whose node has requested its own
//! reinstallation. The first delivery of a document needs no permission: the first build generates
//! the document's keys, so no machine can have received the document before.

mod convert;
mod document;
mod install;
pub(super) mod time;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use recipes::{Label, Sha256};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::text_file::{Fingerprint, fingerprint};

pub(crate) use document::DocumentDelivery;
pub(crate) use install::{InstallEventKind, Installation, NextBoot};

/// The file that shows that the record began with the first build.
const FIRST_BUILD: &str = "first-build";
const INSTALL: &str = "install.json";
const DOCUMENT: &str = "document.json";
const SERVED: &str = "served.json";
/// The maximum number of documents that the record remembers for each node.
const MAX_SERVED: usize = 8;
/// The maximum size of a record. A valid record is never this large.
const MAX_RECORD_BYTES: u64 = 1 << 16;

/// The record of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    folder: PathBuf,
}

/// Chooses the folder of records: the given folder, or the default. The folder need not exist.
pub(crate) fn folder(given: Option<&Path>, out: &Path) -> Result<PathBuf> {
    let folder = given.map_or_else(|| default_folder(out), Path::to_owned);
    let is_other = folder.exists() && !folder.is_dir();
    ensure!(
        !is_other,
        "{} is not a folder; name the folder of the server's records with --state",
        folder.display()
    );
    Ok(folder)
}

/// Returns the default folder of records, `out.state` next to `out`, just as the certificates are
/// in `out.pki`.
fn default_folder(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".state");
    out.with_file_name(name)
}

impl Record {
    /// Returns the record of a cluster in a folder of records. The record need not exist.
    pub(crate) fn new(state: &Path, cluster: &Label) -> Self {
        Self {
            folder: state.join(cluster.as_str()),
        }
    }

    /// Begins the record of a cluster at the cluster's first build. Keeps the record of a first
    /// build that was interrupted.
    pub(crate) fn begin(&self, now: SystemTime) -> Result<()> {
        if self.is_complete() {
            return Ok(());
        }
        make(&self.folder)?;
        put(
            &self.folder,
            FIRST_BUILD,
            (time::text(now) + "\n").as_bytes(),
        )
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns whether the record is complete. If the record is complete, a document that it does
    /// not mention has never been handed out.
    pub(crate) fn is_complete(&self) -> bool {
        self.folder.join(FIRST_BUILD).is_file()
    }

    /// Returns the record of a node's installation, or `None` if there is none.
    pub(crate) fn installation(&self, node: &Label) -> Result<Option<Installation>> {
        self.read(node, INSTALL, "--install")
    }

    /// Returns the time at which each node's record of an installation was last written.
    pub(crate) fn installation_changes(&self) -> Result<BTreeMap<Label, SystemTime>> {
        let list = || -> io::Result<BTreeMap<Label, SystemTime>> {
            let mut changes = BTreeMap::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                let name: Option<Label> = entry.file_name().to_str().and_then(|n| n.parse().ok());
                if let (Some(node), Ok(meta)) = (name, fs::metadata(entry.path().join(INSTALL))) {
                    changes.insert(node, meta.modified()?);
                }
            }
            Ok(changes)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            changes => changes.with_context(|| format!("cannot list {}", self.folder.display())),
        }
    }

    /// Returns the record of a document's delivery, or `None` if there is none.
    pub(crate) fn delivery(&self, node: &Label) -> Result<Option<DocumentDelivery>> {
        self.read(node, DOCUMENT, "--document")
    }

    /// Returns the fingerprint of the file with the record of a document's delivery. The
    /// fingerprint changes at each write, even if the new record equals the old one.
    pub(crate) fn delivery_fingerprint(&self, node: &Label) -> Option<Fingerprint> {
        fingerprint(&self.folder.join(node.as_str()).join(DOCUMENT)).ok()
    }

    /// Returns the fingerprint of the file with the record of an installation. The fingerprint
    /// changes at each write, even if the new record equals the old one.
    pub(crate) fn installation_fingerprint(&self, node: &Label) -> Option<Fingerprint> {
        fingerprint(&self.folder.join(node.as_str()).join(INSTALL)).ok()
    }

    pub(crate) fn put_installation(&self, node: &Label, installation: &Installation) -> Result<()> {
        self.write(node, INSTALL, installation)
    }

    pub(crate) fn put_delivery(&self, node: &Label, delivery: &DocumentDelivery) -> Result<()> {
        self.write(node, DOCUMENT, delivery)
    }

    /// Returns the digests of the newest documents that the served outputs contained for a node.
    /// Only the node and the operator have these digests, so a machine proves its identity with
    /// such a digest. A damaged record is treated as empty. In this case, the machine cannot prove
    /// its identity with an earlier document.
    pub(crate) fn served(&self, node: &Label) -> Vec<Sha256> {
        let recorded = self.read(node, SERVED, "--document");
        recorded.unwrap_or_default().unwrap_or_default()
    }

    /// Records that an output contains a node's document with this digest.
    pub(crate) fn note_served(&self, node: &Label, digest: Sha256) -> Result<()> {
        let mut served = self.served(node);
        if served.contains(&digest) {
            return Ok(());
        }
        served.push(digest);
        let surplus = served.len().saturating_sub(MAX_SERVED);
        self.write(node, SERVED, &served.split_off(surplus))
    }

    /// Locks the record until the returned file is dropped. Other processes and threads that lock
    /// the record wait for this lock.
    pub(crate) fn lock(&self) -> Result<File> {
        make(&self.folder)?;
        let path = self.folder.join(".lock");
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        lock().with_context(|| format!("cannot lock {}", path.display()))
    }

    fn read<T: DeserializeOwned>(
        &self,
        node: &Label,
        name: &str,
        option: &str,
    ) -> Result<Option<T>> {
        let path = self.folder.join(node.as_str()).join(name);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let record = serde_json::from_slice(&bytes);
        record.map(Some).with_context(|| {
            format!(
                "{} is damaged; run `builder allow {node} {option}` to replace it",
                path.display()
            )
        })
    }

    fn write<T: Serialize>(&self, node: &Label, name: &str, record: &T) -> Result<()> {
        let folder = self.folder.join(node.as_str());
        make(&folder)?;
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        put(&folder, name, &text)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_RECORD_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a folder that only its owner can access, because the folder contains the tokens of
/// running installations.
fn make(folder: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file durably and atomically.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(name))?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", folder.join(name).display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record(root: &Path) -> Record {
        Record::new(&default_folder(&root.join("out")), &"demo".parse().unwrap())
    }

    #[test]
    fn installation_and_document_are_recorded_separately() {
        let root = tempfile::tempdir().unwrap();
        let record = record(root.path());
        let node: Label = "etcd-1".parse().unwrap();
        assert_eq!(record.installation(&node).unwrap(), None);
        let now = SystemTime::now();
        let mut installation = Installation::allowed();
        installation.note_sent("secret".to_owned(), now);
        record.put_installation(&node, &installation).unwrap();
        let mut delivery = DocumentDelivery::allowed();
        delivery.mark_delivered(now);
        record.put_delivery(&node, &delivery).unwrap();
        record
            .put_delivery(&node, &DocumentDelivery::allowed())
            .unwrap();
        assert_eq!(record.installation(&node).unwrap(), Some(installation));
        assert_eq!(
            record.delivery(&node).unwrap(),
            Some(DocumentDelivery::allowed())
        );
        let mode = fs::metadata(root.path().join("out.state/demo/etcd-1"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(
            mode & 0o777,
            0o700,
            "the folder must be private, because it contains tokens"
        );
    }

    #[test]
    fn the_newest_documents_of_the_outputs_are_remembered() {
        let root = tempfile::tempdir().unwrap();
        let record = record(root.path());
        let node: Label = "etcd-1".parse().unwrap();
        assert!(record.served(&node).is_empty());
        for number in [0, 1, 2, 1, 3, 4, 5, 6, 7, 8, 9] {
            record.note_served(&node, Sha256::of(&[number])).unwrap();
        }
        let kept: Vec<Sha256> = (2..=9).map(|number: u8| Sha256::of(&[number])).collect();
        assert_eq!(record.served(&node), kept);
        assert_eq!(
            record.delivery(&node).unwrap(),
            None,
            "no document was handed out"
        );
        fs::write(root.path().join("out.state/demo/etcd-1/served.json"), "[").unwrap();
        assert!(record.served(&node).is_empty());
    }

    #[test]
    fn a_record_does_not_grow_with_the_installations_that_a_node_asks_for() {
        let (image, now) = (Sha256::of(b"image"), SystemTime::UNIX_EPOCH);
        let (mut recorded, mut sizes) = (None, Vec::new());
        for _ in 0..3 {
            let mut asked = Installation::asked_by_node(recorded, image, now);
            asked.note_sent("token".to_owned(), now);
            let healthy = asked.report("token", recipes::InstallStage::Healthy, None, now);
            healthy.unwrap();
            sizes.push(serde_json::to_vec(&asked).unwrap().len());
            recorded = Some(asked);
        }
        assert_eq!(sizes[1], sizes[2], "{recorded:?}");
    }

    #[test]
    fn only_the_first_build_begins_a_complete_record() {
        let root = tempfile::tempdir().unwrap();
        let record = record(root.path());
        record
            .put_installation(&"etcd-1".parse().unwrap(), &Installation::allowed())
            .unwrap();
        assert!(!record.is_complete());
        record.begin(SystemTime::UNIX_EPOCH).unwrap();
        assert!(record.is_complete());
        let path = root.path().join("out.state/demo/first-build");
        let begun = fs::read(&path).unwrap();
        record.begin(SystemTime::now()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), begun, "begun a second time");
    }

    #[test]
    fn a_damaged_record_is_named_with_the_command_that_replaces_it() {
        let root = tempfile::tempdir().unwrap();
        let record = record(root.path());
        let node: Label = "etcd-1".parse().unwrap();
        record
            .put_installation(&node, &Installation::allowed())
            .unwrap();
        for damage in ["", "{", "{\"attempts\":-1}", "{\"attempts\":0,\"more\":1}"] {
            fs::write(
                root.path().join("out.state/demo/etcd-1/install.json"),
                damage,
            )
            .unwrap();
            let error = format!("{:#}", record.installation(&node).unwrap_err());
            assert!(
                error.contains("install.json is damaged; run `builder allow etcd-1 --install`"),
                "{error}"
            );
        }
    }
}
