//! Until when the certificate is valid that a member shows to clients. etcd says nothing of it before the day it is refused.

use rustls::pki_types::UnixTime;

use crate::certificates::date;
use crate::rotation;

const DAY: u64 = 86400;
/// So many days before its end it is said; the builder renews 90 days before, by default.
const SOON: u64 = 30;

/// Asks an endpoint; nothing, where no handshake comes about: that is said otherwise.
pub(super) async fn until(endpoint: &str) -> Option<UnixTime> {
    let address = endpoint.strip_prefix("https://")?.parse().ok()?;
    rotation::shown_until(address).await.ok()
}

/// What to do where it ends soon.
pub(super) fn advice(until: Option<UnixTime>, now: UnixTime) -> Option<String> {
    let until = until?;
    let days = until.as_secs().saturating_sub(now.as_secs()) / DAY;
    (days < SOON).then(|| {
        format!("its certificate ends in {days} days, on {}: build, and bring it its new document", date(until))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_ends_soon_is_said() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * DAY));
        assert_eq!(advice(None, at(0)), None);
        assert_eq!(advice(Some(at(20_030)), at(20_000)), None);
        let said = advice(Some(at(20_029)), at(20_000)).unwrap();
        assert!(said.contains("in 29 days, on 2024-11-02"), "{said}");
        assert!(advice(Some(at(19_000)), at(20_000)).unwrap().contains("in 0 days"));
    }
}
