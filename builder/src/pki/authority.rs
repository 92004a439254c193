//! The signer of the nodes' certificates: a CA that the builder creates once and keeps, the user's
//! CA, or no signer if the certificates are ready-made.

use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use recipes::Sha256;
use recipes::recipe::{AuthorityFiles, Tls};
use ring::rand::{SecureRandom as _, SystemRandom};
use time::{Duration, OffsetDateTime};

use super::ca_expiry::{AuthorityUse, check_expiry};
use super::certificate::{Certificate, chains, utc};
use super::{Event, Lifetimes, PkiError, store};

/// The CA that signs the nodes' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authority {
    /// The builder's own CA. If the folder has `ca.crt` but no `ca.key`, all certificates are
    /// ready-made, and the builder does not change them.
    Own,
    /// The user's CA.
    Provided {
        /// The certificate, in PEM. During a rotation, the file can contain several certificates.
        /// All these certificates are trusted, and the certificate that matches the key signs.
        cert: PathBuf,
        /// The private key, in PEM (PKCS #8).
        key: PathBuf,
    },
}

/// The maximum time by which the start of a certificate's validity is backdated, so that a node
/// whose clock is slow also accepts the certificate.
pub(super) const BACKDATE: Duration = Duration::hours(1);

/// The authorities that nodes trust, and the authority that signs.
#[derive(Debug)]
pub(super) struct Signer {
    /// The complete text of `ca.crt`, which every node receives.
    pub(super) pem: String,
    /// The certificates in `ca.crt`, parsed.
    pub(super) trusted: Vec<Certificate>,
    /// The issuer with its certificate, or `None` if the certificates are ready-made.
    pub(super) issuer: Option<(Certificate, Issuer<'static, KeyPair>)>,
}

impl Signer {
    /// Reads and checks the files of an authority, without writing anything.
    pub(super) fn read(
        cert: &Path,
        key: Option<&Path>,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
        events: &mut Vec<Event>,
    ) -> Result<Self, PkiError> {
        let (pem, trusted) = read_cert(cert)?;
        for certificate in &trusted {
            check(cert, certificate, now)?;
        }
        let issuer = key
            .map(|key| issuer(key, cert, &trusted, now))
            .transpose()?;
        for certificate in &trusted {
            let use_of = match &issuer {
                Some((issuer, _)) if issuer == certificate => AuthorityUse::Signs,
                Some(_) => AuthorityUse::IsTrusted,
                None => AuthorityUse::SignedElsewhere,
            };
            events.extend(check_expiry(cert, certificate, use_of, lifetimes, now)?);
        }
        Ok(Self {
            pem,
            trusted,
            issuer,
        })
    }
}

impl Signer {
    /// Returns the issuer that is being replaced. Returns `None` if the issuer is no longer trusted
    /// or has expired, or if the folder does not contain the issuer's key.
    pub(super) fn previous_issuer(
        &self,
        dir: &Path,
        now: OffsetDateTime,
    ) -> Result<Option<(Certificate, Issuer<'static, KeyPair>)>, PkiError> {
        let Some((current, _)) = &self.issuer else {
            return Ok(None);
        };
        let mut previous = self.trusted.clone();
        previous.retain(|certificate| {
            certificate.public_key != current.public_key && now < certificate.not_after
        });
        if previous.is_empty() {
            return Ok(None);
        }
        for path in store::list(dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("ca.key.old-") {
                continue;
            }
            let public = read_key(&path).map(|pair| pair.subject_public_key_info());
            let is_of =
                |certificate: &Certificate| public.as_ref().ok() == Some(&certificate.public_key);
            if previous.iter().any(is_of) {
                return issuer(&path, &dir.join("ca.crt"), &previous, now).map(Some);
            }
        }
        Ok(None)
    }
}

impl Authority {
    /// Returns the authority that the recipe names. If the recipe names none, returns the builder's
    /// own authority. `folder` is the recipe's folder.
    pub(crate) fn of(tls: &Tls, folder: &Path) -> Self {
        match &tls.authority {
            Some(AuthorityFiles { cert, key }) => Self::Provided {
                cert: folder.join(&cert.source),
                key: folder.join(&key.source),
            },
            None => Self::Own,
        }
    }

    /// Checks the user's authority, if there is one, and returns warnings, without writing
    /// anything.
    pub(crate) fn check(
        &self,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
    ) -> Result<Vec<Event>, PkiError> {
        let mut events = Vec::new();
        self.read(lifetimes, now, &mut events)?;
        Ok(events)
    }

