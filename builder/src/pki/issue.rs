//! Issues the certificate of one node for one purpose.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use time::{Duration, OffsetDateTime};

use super::authority::{serial_number, validity};
use super::certificate::Certificate;
use super::validate::{Role, Subject};

/// Creates a certificate for a key, signs the certificate with the authority's key, and returns it
/// in PEM. The certificate never outlives the authority. `after` is the start of the replaced
/// certificate's validity. If `after` is in the past, the validity of the new certificate starts
/// later than `after`. This holds even if the recipe now has a longer lifetime, with which the
/// start would be backdated further.
pub(super) fn issue(
    (authority, issuer): &(Certificate, Issuer<'static, KeyPair>),
    role: Role,
    subject: &Subject<'_>,
    key: &impl PublicKeyData,
    life: Duration,
    (after, now): (Option<OffsetDateTime>, OffsetDateTime),
) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, subject.cluster.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, role.common_name(subject));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = role
        .ekus()
        .iter()
        .map(|eku| match *eku {
            "serverAuth" => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        })
        .collect();
    params.subject_alt_names = role
        .sans(subject)
        .iter()
        .map(|text| san(text))
        .collect::<Result<_, _>>()?;
    params.serial_number = Some(serial_number()?);
    params.use_authority_key_identifier_extension = true;
    let (from, until) = validity(now, life);
    // Nodes compare certificates by the start of their validity.
    let later = after.map_or(from, |after| from.max(after + Duration::seconds(1)));
    (params.not_before, params.not_after) = (later.min(now), until.min(authority.not_after));
    Ok(params.signed_by(key, issuer)?.pem())
}

fn san(text: &str) -> Result<SanType, rcgen::Error> {
    if let Some(address) = text
        .strip_prefix("IP:")
        .and_then(|address| address.parse::<IpAddr>().ok())
    {
        return Ok(SanType::IpAddress(address));
    }
    Ok(SanType::DnsName(
        text.trim_start_matches("DNS:").try_into()?,
    ))
}
