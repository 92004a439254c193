//! The lifetimes of certificates.

use recipes::recipe::Tls;

/// The lifetimes of certificates, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// The lifetime of the builder's own CA.
    pub authority: u32,
    /// The lifetime of a node's certificates. They expire with the CA at the latest.
    pub certificate: u32,
    /// The remaining lifetime below which the next build replaces a node's certificate.
    pub renew_before: u32,
}

impl From<&Tls> for Lifetimes {
    fn from(tls: &Tls) -> Self {
        Self {
            authority: tls.authority_days,
            certificate: tls.certificate_days,
            renew_before: tls.renew_before_days,
        }
    }
}
