//! The lifetimes of certificates.

use recipes::recipe::Tls;

/// The lifetimes of certificates, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// The builder's own CA.
    pub authority: u32,
    /// A node's certificates. They expire with the CA at the latest.
    pub certificate: u32,
    /// A node's certificate that has less than this left is replaced by the next build.
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
