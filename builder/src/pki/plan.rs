//! Plans the changes that a build makes to the authority of its PKI folder. The build writes only
//! after it has checked the authority, the record of the cluster, and the signing key.

use std::path::Path;

use rcgen::KeyPair;
use time::OffsetDateTime;

use super::authority::{Signer, own, read_cert, read_key};
use super::{Event, Lifetimes, PkiError, store};

/// The planned change to a folder's authority, which has not been written yet.
#[derive(Debug)]
pub(super) enum AuthorityPlan {
    /// Create an authority. If a killed build left a key behind, use this key.
    Make(Option<KeyPair>),
    /// Keep the folder's authority.
    Keep(Signer),
    /// Write the certificates of the user's authority into the folder.
    Take(Signer),
}

impl AuthorityPlan {
    /// Returns whether the certificates are ready-made.
    pub(super) fn is_ready_made(&self) -> bool {
        matches!(self, Self::Keep(Signer { issuer: None, .. }))
    }

    /// Returns whether the plan creates an authority.
    pub(super) fn makes_authority(&self) -> bool {
        matches!(self, Self::Make(_))
    }

    /// Creates the plan from the folder's current state, without writing anything.
    pub(super) fn of(
        dir: &Path,
        given: Option<Signer>,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
        events: &mut Vec<Event>,
    ) -> Result<Self, PkiError> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        // A build creates the authority before the signing key and before the first certificate. A
        // folder that contains a signing key or certificates must therefore also contain an
        // authority.
        let used = store::exists(&dir.join("signing.key"))?
            || store::exists(&dir.join("signing.pub"))?
            || !store::list(&dir.join("nodes"))?.is_empty();
        let refused = |found: &str, remedy: &str| Err(PkiError::wrong(&key, found, remedy));
        let lost = "it is missing, but the folder has been used to sign node documents or node certificates";
        match (given, store::exists(&cert)?, store::exists(&key)?) {
            (Some(_), _, true) => refused(
                "the folder has its own CA, but the recipe names another CA",
                "name another PKI folder, or remove the CA from the recipe",
            ),
            (Some(signer), true, false) if used => {
                check_replacement(&cert, &signer)?;
                Ok(Self::Take(signer))
            }
            // If the folder has not been used, an existing ca.crt was left behind by a failed
            // build. The authority in ca.crt has signed nothing, and no node trusts it.
            (Some(signer), _, false) => Ok(Self::Take(signer)),
            // A member with certificates of a new CA could not connect to the running members,
            // which trust only the old CA.
            (None, false, false) if used => refused(
                lost,
                "restore ca.crt and ca.key from a backup, or name another folder for a new cluster",
            ),
            // During a rotation, a new ca.crt would lack the CA that is being replaced.
            (None, false, true) if used => Err(PkiError::wrong(
                &cert,
                lost,
                "restore it from a backup, or copy /etc/etcd/tls/ca.crt from a node that has its newest document",
            )),
            (None, false, false) => Ok(Self::Make(None)),
            (None, false, true) => Ok(Self::Make(Some(read_key(&key)?))),
            (None, true, has_key) => {
                let key = has_key.then_some(key.as_path());
                Signer::read(&cert, key, lifetimes, now, events).map(Self::Keep)
            }
        }
    }

    /// Executes the planned change.
    pub(super) fn execute(
        self,
        dir: &Path,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
        events: &mut Vec<Event>,
    ) -> Result<Signer, PkiError> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        match self {
            Self::Keep(signer) => Ok(signer),
            Self::Take(signer) => {
                store_provided(&signer, &cert, now, events)?;
                Ok(signer)
            }
            Self::Make(pair) => {
                let pair = pair.map_or_else(|| make_key(&key), Ok)?;
                let made = own(&pair, lifetimes.authority, now).map_err(PkiError::make(&cert))?;
                store::put(&cert, made.pem().as_bytes(), store::PUBLIC)?;
                events.push(Event::Made { path: cert.clone() });
                Signer::read(&cert, Some(&key), lifetimes, now, events)
            }
        }
    }
}

fn make_key(path: &Path) -> Result<KeyPair, PkiError> {
    let pair = KeyPair::generate().map_err(PkiError::make(path))?;
    store::put(path, pair.serialize_pem().as_bytes(), store::SECRET)?;
    Ok(pair)
}

/// Refuses to replace the authority of issued certificates if the old and the new authority have no
/// CA certificate in common. With a common CA certificate, nodes that have the old `ca.crt` and
/// nodes that have the new one trust each other, so the CA of a running cluster can be changed.
fn check_replacement(kept: &Path, given: &Signer) -> Result<(), PkiError> {
    let (old_pem, old) = read_cert(kept)?;
    if old_pem == given.pem
        || given
            .trusted
            .iter()
            .any(|certificate| old.contains(certificate))
    {
        return Ok(());
    }
    Err(PkiError::wrong(
        kept,
        format!(
            "it is `{}`, but the recipe's CA is `{}`",
            old[0].subject, given.trusted[0].subject
        ),
        "put both certificates into the ca-cert file until all nodes trust both, or name another folder",
    ))
}

/// Copies the certificates of the user's authority to `kept`, and keeps a replaced file under
/// another name.
fn store_provided(
    given: &Signer,
    kept: &Path,
    now: OffsetDateTime,
    events: &mut Vec<Event>,
) -> Result<(), PkiError> {
    let pem = given.pem.as_bytes();
    match store::read(kept)? {
        Some(old) if old == given.pem => {}
        Some(_) => {
            let aside = store::replace(kept, pem, store::PUBLIC, now)?;
            events.push(Event::Replaced {
                path: kept.to_owned(),
                why: "the recipe names another CA".to_owned(),
                kept: aside,
            });
        }
        None => {
            store::put(kept, pem, store::PUBLIC)?;
            events.push(Event::Made {
                path: kept.to_owned(),
            });
        }
    }
    Ok(())
}
