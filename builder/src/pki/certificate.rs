//! A parsed certificate: the facts that decide whether a node can use it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use recipes::Sha256;
use rustls::CertificateError;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

/// A parsed certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) common_name: Option<String>,
    pub(super) organization: Option<String>,
    /// The names and addresses, such as `DNS:localhost` and `IP:127.0.0.1`.
    pub(super) sans: BTreeSet<String>,
    /// The purposes, such as `serverAuth`.
    pub(super) ekus: BTreeSet<String>,
    /// Whether the basic constraints mark the certificate as a CA, and the key usage, if present,
    /// allows signing certificates.
    pub(super) authority: bool,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// The subject's public key (`SubjectPublicKeyInfo`, DER).
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// Parses all certificates in a PEM string, which must contain at least one.
    pub(super) fn all(pem: &str) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            all.push(Self::from_der(
                &der.map_err(|error| format!("it is not valid PEM ({error})"))?,
            )?);
        }
        if all.is_empty() {
            return Err(
                "it contains no certificate; expected PEM with BEGIN CERTIFICATE".to_owned(),
            );
        }
        Ok(all)
    }

    fn from_der(der: &[u8]) -> Result<Self, String> {
        let broken = |error: &dyn std::fmt::Display| {
            format!("it is not a valid X.509 certificate ({error})")
        };
        let (rest, x509) = X509Certificate::from_der(der).map_err(|error| broken(&error))?;
        if !rest.is_empty() {
            return Err(broken(&"there is data after the certificate"));
        }
        let basic = x509.basic_constraints().map_err(|error| broken(&error))?;
        let usage = x509.key_usage().map_err(|error| broken(&error))?;
        let extended = x509.extended_key_usage().map_err(|error| broken(&error))?;
        let names = x509
            .subject_alternative_name()
            .map_err(|error| broken(&error))?;
        Ok(Self {
            der: der.to_vec(),
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            common_name: text(x509.subject().iter_common_name().next()),
            organization: text(x509.subject().iter_organization().next()),
            sans: names
                .map(|ext| ext.value.general_names.iter().map(san).collect())
                .unwrap_or_default(),
            ekus: extended
                .map(|ext| {
                    let known = [
                        (ext.value.any, "any"),
                        (ext.value.server_auth, "serverAuth"),
                    ]
                    .into_iter()
                    .chain([(ext.value.client_auth, "clientAuth")]);
                    let known = known
                        .filter(|(set, _)| *set)
                        .map(|(_, name)| name.to_owned());
                    known
                        .chain(ext.value.other.iter().map(ToString::to_string))
                        .collect()
                })
                .unwrap_or_default(),
            authority: basic.is_some_and(|ext| ext.value.ca)
                && usage.is_none_or(|ext| ext.value.key_cert_sign()),
            not_before: x509.validity().not_before.to_datetime(),
            not_after: x509.validity().not_after.to_datetime(),
            public_key: x509.public_key().raw.to_vec(),
        })
    }

    /// Returns the SHA-256 fingerprint, which `openssl x509 -fingerprint -sha256` also prints.
    pub(super) fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.der)
    }
}

/// Returns whether the extended key usage of a certificate (DER) allows TLS servers. Returns false
/// for a certificate without this extension.
///
/// # Errors
///
/// Fails if the bytes are not a certificate.
pub(crate) fn is_for_servers(der: &[u8]) -> Result<bool, String> {
    let certificate = Certificate::from_der(der)?;
    Ok(["serverAuth", "any"]
        .iter()
        .any(|purpose| certificate.ekus.contains(*purpose)))
}

/// Formats a time according to RFC 3339, such as `2027-01-15T08:00:00Z`.
pub(super) fn utc(moment: OffsetDateTime) -> String {
    let moment = moment.to_offset(time::UtcOffset::UTC);
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}

fn text(attribute: Option<&AttributeTypeAndValue<'_>>) -> Option<String> {
    attribute
        .and_then(|attribute| attribute.as_str().ok())
        .map(str::to_owned)
}

fn san(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::IPAddress(octets) => {
            let four = <[u8; 4]>::try_from(*octets).map(|o| IpAddr::from(Ipv4Addr::from(o)));
            let any = four.or_else(|_| {
                <[u8; 16]>::try_from(*octets).map(|o| IpAddr::from(Ipv6Addr::from(o)))
            });
            any.map_or_else(
                |_| format!("IP:{octets:02x?}"),
                |address| format!("IP:{address}"),
            )
        }
        other => other.to_string(),
    }
}

/// Returns the public half (`SubjectPublicKeyInfo`, DER) of a private key in PEM (PKCS #8, SEC 1 or
/// PKCS #1).
pub(super) fn public_half(key_pem: &str) -> Result<Vec<u8>, String> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| "not a private key (expected an unencrypted key in PEM)".to_owned())?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| {
        "a private key of an unsupported kind (expected ECDSA P-256 or P-384, Ed25519 or RSA)"
            .to_owned()
    })?;
    key.public_key()
        .map(|public| public.to_vec())
        .ok_or_else(|| "a private key without its public half".to_owned())
}

/// Checks, as the nodes' TLS library does, that a chain (leaf first) leads to one of the
/// authorities. The leaf must also be valid for TLS clients, like every leaf certificate of this
/// project.
pub(super) fn chains(
    chain: &[Certificate],
    authorities: &[Certificate],
    now: OffsetDateTime,
) -> Result<(), String> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("no certificate".to_owned());
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let der = CertificateDer::from(authority.der.as_slice()).into_owned();
        roots
            .add(der)
            .map_err(|error| format!("`{}` cannot be a CA: {error}", authority.subject))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(ring::default_provider()),
    )
    .build()
    .map_err(|error| error.to_string())?;
    let intermediates: Vec<_> = intermediates
        .iter()
        .map(|c| CertificateDer::from(c.der.as_slice()))
        .collect();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verifier.verify_client_cert(
        &CertificateDer::from(leaf.der.as_slice()),
        &intermediates,
        at,
    ) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let names: Vec<&str> = authorities.iter().map(|a| a.subject.as_str()).collect();
            Err(format!(
                "it is signed by `{}`, but `{}` must sign it",
                leaf.issuer,
                names.join("` or `")
            ))
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => Err(format!(
            "it names `{}` as its issuer, but that CA's key did not sign it",
            leaf.issuer
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_certificate_causes_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            // All cases share one certificate, because creating a certificate is slow.
            static ISSUED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                let names = vec!["etcd-1".to_owned(), "10.0.0.1".to_owned()];
                let key = rcgen::KeyPair::generate().unwrap();
                let params = rcgen::CertificateParams::new(names).unwrap();
                params.self_signed(&key).unwrap().der().to_vec()
            });
            let mut altered = ISSUED.clone();
            for (at, byte) in harm {
                let at = at.index(altered.len());
                altered[at] = byte;
            }
            for der in [&bytes, &altered] {
                let pem = recipes::pem::encode("CERTIFICATE", der);
                if let Ok(found) = Certificate::all(&pem) {
                    let _ = (chains(&found, &found, found[0].not_before), utc(found[0].not_after));
                }
                let _ = Certificate::all(&String::from_utf8_lossy(der));
                let _ = public_half(&recipes::pem::encode("PRIVATE KEY", der));
            }
        }
    }
}
