//! The keys that nodes made themselves, and their certificates. The first keys for which a node's
//! certificates are signed are the node's keys. Other keys for it are refused until an operator
//! approves them.

use std::path::Path;

use rcgen::SubjectPublicKeyInfo;
use recipes::node::{Issued, NodeTls};
use recipes::{Label, Sha256};
use time::OffsetDateTime;

use super::certificate::Certificate;
use super::show::list;
use super::validate::{ExpectedKey, Mismatch, Role, Subject};
use super::{Event, NODES, Pki, PkiError, PublicKeys, cluster, files, store};

/// A node's certificates; and, while an authority is being replaced, those by the previous one.
pub(crate) type Certificates = (NodeTls<Issued>, Option<NodeTls<Issued>>);

/// Which first keys of a node are recorded as its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstKeys {
    /// Those of the first request.
    Any,
    /// Those that an operator approved.
    Approved,
}

/// The record of a node's keys, in the node's folder.
const ENROLLED: &str = "enrolled.pub";
/// The fingerprint of the keys whose request was refused last, in the node's folder.
const ASKED: &str = "asked-key";
/// The fingerprint of the keys that an operator approved, in the node's folder.
const APPROVED: &str = "approved-key";

impl Pki {
    /// Records the keys of a request as the node's.
    ///
    /// # Errors
    /// If an operator has to approve these keys first, since the node has others or since `first`
    /// demands it; and if one of the keys is
    /// another node's, as on a copied disk.
    pub(crate) fn enrol(
        &mut self,
        name: &Label,
        keys: &PublicKeys,
        first: FirstKeys,
    ) -> Result<(), PkiError> {
        let folder = self.node_folder(name)?;
        let (record, fingerprint) = (folder.join(ENROLLED), keys.fingerprint());
        let enrolled = read(&folder)?;
        if enrolled.as_ref() == Some(keys) {
            return Ok(());
        }
        if let Some(owner) = self.owner(name, keys)? {
            let name = name.clone();
            return Err(PkiError::KeyOfAnotherNode { name, owner });
        }
        let by_right = enrolled.is_none() && first == FirstKeys::Any;
        if !by_right && approved(&folder)? != Some(fingerprint) {
            let asked = format!("{fingerprint}\n");
            store::overwrite(&folder.join(ASKED), asked.as_bytes(), store::PUBLIC)?;
            return Err(PkiError::KeyNotApproved {
                folder: self.dir.clone(),
                name: name.clone(),
                enrolled: enrolled.map(|keys| keys.fingerprint()),
                asked: fingerprint,
            });
        }
        let text = keys.record();
        if enrolled.is_none() {
            store::put(&record, text.as_bytes(), store::PUBLIC)?;
            self.events.push(Event::Made(record));
        } else {
            let kept = store::replace(&record, text.as_bytes(), store::PUBLIC, self.now)?;
            self.events.push(Event::Replaced {
                path: record,
                why: format!("an operator approved the key {fingerprint}"),
                kept,
            });
        }
        remove(&folder.join(APPROVED))?;
        remove(&folder.join(ASKED))
    }

    /// The other node that has one of these keys.
    fn owner(&self, name: &Label, keys: &PublicKeys) -> Result<Option<String>, PkiError> {
        for folder in list(&self.dir.join(NODES))? {
            let other = folder.file_name().unwrap_or_default().to_string_lossy();
            if other != name.as_str() && read(&folder)?.is_some_and(|has| has.overlaps(keys)) {
                return Ok(Some(other.into_owned()));
            }
        }
        Ok(None)
    }

    /// The certificates for the keys of an enrolled node: the existing ones while they are valid,
    /// otherwise new ones. `None` if the node is not enrolled.
    pub(crate) fn certificates(
        &mut self,
        subject: &Subject<'_>,
    ) -> Result<Option<Certificates>, PkiError> {
        let folder = self.node_folder(subject.name)?;
        let Some(keys) = read(&folder)? else {
            return Ok(None);
        };
        let [server, peer, client] =
            Role::ALL.map(|role| self.certificate(&folder, role, subject, keys.of(role)));
        let tls = NodeTls {
            ca: self.signer.pem.clone(),
            server: server?,
            peer: peer?,
            client: client?,
        };
        let before = self.previous_ca_certificates(&folder, subject, &keys)?;
        Ok(Some((tls, before)))
    }

