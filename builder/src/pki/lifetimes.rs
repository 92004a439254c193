//! The lifetimes of certificates.

use recipes::recipe::Tls;
use time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// The lifetime of the builder's own CA, in days.
    pub authority: u32,
    /// The lifetime of a node's certificates. The certificates expire no later than the CA.
    pub certificate: Duration,
    /// If a certificate expires within this time, the next build or the node's next request
    /// replaces the certificate.
    pub renew_before: Duration,
    /// Whether the nodes request renewals. A node requests a renewal when a third of a
    /// certificate's lifetime is left. If the nodes request renewals, a certificate is also
    /// replaced when less than half of its own lifetime is left. A certificate's own lifetime
    /// differs from the recipe's lifetime if the recipe has changed.
    pub nodes_ask: bool,
}

impl From<&Tls> for Lifetimes {
    fn from(tls: &Tls) -> Self {
        // The conversion succeeds, because the recipe limits both durations to ten years.
        let of = |life: std::time::Duration| Duration::try_from(life).unwrap_or(Duration::MAX);
        Self {
            authority: tls.authority_days,
            certificate: of(tls.certificate_life),
            renew_before: of(tls.renew_before),
            nodes_ask: tls.enrol.is_some(),
        }
    }
}
