//! Replaces the authority. `rotate` creates the next authority. A node trusts both authorities
//! after it has received a document that was built after `rotate`. `retire` keeps only the signing
//! authority. If either command is killed at any moment, builds can still use the folder, and a
//! second run of the command completes the work.

use std::path::Path;

use rcgen::{KeyPair, PublicKeyData as _};
use time::OffsetDateTime;

use super::certificate::{Certificate, chains};
use super::show::leaves;
use super::{Event, PkiError, authority, store};

/// The name of the file with the next authority's key, until this key replaces `ca.key`.
const NEXT: &str = "next-ca.key";

/// The folder's own authority: the paths of its certificate and key, and all trusted certificates.
struct OwnAuthority {
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
    pem: String,
    trusted: Vec<Certificate>,
}

impl OwnAuthority {
    fn of(dir: &Path) -> Result<Self, PkiError> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !store::exists(&key)? {
            return Err(PkiError::wrong(
                &key,
                "it is missing, so the builder cannot rotate the CA in this folder, and probably did not create this CA",
                "if [tls] ca-cert and ca-key name your own CA, put the new and the old certificate \
                 into the ca-cert file and the new key into the ca-key file, and remove the old \
                 certificate at the end of the rotation",
            ));
        }
        let (pem, trusted) = authority::read_cert(&cert)?;
        Ok(Self {
            cert,
            key,
            pem,
            trusted,
        })
    }

    /// Returns the certificate of the signing authority.
    fn signer(&self) -> Result<&Certificate, PkiError> {
        let public = authority::read_key(&self.key)?.subject_public_key_info();
        self.trusted
            .iter()
            .find(|certificate| certificate.public_key == public)
            .ok_or_else(|| {
                let found = format!(
                    "it is not the key of a certificate in {}",
                    self.cert.display()
                );
                PkiError::wrong(
                    &self.key,
                    found,
                    "restore a key and a certificate that match",
                )
            })
    }

    fn subjects(&self) -> String {
        self.trusted
            .iter()
            .map(|certificate| format!("`{}`", certificate.subject))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Creates the next authority, which signs from the next build on. The previous authority stays
/// trusted.
pub(crate) fn rotate(dir: &Path, days: u32, now: OffsetDateTime) -> Result<Vec<Event>, PkiError> {
    let _lock = store::existing(dir)?;
    let own = OwnAuthority::of(dir)?;
    own.signer()?;
    let next = dir.join(NEXT);
    let mut events = Vec::new();
    if !store::exists(&next)? {
        if own.trusted.len() > 1 {
            return Err(PkiError::wrong(
                &own.cert,
                format!("it already contains {}", own.subjects()),
                "end that rotation with `builder pki retire` before you start another rotation",
            ));
        }
        let pair = KeyPair::generate().map_err(PkiError::make(&next))?;
        store::put(&next, pair.serialize_pem().as_bytes(), store::SECRET)?;
    }
    let pair = authority::read_key(&next)?;
    let public = pair.subject_public_key_info();
    if !own
        .trusted
        .iter()
        .any(|certificate| certificate.public_key == public)
    {
        let made = authority::own(&pair, days, now).map_err(PkiError::make(&own.cert))?;
        let kept = store::replace(
            &own.cert,
            (made.pem() + &own.pem).as_bytes(),
            store::PUBLIC,
            now,
        )?;
        let why = "the next CA is also trusted".to_owned();
        events.push(Event::Replaced {
            path: own.cert.clone(),
            why,
            kept,
        });
    }
    let kept = store::supersede(&own.key, &next, now)?;
    events.push(Event::Replaced {
        path: own.key,
        why: "the next CA signs from now on".to_owned(),
        kept,
    });
    Ok(events)
}

/// Removes all trusted authorities except the signing authority. Fails if a node's certificate in
/// the folder does not chain to the signing authority.
pub(crate) fn retire(dir: &Path, now: OffsetDateTime) -> Result<Vec<Event>, PkiError> {
    let _lock = store::existing(dir)?;
    let own = OwnAuthority::of(dir)?;
    let signer = own.signer()?;
    let next = dir.join(NEXT);
    if store::exists(&next)? {
        return Err(PkiError::wrong(
            &next,
            "the next CA does not sign yet",
            "run `builder pki rotate` again",
        ));
    }
    if own.trusted.len() == 1 {
        return Err(PkiError::wrong(
            &own.cert,
            format!("it contains only {}", own.subjects()),
            "there is nothing to retire",
        ));
    }
    for leaf in leaves(dir)? {
        let chain = store::read(&leaf)?.unwrap_or_default();
        let chain = Certificate::all(&chain)
            .map_err(|why| PkiError::wrong(&leaf, why, "run `builder build`, and try again"))?;
        if let Err(why) = chains(&chain, std::slice::from_ref(signer), now) {
            return Err(PkiError::wrong(
                &leaf,
                why,
                "build, give every node its new document, and try again; move the files of former \
                 nodes out of the folder",
            ));
        }
    }
    let alone = blocks(&own.pem)
        .find(|block| Certificate::all(block).is_ok_and(|found| found == [signer.clone()]));
    let alone = alone
        .ok_or_else(|| PkiError::wrong(&own.cert, "it changed in the meantime", "try again"))?;
    let kept = store::replace(
        &own.cert,
        (alone.trim_start().to_owned() + "\n").as_bytes(),
        store::PUBLIC,
        now,
    )?;
    Ok(vec![Event::Replaced {
        path: own.cert,
        why: "the previous CAs are no longer trusted".to_owned(),
        kept,
    }])
}

/// Splits a PEM string after each certificate. Every item is a certificate with the text that
/// precedes it, or the text after the last certificate.
fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive("-----END CERTIFICATE-----")
}