    fn certificate(
        &mut self,
        folder: &Path,
        role: Role,
        subject: &Subject<'_>,
        public: &[u8],
    ) -> Result<Issued, PkiError> {
        let (cert, key) = files(folder, role);
        let held = ExpectedKey::Public(public);
        let found = store::read(&cert)?;
        let wrong = found
            .as_deref()
            .map(|pem| self.mismatches(pem, held, role, subject));
        let issued = |cert| Issued { cert, key: None };
        let (found, wrong) = match (found, wrong) {
            (Some(found), Some(wrong)) if wrong.is_empty() => return Ok(issued(found)),
            both => both,
        };
        let why = wrong.as_deref();
        self.keep_previous(folder, (found.as_deref(), held, why), role, subject)?;
        // A key next to it is from the time when the builder made this node's keys.
        let key = key.exists().then_some(&*key);
        if found.is_some() || key.is_some() {
            self.archive_pair(
                found.map(|_| &*cert),
                key,
                why.or(Some(&[Mismatch::WrongKey])),
            )?;
        }
        let public = SubjectPublicKeyInfo::from_der(public).map_err(PkiError::make(&cert))?;
        self.sign(&cert, role, subject, &public).map(issued)
    }
}

/// Approves keys that differ from those of an enrolled node: the next request with this fingerprint
/// is signed, and its keys are the node's from then on.
pub(crate) fn approve(
    dir: &Path,
    name: &Label,
    fingerprint: Sha256,
    now: OffsetDateTime,
) -> Result<Event, PkiError> {
    let _lock = store::existing(dir)?;
    cluster::knows(dir, name)?;
    let nodes = dir.join(NODES);
    let folder = nodes.join(name.as_str());
    store::folder(&nodes)?;
    store::folder(&folder)?;
    let path = folder.join(APPROVED);
    let text = format!("{fingerprint}\n");
    if path.exists() {
        let kept = store::replace(&path, text.as_bytes(), store::PUBLIC, now)?;
        let why = "another key is approved".to_owned();
        return Ok(Event::Replaced { path, why, kept });
    }
    store::put(&path, text.as_bytes(), store::PUBLIC)?;
    Ok(Event::Made(path))
}

/// What is wrong with a certificate that has no private key next to it.
pub(super) fn problem(cert: &Path, chain: &[Certificate]) -> Result<Option<String>, PkiError> {
    let Some(keys) = cert.parent().map(read).transpose()?.flatten() else {
        return Ok(Some("its private key is missing".to_owned()));
    };
    let held = chain
        .first()
        .is_some_and(|leaf| keys.holds(&leaf.public_key));
    Ok((!held).then(|| "it is not for a key of the node".to_owned()))
}

fn read(folder: &Path) -> Result<Option<PublicKeys>, PkiError> {
    let path = folder.join(ENROLLED);
    let Some(text) = store::read(&path)? else {
        return Ok(None);
    };
    PublicKeys::of_record(&text).map(Some).ok_or_else(|| {
        let found = "it does not hold the three public keys of the node";
        PkiError::wrong(&path, found, "restore it from a backup")
    })
}

/// The fingerprint of the keys that wait for approval, if any.
pub(crate) fn asked(dir: &Path, name: &Label) -> Result<Option<Sha256>, PkiError> {
    cluster::knows(dir, name)?;
    fingerprint(&dir.join(NODES).join(name.as_str()).join(ASKED))
}

fn approved(folder: &Path) -> Result<Option<Sha256>, PkiError> {
    fingerprint(&folder.join(APPROVED))
}

fn fingerprint(path: &Path) -> Result<Option<Sha256>, PkiError> {
    let Some(text) = store::read(path)? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| {
        let found = "it does not hold the fingerprint of a key";
        PkiError::wrong(path, found, "remove it, and approve the key again")
    })
}

fn remove(path: &Path) -> Result<(), PkiError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PkiError::io("remove it", path)(error))
        }
        _ => Ok(()),
    }
}
