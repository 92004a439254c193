//! The lifetimes of certificates.

use recipes::recipe::Tls;
use time::Duration;

/// The lifetimes of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// The lifetime of the builder's own CA, in days.
    pub authority: u32,
    /// The lifetime of a node's certificates. The certificates expire no later than the CA.
    pub certificate: Duration,
    /// A node's certificate whose remaining lifetime is shorter than this is replaced by the next
    /// build, or when the node requests a new one.
    pub renew_before: Duration,
    /// Whether the nodes ask for renewals when a third of a certificate's own life is left. A
    /// certificate is then also replaced when less than half of its own life is left, which may be
    /// longer than the recipe's if the recipe has changed.
    pub nodes_ask: bool,
}

impl From<&Tls> for Lifetimes {
    fn from(tls: &Tls) -> Self {
        // The recipe's lifetimes are at most a few years.
        let of = |life: std::time::Duration| Duration::try_from(life).unwrap_or(Duration::MAX);
        Self {
            authority: tls.authority_days,
            certificate: of(tls.certificate_life),
            renew_before: of(tls.renew_before),
            nodes_ask: tls.enrol.is_some(),
        }
    }
}
