//! The keys that nodes generated themselves, and their certificates. The keys in the first accepted
//! request of a node become the node's recorded keys. A request with other keys for this node is
//! refused until an operator approves those keys.

use std::net::Ipv4Addr;
use std::path::Path;

use rcgen::SubjectPublicKeyInfo;
use recipes::Label;
use recipes::node::{DocumentCertificate, NodeTls};

use super::approval::{APPROVED, ASKED, FirstKeyPolicy, approved};
use super::public_keys::{ENROLLED, read};
use super::validate::{ExpectedKey, Mismatch, Role, Subject};
use super::{Event, NODES, Pki, PkiError, PublicKeys, UnbuiltFact, cluster, files, store};

/// A node's certificates and, while an authority is being replaced, the certificates that the
/// previous authority signed.
pub(crate) type Certificates = (
    NodeTls<DocumentCertificate>,
    Option<NodeTls<DocumentCertificate>>,
);

impl Pki {
    /// Refuses a node that the last build did not include, or to which the last build assigned
    /// another address.
    pub(crate) fn check_built(&self, name: &Label, address: Ipv4Addr) -> Result<(), PkiError> {
        match cluster::recorded(&self.dir)? {
            Some(built) if built.nodes.get(name) != Some(&address) => Err(PkiError::NotBuilt {
                folder: self.dir.clone(),
                name: name.clone(),
                fact: UnbuiltFact::Address(address),
            }),
            _ => Ok(()),
        }
    }

    /// Records the keys of a request as the node's keys. Returns false if these keys were already
    /// recorded.
    ///
    /// # Errors
    ///
    /// Fails if these keys need an operator's approval but have none. The keys need an approval if
    /// the node has other keys, if an operator approved other keys, or if `first` requires an
    /// approval. Before this failure, the function records the fingerprint of the keys, so that an
    /// operator can approve them. The function also fails if one of the keys belongs to another
    /// node, as on a copied disk.
    pub(crate) fn enrol(
        &mut self,
        name: &Label,
        keys: &PublicKeys,
        first: FirstKeyPolicy,
    ) -> Result<bool, PkiError> {
        let folder = self.node_folder(name)?;
        let (record, fingerprint) = (folder.join(ENROLLED), keys.fingerprint());
        let enrolled = read(&folder)?;
        if enrolled.as_ref() == Some(keys) {
            return Ok(false);
        }
        if let Some(owner) = self.owner(name, keys)? {
            let name = name.clone();
            return Err(PkiError::KeyOfAnotherNode { name, owner });
        }
        let approved = approved(&folder)?;
        let by_right = enrolled.is_none() && approved.is_none() && first == FirstKeyPolicy::Any;
        if !by_right && approved != Some(fingerprint) {
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
            self.events.push(Event::Made { path: record });
        } else {
            let kept = store::replace(&record, text.as_bytes(), store::PUBLIC, self.now)?;
            self.events.push(Event::Replaced {
                path: record,
                why: format!("an operator approved the key {fingerprint}"),
                kept,
            });
        }
        store::remove(&folder.join(APPROVED))?;
        store::remove(&folder.join(ASKED))?;
        Ok(true)
    }

    /// Returns another node that has one of these keys.
    fn owner(&self, name: &Label, keys: &PublicKeys) -> Result<Option<String>, PkiError> {
        for folder in store::list(&self.dir.join(NODES))? {
            let other = folder.file_name().unwrap_or_default().to_string_lossy();
            if other != name.as_str() && read(&folder)?.is_some_and(|has| has.overlaps(keys)) {
                return Ok(Some(other.into_owned()));
            }
        }
        Ok(None)
    }

    /// Returns the certificates for the keys of an enrolled node: the existing certificates if they
    /// need no replacement, otherwise new certificates. Returns `None` if the node is not enrolled.
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
        let previous_ca_tls = self.previous_ca_certificates(&folder, subject, &keys)?;
        Ok(Some((tls, previous_ca_tls)))
    }

    fn certificate(
        &mut self,
        folder: &Path,
        role: Role,
        subject: &Subject<'_>,
        public: &[u8],
    ) -> Result<DocumentCertificate, PkiError> {
        let (cert, key) = files(folder, role);
        let held = ExpectedKey::Public(public);
        let found = store::read(&cert)?;
        let wrong = found
            .as_deref()
            .map(|pem| self.mismatches(pem, held, role, subject));
        let certificate = |cert| DocumentCertificate { cert, key: None };
        let (found, wrong) = match (found, wrong) {
            (Some(found), Some(wrong)) if wrong.is_empty() => return Ok(certificate(found)),
            both => both,
        };
        let (why, has_key) = (wrong.as_deref(), store::exists(&key)?);
        let spki = SubjectPublicKeyInfo::from_der(public).map_err(PkiError::make(&cert))?;
        let made = self.sign(role, subject, &spki, (&cert, found.as_deref()))?;
        // Renewed certificates are not archived, because a node renews its certificates for years,
        // and a replaced certificate has no further use.
        if why.is_some_and(|why| why.iter().all(Mismatch::is_about_expiry)) && !has_key {
            store::overwrite(&cert, made.as_bytes(), store::PUBLIC)?;
            self.events.push(Event::Renewed { path: cert });
            return Ok(certificate(made));
        }
        self.keep_previous(folder, (found.as_deref(), held, why), role, subject)?;
        // If there is a private key next to the certificate, the builder generated this
        // certificate's key.
        let key = has_key.then_some(&*key);
        if found.is_some() || key.is_some() {
            self.archive_pair(
                found.map(|_| &*cert),
                key,
                why.or(Some(&[Mismatch::WrongKey])),
            )?;
        }
        store::put(&cert, made.as_bytes(), store::PUBLIC)?;
        self.events.push(Event::Made { path: cert });
        Ok(certificate(made))
    }
}
