//! The PKI of one cluster: a folder with the authority, each node's certificates, and the signing
//! key. A build checks existing files, creates missing files, and never overwrites a node's private
//! key.
//!
//! ```text
//! DIR/                0700
//!   ca.crt            the authority, or several authorities while one replaces another
//!   cluster.json      the cluster that the folder belongs to
//!   ca.key            0600; absent if the authority is the user's
//!   signing.key       0600; ed25519; signs node documents, the manifest and the image release
//!   signing.pub       the public half of signing.key, which the image trusts
//!   serial.json       the serial and the digest of the newest image
//!   next-serial.json  the same for an image whose build has not finished; exists only if a build
//!                     failed or was interrupted
//!   nodes/NAME/{server,peer,client}.{crt,key}
//!   nodes/NAME/enrolled.pub           the public keys of a node that generated its keys itself;
//!                                     replaces the three `.key` files
//!   nodes/NAME/approved-key           the fingerprint of the keys that an operator approved
//!   nodes/NAME/asked-key              the fingerprint of the keys whose request is waiting for
//!                                     approval
//!   nodes/NAME/contents-digest        0600; the digest of the other parts of the node's document
//!   nodes/NAME/before/{…}.{crt,key}   certificates from the previous authority, during a rotation
//!   clients/NAME/     an operator's client certificate, see `client`
//!   next-ca.key       0600; exists only if `rotate` was interrupted
//!   ….old-DATE        a replaced file
//! ```

mod approval;
mod authority;
mod ca_expiry;
mod certificate;
mod client;
mod client_folder;
mod client_name;
mod cluster;
mod contents;
mod enrolment;
mod error;
mod event;
mod image_serial;
mod issue;
mod lifetimes;
mod plan;
mod previous_ca;
mod public_keys;
mod rotate;
mod show;
mod signing;
mod store;
#[cfg(test)]
mod tests;
mod validate;

use std::path::{Path, PathBuf};

use rcgen::{KeyPair as IssuedKey, PublicKeyData};
use recipes::node::{KeyPair, NodeTls};
use recipes::{Label, PublicKey, SigningKey, StoreKeys};
use time::OffsetDateTime;

pub(crate) use approval::{Approval, FirstKeyPolicy, approval_state, approve, to_approve};
pub(crate) use authority::Authority;
pub(crate) use certificate::is_for_servers;
pub(crate) use client::{ClientFiles, issue_client, newest_client};
pub(crate) use client_name::ClientName;
pub(crate) use cluster::{ClusterRecord, Opener, assign, is_of, recorded as recorded_cluster};
pub(crate) use error::{PkiError, UnbuiltFact, approval_hint};
pub(crate) use event::Event;
pub(crate) use lifetimes::Lifetimes;
pub(crate) use public_keys::{PublicKeys, REQUEST_LIMIT};
pub(crate) use rotate::{retire, rotate};
pub(crate) use show::{show, table};
pub(crate) use signing::{signing_key, signing_public_key};
pub(crate) use validate::{Mismatch, Subject};

use authority::Signer;
use certificate::Certificate;
use plan::AuthorityPlan;
use validate::{ExpectedKey, Requirements, Role};

/// An open PKI folder. Other builds wait until this value is dropped.
#[derive(Debug)]
pub(crate) struct Pki {
    dir: PathBuf,
    signer: Signer,
    signing: SigningKey,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
    events: Vec<Event>,
    is_new: bool,
    /// Whether the rest of the node's document has changed since the node's certificates were
    /// issued. If so, the certificates must be replaced.
    are_contents_changed: bool,
    _lock: store::Lock,
}

/// The file with the object store's credentials, in the same format as on a node.
const STORE_KEYS: &str = "s3-keys";
/// The folder of the nodes' certificates.
const NODES: &str = "nodes";

/// Returns the paths of a certificate and its key.
fn files(folder: &Path, role: Role) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{}.crt", role.stem())),
        folder.join(format!("{}.key", role.stem())),
    )
}

