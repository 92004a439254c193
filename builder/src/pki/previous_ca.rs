//! A node's certificates from the authority that is being replaced. The node presents these
//! certificates until all members trust the new authority. Members that do not yet trust the new
//! authority accept these certificates, so a node can be reinstalled during the rotation.

use std::path::Path;

use rcgen::{Issuer, KeyPair as IssuerKey, SubjectPublicKeyInfo};
use recipes::node::{DocumentCertificate, KeyPair, NodeTls};

use super::certificate::Certificate;
use super::validate::{self, ExpectedKey, Mismatch, Requirements, Role, Subject};
use super::{Event, Pki, PkiError, PublicKeys, files, issue, store};

/// The name of the folder, inside the node's folder, with the certificates from the previous
/// authority.
const PREVIOUS_FOLDER: &str = "before";

impl Pki {
    /// Returns all three certificates, with their keys, from the previous authority. If one of the
    /// certificates can no longer be used, archives all three with their keys, and returns `None`.
    pub(super) fn previous_ca_tls(
        &mut self,
        node: &Path,
        subject: &Subject<'_>,
    ) -> Result<Option<NodeTls>, PkiError> {
        self.previous(node, |pki, folder, role| {
            let (cert, key) = files(folder, role);
            let pair = store::read(&cert)?
                .zip(store::read_secret(&key)?)
                .map(|(cert, key)| KeyPair { cert, key });
            Ok(pair.filter(|pair| {
                let key = ExpectedKey::Private(Some(&pair.key));
                pki.is_trusted(&pair.cert, key, role, subject)
            }))
        })
    }

    /// Returns the certificates from the previous authority for a node that generated its keys
    /// itself. If there are no such certificates for the node's current keys, and the PKI folder
    /// still contains the previous authority's key, this function issues the certificates. Without
    /// these certificates, a node that is reinstalled during the rotation could not connect to the
    /// members that do not trust the new authority yet. These members trust the new authority only
    /// after a restart, and do not restart while a member is missing.
    pub(super) fn previous_ca_certificates(
        &mut self,
        node: &Path,
        subject: &Subject<'_>,
        keys: &PublicKeys,
    ) -> Result<Option<NodeTls<DocumentCertificate>>, PkiError> {
        let found = self.found_certificates(node, subject, keys)?;
        match self.signer.previous_issuer(&self.dir, self.now)? {
            Some(issuer) if found.is_none() => {
                self.sign_by_previous(&issuer, &node.join(PREVIOUS_FOLDER), subject, keys)?;
                self.found_certificates(node, subject, keys)
            }
            _ => Ok(found),
        }
    }

    /// Issues all three certificates from the previous authority.
    fn sign_by_previous(
        &self,
        issuer: &(Certificate, Issuer<'static, IssuerKey>),
        folder: &Path,
        subject: &Subject<'_>,
        keys: &PublicKeys,
    ) -> Result<(), PkiError> {
        store::folder(folder)?;
        for role in Role::ALL {
            let path = files(folder, role).0;
            let key =
                SubjectPublicKeyInfo::from_der(keys.of(role)).map_err(PkiError::make(&path))?;
            let life = self.lifetimes.certificate;
            let made = issue::issue(issuer, role, subject, &key, life, (None, self.now));
            let made = made.map_err(PkiError::make(&path))?;
            store::overwrite(&path, made.as_bytes(), store::PUBLIC)?;
        }
        Ok(())
    }

    /// Returns the certificates from the previous authority. If one of the certificates cannot be
    /// used, archives the folder that contains them, and returns `None`.
    fn found_certificates(
        &mut self,
        node: &Path,
        subject: &Subject<'_>,
        keys: &PublicKeys,
    ) -> Result<Option<NodeTls<DocumentCertificate>>, PkiError> {
        self.previous(node, |pki, folder, role| {
            let cert = store::read(&files(folder, role).0)?;
            let key = ExpectedKey::Public(keys.of(role));
            let cert = cert.filter(|cert| pki.is_trusted(cert, key, role, subject));
            Ok(cert.map(|cert| DocumentCertificate { cert, key: None }))
        })
    }

    fn previous<P>(
        &mut self,
        node: &Path,
        read: impl Fn(&Self, &Path, Role) -> Result<Option<P>, PkiError>,
    ) -> Result<Option<NodeTls<P>>, PkiError> {
        let folder = node.join(PREVIOUS_FOLDER);
        if !store::exists(&folder)? {
            return Ok(None);
        }
        let [server, peer, client] = Role::ALL.map(|role| read(self, &folder, role));
        let (Some(server), Some(peer), Some(client)) = (server?, peer?, client?) else {
            let why = if self.is_retired(&folder)? {
                "the CA of the certificates in this folder is no longer trusted"
            } else {
                "a certificate in this folder is missing, or cannot be used, for example because it has expired or is not for the node's present keys"
            };
            let why = why.to_owned();
            let kept = store::archive(&folder, self.now)?;
            self.events.push(Event::Archived {
                path: folder,
                why,
                kept,
            });
            return Ok(None);
        };
        Ok(Some(NodeTls {
            ca: self.signer.pem.clone(),
            server,
            peer,
            client,
        }))
    }

    /// Returns whether a certificate in this folder is from a CA that is no longer trusted.
    fn is_retired(&self, folder: &Path) -> Result<bool, PkiError> {
        for role in Role::ALL {
            let pem = store::read(&files(folder, role).0)?.unwrap_or_default();
            let chain = Certificate::all(&pem).unwrap_or_default();
            let is_trusted = |last: &Certificate| {
                let mut trusted = self.signer.trusted.iter();
                trusted.any(|authority| authority.subject == last.issuer)
            };
            if chain.last().is_some_and(|last| !is_trusted(last)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// If the builder is about to replace a certificate because of the new authority, keeps the old
    /// certificate. If the builder generated the certificate's private key, also keeps the key. If
    /// the build is killed during this step, the next build repeats the step.
    pub(super) fn keep_previous(
        &self,
        node: &Path,
        (cert, held, mismatches): (Option<&str>, ExpectedKey<'_>, Option<&[Mismatch]>),
        role: Role,
        subject: &Subject<'_>,
    ) -> Result<(), PkiError> {
        let by_another = mismatches.is_some_and(|mismatches| {
            mismatches
                .iter()
                .any(|mismatch| matches!(mismatch, Mismatch::Chain(_)))
        });
        let Some(pem) = cert.filter(|_| by_another) else {
            return Ok(());
        };
        if !self.is_trusted(pem, held, role, subject) {
            return Ok(());
        }
        let ((cert, key), folder) = (files(node, role), node.join(PREVIOUS_FOLDER));
        let (second, second_key) = files(&folder, role);
        store::folder(&folder)?;
        if let ExpectedKey::Private(_) = held {
            store::link(&key, &second_key)?;
        }
        store::link(&cert, &second)
    }

    /// Returns whether a node can use a certificate. Any of the trusted authorities may have signed
    /// the certificate.
    fn is_trusted(
        &self,
        cert: &str,
        key: ExpectedKey<'_>,
        role: Role,
        subject: &Subject<'_>,
    ) -> bool {
        let requirements = Requirements {
            authorities: &self.signer.trusted,
            ..self.requirements(role, subject)
        };
        !validate::mismatches(cert, key, &requirements)
            .iter()
            .any(Mismatch::is_fatal)
    }
}
