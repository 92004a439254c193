//! Determines the expiry times of the certificates that a member presents. etcd does not warn
//! before a certificate expires.

use std::net::SocketAddr;

use rustls::pki_types::UnixTime;

use crate::etcd::Credentials;
use crate::reason::{Reason, ReasonId};
use crate::timestamp::date;

const DAY: u64 = 86400;
/// The number of days before the expiry at which the warning appears. By default, a build renews
/// the certificates that expire within 90 days.
const WARNING_DAYS: u64 = 30;
/// The warning appears only if less than one sixth of the lifetime is left. A node that enrols
/// renews its certificates when a third of the lifetime is left.
const WARNING_PART: u64 = 6;

/// The start and the end of a certificate's validity.
type Validity = (UnixTime, UnixTime);

/// The port on which a member serves its peers.
const PEER_PORT: u16 = 2380;

/// Returns the validity of an endpoint's certificate, or `None` if the handshake fails. Another
/// check reports the failure.
pub(super) async fn client_certificate_validity(
    endpoint: &str,
    credentials: &Credentials,
) -> Option<Validity> {
    let address = endpoint.strip_prefix("https://")?.parse().ok()?;
    credentials.served_validity(address).await.ok()
}

/// Returns the validity of the certificate that the member presents to its peers.
pub(super) async fn peer_certificate_validity(
    endpoint: &str,
    credentials: &Credentials,
) -> Option<Validity> {
    let mut address: SocketAddr = endpoint.strip_prefix("https://")?.parse().ok()?;
    address.set_port(PEER_PORT);
    credentials.served_validity(address).await.ok()
}

/// Returns the number of whole days until a given time, or a negative number after that time.
pub(super) fn days_left(until: UnixTime, now: UnixTime) -> i64 {
    let seconds = |time: UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    (seconds(until) - seconds(now)).div_euclid(DAY.cast_signed())
}

/// Returns a warning if a certificate expires soon.
pub(super) fn advice(validity: Option<Validity>, now: UnixTime) -> Option<Reason> {
    let (from, until) = validity?;
    let seconds = until.as_secs().saturating_sub(now.as_secs());
    let life = until.as_secs().saturating_sub(from.as_secs());
    let days = seconds / DAY;
    (days < WARNING_DAYS && seconds < life / WARNING_PART).then(|| {
        ReasonId::CertificateExpiring.because(format!(
            "its certificate expires on {} (days left: {days}): build a new image, and run \
             `firstboot update` on the member",
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
        let of = |until, life| advice(Some((at(until - life), at(until))), at(20_000));
        assert_eq!(advice(None, at(0)), None);
        assert_eq!(of(20_030, 1095), None);
        let said = of(20_029, 1095).unwrap().text;
        assert!(
            said.contains("expires on 2024-11-02T00:00:00Z (days left: 29)"),
            "{said}"
        );
        assert!(of(19_000, 1095).unwrap().text.contains("days left: 0"));
        assert_eq!(
            of(20_010, 60),
            None,
            "a node that enrols may still renew the certificate"
        );
        assert!(of(20_009, 60).is_some());
    }
}
