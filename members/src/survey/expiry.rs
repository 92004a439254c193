//! When the certificates that a member presents expire. etcd does not warn before a certificate
//! expires.

use std::net::SocketAddr;

use rustls::pki_types::UnixTime;

use crate::etcd::Credentials;
use crate::moment::date;
use crate::reason::{Reason, ReasonId};

const DAY: u64 = 86400;
/// How many days before the expiry the warning appears. By default the builder renews certificates
/// 90 days before they expire.
const WARNING_DAYS: u64 = 30;

/// The port on which a member serves its peers.
const PEER_PORT: u16 = 2380;

/// Returns when an endpoint's certificate expires, or `None` if the handshake fails. The failure is
/// reported elsewhere.
pub(super) async fn certificate_expiry(
    endpoint: &str,
    credentials: &Credentials,
) -> Option<UnixTime> {
    let address = endpoint.strip_prefix("https://")?.parse().ok()?;
    credentials.served_until(address).await.ok()
}

/// Returns when the certificate that the member presents to its peers expires.
pub(super) async fn peer_certificate_expiry(
    endpoint: &str,
    credentials: &Credentials,
) -> Option<UnixTime> {
    let mut address: SocketAddr = endpoint.strip_prefix("https://")?.parse().ok()?;
    address.set_port(PEER_PORT);
    credentials.served_until(address).await.ok()
}

/// Returns the number of whole days until that time. The number is negative after that time.
pub(super) fn days_left(until: UnixTime, now: UnixTime) -> i64 {
    let seconds = |time: UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    (seconds(until) - seconds(now)).div_euclid(DAY.cast_signed())
}

/// Returns a warning if a certificate expires soon.
pub(super) fn advice(until: Option<UnixTime>, now: UnixTime) -> Option<Reason> {
    let until = until?;
    let days = until.as_secs().saturating_sub(now.as_secs()) / DAY;
    (days < WARNING_DAYS).then(|| {
        ReasonId::CertificateExpiring.because(format!(
            "its certificate expires in {days} days, on {}: build a new image, and run `firstboot \
             update` on the member",
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