/// Opens the PKI folder of a cluster: creates missing files, and checks existing files.
/// [`Opener::Signer`] creates no PKI.
pub(crate) fn open(
    opener: Opener,
    dir: &Path,
    cluster: &ClusterRecord,
    authority: &Authority,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Pki, PkiError> {
    let mut events = Vec::new();
    let given = authority.read(lifetimes, now, &mut events)?;
    let lock = opener.lock(dir)?;
    store::remove_partial_files(dir)?;
    // Check everything before writing anything. Otherwise, this build could write files and then
    // fail, and the next build would accept those files.
    let plan = AuthorityPlan::of(dir, given, lifetimes, now, &mut events)?;
    let record = cluster::check(dir, cluster, plan.is_ready_made())?;
    let signing = signing::read(dir)?;
    // The folder may have vanished after `Opener::lock` checked it.
    if opener == Opener::Signer && (signing.is_none() || plan.makes_authority()) {
        return Err(signing::missing(dir));
    }
    if let Some(record) = record.filter(|_| opener == Opener::Build) {
        cluster::record(dir, &record)?;
    }
    let signer = plan.execute(dir, lifetimes, now, &mut events)?;
    let signing = signing.map_or_else(|| signing::make(dir, &mut events), Ok)?;
    let is_new = !signing::is_published(dir)?;
    let mut pki = Pki {
        dir: dir.to_owned(),
        signer,
        signing,
        lifetimes,
        now,
        events,
        is_new,
        are_contents_changed: false,
        _lock: lock,
    };
    if opener == Opener::Build {
        pki.warn_if_serial_is_lost()?;
    }
    Ok(pki)
}

impl Pki {
    /// Returns the key that signs node documents, the image's manifest and the image release.
    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Returns the public half of the signing key, which the image contains.
    pub(crate) fn signing_public_key(&self) -> PublicKey {
        self.signing.public()
    }

    /// Returns whether the signing key is unpublished, which means that the builder has not issued
    /// any document signed with the key. The existence of nodes/ is not a sign of publication,
    /// because an operator may put ready-made certificates into nodes/ before the first build.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the files created or replaced so far, and warnings.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Returns the object store's credentials. An operator puts these credentials into the folder,
    /// and all nodes use them. Returns `None` if the file with the credentials does not exist.
    pub(crate) fn store_keys(&self) -> Result<Option<StoreKeys>, PkiError> {
        let path = self.dir.join(STORE_KEYS);
        let Some(text) = store::read_secret(&path)? else {
            return Ok(None);
        };
        let keys = text.parse().map_err(|expected: &str| {
            PkiError::wrong(&path, expected, "correct this file, or remove it")
        })?;
        Ok(Some(keys))
    }

    /// Returns a node's certificates: the existing certificates if they need no replacement,
    /// otherwise new certificates. During a rotation, also returns the certificates from the
    /// previous authority.
    pub(crate) fn node_tls(
        &mut self,
        subject: &Subject<'_>,
    ) -> Result<(NodeTls, Option<NodeTls>), PkiError> {
        let folder = self.node_folder(subject.name)?;
        let [server, peer, client] = Role::ALL.map(|role| self.pair(&folder, role, subject));
        let tls = NodeTls {
            ca: self.signer.pem.clone(),
            server: server?,
            peer: peer?,
            client: client?,
        };
        Ok((tls, self.previous_ca_tls(&folder, subject)?))
    }

    /// Returns the folder of a node, and creates it if necessary. Also publishes the signing key.
    fn node_folder(&self, name: &Label) -> Result<PathBuf, PkiError> {
        // After the publication, the PKI folder no longer counts as new.
        signing::publish(&self.dir, &self.signing)?;
        let nodes = self.dir.join(NODES);
        store::folder(&nodes)?;
        let folder = nodes.join(name.as_str());
        store::folder(&folder)?;
        store::remove_partial_files(&folder)?;
        Ok(folder)
    }

    fn pair(
        &mut self,
        folder: &Path,
        role: Role,
        subject: &Subject<'_>,
    ) -> Result<KeyPair, PkiError> {
        let (cert, key) = files(folder, role);
        let (found, found_key) = (store::read(&cert)?, store::read_secret(&key)?);
        let old = found.clone();
        let wrong = found.as_deref().map(|pem| {
            self.mismatches(
                pem,
                ExpectedKey::Private(found_key.as_deref()),
                role,
                subject,
            )
        });
        match (found, found_key, wrong.as_deref()) {
            (Some(cert), Some(key), Some([])) => return Ok(KeyPair { cert, key }),
            (Some(found), Some(found_key), Some(mismatches)) if self.signer.issuer.is_none() => {
                self.accept_provided(&cert, mismatches)?;
                return Ok(KeyPair {
                    cert: found,
                    key: found_key,
                });
            }
            (None, ..) if self.signer.issuer.is_none() => {
                return Err(PkiError::wrong(
                    &cert,
                    "it is missing, and there is no ca.key to issue a new certificate",
                    "put the node's certificate and key into the node's folder, or put the CA's key next to ca.crt",
                ));
            }
            (_, None, Some(mismatches)) if self.signer.issuer.is_none() => {
                return Err(PkiError::Unfit {
                    path: cert,
                    mismatches: mismatches.to_vec(),
                });
            }
            // A build was killed after it wrote the key and before it wrote the certificate. No
            // node has received the key, so this build can use the key.
            (None, Some(pem), _) if IssuedKey::from_pem(&pem).is_ok() => {}
            (has_cert, has_key, _) => {
                let wrong = wrong.as_deref();
                let held = ExpectedKey::Private(has_key.as_deref());
                self.keep_previous(folder, (has_cert.as_deref(), held, wrong), role, subject)?;
                self.archive_pair(has_cert.map(|_| &*cert), has_key.map(|_| &*key), wrong)?;
            }
        }
        self.issue((&cert, old.as_deref()), &key, role, subject)
    }

    fn mismatches(
        &self,
        cert: &str,
        key: ExpectedKey<'_>,
        role: Role,
        subject: &Subject<'_>,
    ) -> Vec<Mismatch> {
        let mut found = validate::mismatches(cert, key, &self.requirements(role, subject));
        found.extend(self.are_contents_changed.then_some(Mismatch::OtherContents));
        found
    }

    fn requirements<'a>(&'a self, role: Role, subject: &Subject<'a>) -> Requirements<'a> {
        let (_, new_until) = authority::validity(self.now, self.lifetimes.certificate);
        let issuer = self
            .signer
            .issuer
            .as_ref()
            .map(|(certificate, _)| certificate);
        Requirements {
            role,
            subject: *subject,
            // A certificate that the builder issued must be from the current issuer, because
            // otherwise a CA could never be phased out.
            authorities: issuer.map_or(self.signer.trusted.as_slice(), std::slice::from_ref),
            now: self.now,
            renew_if_expiring_before: authority::validity(self.now, self.lifetimes.renew_before).1,
            new_until: issuer.map_or(new_until, |issuer| new_until.min(issuer.not_after)),
            authority_until: issuer.map_or(new_until, |issuer| issuer.not_after),
            nodes_ask: self.lifetimes.nodes_ask,
        }
    }

    /// Checks a ready-made certificate. A mismatch that would make etcd or TLS fail on the node is
    /// an error, and any other mismatch is a warning.
    fn accept_provided(&mut self, cert: &Path, mismatches: &[Mismatch]) -> Result<(), PkiError> {
        if mismatches.iter().any(Mismatch::is_fatal) {
            let fatal = mismatches
                .iter()
                .filter(|mismatch| mismatch.is_fatal())
                .cloned()
                .collect();
            return Err(PkiError::Unfit {
                path: cert.to_owned(),
                mismatches: fatal,
            });
        }
        self.events.push(Event::Warning {
            path: cert.to_owned(),
            text: Mismatch::list(mismatches),
        });
        Ok(())
    }

    /// Archives an unusable certificate and its key. If the build is killed after it has archived
    /// the certificate, only the key remains, and the next build issues a new certificate for that
    /// key.
    fn archive_pair(
        &mut self,
        cert: Option<&Path>,
        key: Option<&Path>,
        why: Option<&[Mismatch]>,
    ) -> Result<(), PkiError> {
        let mut kept = Vec::new();
        for path in [cert, key].into_iter().flatten() {
            kept.push((path.to_owned(), store::archive(path, self.now)?));
        }
        // Report only one event for the certificate and its key, because they are always replaced
        // together.
        if let Some((path, kept)) = kept.into_iter().next() {
            let why = why.map_or_else(|| "it is not a private key".to_owned(), Mismatch::list);
            self.events.push(Event::Replaced { path, why, kept });
        }
        Ok(())
    }

    fn issue(
        &mut self,
        (cert, old): (&Path, Option<&str>),
        key: &Path,
        role: Role,
        subject: &Subject<'_>,
    ) -> Result<KeyPair, PkiError> {
        if !store::exists(key)? {
            let pair = IssuedKey::generate().map_err(PkiError::make(key))?;
            store::put(key, pair.serialize_pem().as_bytes(), store::SECRET)?;
        }
        let key_pem = store::read_secret(key)?.unwrap_or_default();
        let pair = IssuedKey::from_pem(&key_pem).map_err(PkiError::make(key))?;
        let cert_pem = self.sign(role, subject, &pair, (cert, old))?;
        store::put(cert, cert_pem.as_bytes(), store::PUBLIC)?;
        self.events.push(Event::Made {
            path: cert.to_owned(),
        });
        Ok(KeyPair {
            cert: cert_pem,
            key: key_pem,
        })
    }

    /// Signs a certificate for a key, and returns the certificate. The caller must write it to the
    /// path `cert`, where it replaces `old`.
    fn sign(
        &self,
        role: Role,
        subject: &Subject<'_>,
        key: &impl PublicKeyData,
        (cert, old): (&Path, Option<&str>),
    ) -> Result<String, PkiError> {
        let Some(issuer) = &self.signer.issuer else {
            return Err(PkiError::wrong(
                &self.dir.join("ca.key"),
                "it is missing, so the builder cannot issue certificates",
                "put the CA's key into this file",
            ));
        };
        let old = old.and_then(|pem| Certificate::all(pem).ok());
        let after = old.map(|chain| chain[0].not_before);
        let life = self.lifetimes.certificate;
        issue::issue(issuer, role, subject, key, life, (after, self.now))
            .map_err(PkiError::make(cert))
    }
}
