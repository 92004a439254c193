//! The date on which the certificate that a member presents to clients expires. etcd does not warn
//! before a certificate expires.

use rustls::pki_types::UnixTime;

use crate::certificates::date;
use crate::reason::{Reason, ReasonId};
use crate::rotation;

const DAY: u64 = 86400;
/// How many days before the expiry the warning appears. By default the builder renews certificates
/// 90 days before they expire.
const WARNING_DAYS: u64 = 30;

/// The time at which an endpoint's certificate expires, or `None` if the handshake fails, which is
/// reported elsewhere.
pub(super) async fn certificate_expiry(endpoint: &str) -> Option<UnixTime> {
    let address = endpoint.strip_prefix("https://")?.parse().ok()?;
    rotation::shown_until(address).await.ok()
}

/// The warning that a certificate expires soon.
pub(super) fn advice(until: Option<UnixTime>, now: UnixTime) -> Option<Reason> {
    let until = until?;
    let days = until.as_secs().saturating_sub(now.as_secs()) / DAY;
    (days < WARNING_DAYS).then(|| {
        ReasonId::CertificateExpiring.because(format!(
            "its certificate expires in {days} days, on {}: build again, and run `firstboot update` on the member",
            date(until)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_that_expires_soon_is_reported() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * DAY));
        assert_eq!(advice(None, at(0)), None);
        assert_eq!(advice(Some(at(20_030)), at(20_000)), None);
        let said = advice(Some(at(20_029)), at(20_000)).unwrap().text;
        assert!(said.contains("in 29 days, on 2024-11-02"), "{said}");
        assert!(
            advice(Some(at(19_000)), at(20_000))
                .unwrap()
                .text
                .contains("in 0 days")
        );
    }
}