    /// Reads and checks the user's authority, if there is one, without writing anything.
    pub(super) fn read(
        &self,
        lifetimes: Lifetimes,
        now: OffsetDateTime,
        events: &mut Vec<Event>,
    ) -> Result<Option<Signer>, PkiError> {
        match self {
            Self::Own => Ok(None),
            Self::Provided { cert, key } => {
                Signer::read(cert, Some(key), lifetimes, now, events).map(Some)
            }
        }
    }
}

pub(super) fn read_cert(path: &Path) -> Result<(String, Vec<Certificate>), PkiError> {
    let missing = || {
        PkiError::wrong(
            path,
            "the CA's certificate is missing",
            "put the certificate into this file, in PEM",
        )
    };
    let pem = store::read(path)?.ok_or_else(missing)?;
    let all = Certificate::all(&pem)
        .map_err(|why| PkiError::wrong(path, why, "provide the CA's certificate in PEM"))?;
    Ok((pem, all))
}

pub(super) fn read_key(path: &Path) -> Result<KeyPair, PkiError> {
    let missing = || {
        PkiError::wrong(
            path,
            "the CA's key is missing",
            "put the key into this file, in PEM",
        )
    };
    let pem = store::read_secret(path)?.ok_or_else(missing)?;
    KeyPair::from_pem(&pem).map_err(|error| {
        PkiError::wrong(
            path,
            format!(
                "it is not a private key that can sign ({error}); expected an unencrypted PKCS #8 \
                 key in PEM"
            ),
            "convert the key with `openssl pkcs8 -topk8 -nocrypt`, under umask 077",
        )
    })
}

/// Refuses a certificate that is not a CA certificate, or that is not valid yet.
fn check(path: &Path, certificate: &Certificate, now: OffsetDateTime) -> Result<(), PkiError> {
    let wrong = |found: String, remedy: &str| {
        PkiError::wrong(path, format!("`{}` {found}", certificate.subject), remedy)
    };
    if !certificate.authority {
        return Err(wrong(
            "is not a CA certificate; expected CA:TRUE and keyCertSign".to_owned(),
            "provide a CA's certificate",
        ));
    }
    if now < certificate.not_before {
        let found = format!(
            "is valid only from {}, but this machine's clock shows {}",
            utc(certificate.not_before),
            utc(now)
        );
        return Err(wrong(found, "set this machine's clock"));
    }
    Ok(())
}

fn issuer(
    key: &Path,
    cert: &Path,
    trusted: &[Certificate],
    now: OffsetDateTime,
) -> Result<(Certificate, Issuer<'static, KeyPair>), PkiError> {
    let pair = read_key(key)?;
    let public = pair.subject_public_key_info();
    // A CA can have several certificates for the same key. Prefer a certificate that has not
    // expired.
    let mut certificates = trusted
        .iter()
        .filter(|certificate| certificate.public_key == public);
    let first = certificates.clone().next();
    let Some(certificate) = certificates
        .find(|certificate| now < certificate.not_after)
        .or(first)
    else {
        let found = format!(
            "it is not the key of `{}` in {}",
            trusted[0].subject,
            cert.display()
        );
        return Err(PkiError::wrong(
            key,
            found,
            "provide a key and a certificate that match",
        ));
    };
    let der = certificate.der.as_slice().into();
    let refused = |why: String| {
        let found = format!(
            "the builder cannot sign with `{}`: {why}",
            certificate.subject
        );
        let remedy = "use a CA whose subject contains each attribute at most once, such as one CN, \
                      and that may sign `localhost` and the names of the nodes";
        PkiError::wrong(cert, found, remedy)
    };
    let issuer = Issuer::from_ca_cert_der(&der, pair);
    let issuer = issuer.map_err(|error| refused(error.to_string()))?;
    check_issuer(certificate, &issuer, now)
        .map_err(|why| refused(format!("no node would accept a certificate from it: {why}")))?;
    Ok((certificate.clone(), issuer))
}

/// Signs a certificate for `localhost`, and checks it as the nodes do. rcgen keeps only one value
/// of each attribute of a subject. A CA with a subject such as `DC=com, DC=example` would therefore
/// sign under another name, and no node would accept the certificate. A CA may also restrict the
/// names that it signs.
fn check_issuer(
    authority: &Certificate,
    issuer: &Issuer<'static, KeyPair>,
    now: OffsetDateTime,
) -> Result<(), String> {
    let signed = || -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(["localhost".to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, Duration::days(1));
        Ok(params.signed_by(&KeyPair::generate()?, issuer)?.pem())
    };
    let leaf = Certificate::all(&signed().map_err(|error| error.to_string())?)?;
    chains(&leaf, std::slice::from_ref(authority), now)
}

/// Creates the certificate of the builder's own CA. The certificate is valid for `days` days.
pub(super) fn own(
    pair: &KeyPair,
    days: u32,
    now: OffsetDateTime,
) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    // The CA's name contains a part of the key's digest, so that two CAs of this project have
    // different names.
    let digest = Sha256::of(&pair.subject_public_key_info()).to_string();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "etcd-image");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("etcd CA {}", &digest[..8]));
    // The CA signs only leaf certificates, because the builder never creates an intermediate CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial_number()?);
    (params.not_before, params.not_after) = validity(now, Duration::days(i64::from(days)));
    params.self_signed(pair)
}

/// Returns the start and the end of the validity. The validity starts before `now`, by [`BACKDATE`]
/// or a tenth of the lifetime, whichever is shorter. The validity ends a lifetime after `now`, but
/// no later than the last date that a certificate can contain.
pub(super) fn validity(now: OffsetDateTime, life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    // RFC 5280 (4.1.2.5) assigns this date to certificates without a well-defined expiration date.
    let last = OffsetDateTime::UNIX_EPOCH + StdDuration::from_secs(253_402_300_799);
    (
        now - BACKDATE.min(life / 10),
        now.checked_add(life).unwrap_or(last).min(last),
    )
}

/// Returns 16 random bytes as a positive serial number of constant length. RFC 5280 (4.1.2.2)
/// allows at most 20 bytes, and the CA/Browser Forum requires at least 64 random bits.
pub(super) fn serial_number() -> Result<rcgen::SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(rcgen::SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_and_sixteen_bytes() {
        for _ in 0..64 {
            let serial = serial_number().unwrap().to_bytes();
            assert!(serial.len() == 16 && (0x40..0x80).contains(&serial[0]));
        }
    }

    #[test]
    fn a_lifetime_ends_at_the_last_possible_date() {
        let (_, until) = validity(OffsetDateTime::UNIX_EPOCH, Duration::days(4_000_000));
        assert_eq!(utc(until), "9999-12-31T23:59:59Z");
    }
}
