//! Checks the buckets `lease` and `alarm` (lease/leasepb/lease.proto; AlarmMember of
//! api/etcdserverpb/rpc.proto).

use super::wire::{Fields, Malformed};

/// The longest time for which etcd grants a lease, in seconds (lease/lessor.go, MaxLeaseTTL).
const LONGEST: i64 = 9_000_000_000;

/// Checks a lease. Returns the expected content if the entry is invalid.
pub(super) fn lease_fault(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let Ok(key) = <[u8; 8]>::try_from(key) else {
        return Some("a lease's ID of 8 bytes as the key");
    };
    let Ok([id, ttl, remaining]) = lease(value) else {
        return Some("a lease, as etcd encodes it");
    };
    if id != i64::from_be_bytes(key) || id == 0 {
        return Some("a lease with the ID that its key contains");
    }
    let fits = (1..=LONGEST).contains(&ttl) && (0..=ttl).contains(&remaining);
    (!fits).then_some(
        "a lease of 1 to 9,000,000,000 seconds whose remaining time is not longer than the lease",
    )
}

/// Returns the lease's ID, its duration in seconds, and the seconds that remained at the last
/// checkpoint.
fn lease(bytes: &[u8]) -> Result<[i64; 3], Malformed> {
    let mut lease = [0; 3];
    let mut fields = Fields::of(bytes, 0);
    while let Some((field, value)) = fields.next()? {
        let at = usize::try_from(field)
            .ok()
            .and_then(|field| lease.get_mut(field - 1));
        *at.ok_or(Malformed)? = value.number()?.cast_signed();
    }
    Ok(lease)
}

/// Checks an alarm. Returns the expected content if the entry is invalid. The entry's key contains
/// the alarm, and the value is empty.
pub(super) fn alarm_fault(key: &[u8], value: &[u8]) -> Option<&'static str> {
    if !value.is_empty() {
        return Some("an empty value for the alarm");
    }
    // The known alarms are NOSPACE and CORRUPT. etcd 3.4 also raises an alarm without a kind if a
    // client requests such an alarm. After that, the member is never healthy again.
    let known = matches!(alarm(key), Ok((_, 1 | 2)));
    (!known).then_some("a member's alarm, as etcd encodes it")
}

/// Returns the member's ID, and the kind of its alarm.
fn alarm(bytes: &[u8]) -> Result<(u64, u64), Malformed> {
    let (mut member, mut kind) = (0, 0);
    let mut fields = Fields::of(bytes, 0);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => member = value.number()?,
            2 => kind = value.number()?,
            _ => return Err(Malformed),
        }
    }
    Ok((member, kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The test reads bytes that etcd 3.5.35 stored.
    #[test]
    fn leases_and_alarms_are_read_as_etcd_writes_them() {
        for (id, value) in [
            (5, &[0x08, 5, 0x10, 2][..]),
            (7, &[0x08, 7, 0x10, 0x80, 0xb4, 0xc4, 0xc3, 0x21]),
            (
                -5,
                &[
                    0x08, 0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0x10, 60,
                ],
            ),
            (9, &[0x08, 9, 0x10, 60, 0x18, 59]),
        ] {
            assert_eq!(lease_fault(&i64::to_be_bytes(id), value), None, "{id}");
        }
        for (id, value, why) in [
            (5, &[0x08, 6, 0x10, 2][..], "the ID that its key contains"),
            (0, &[0x10, 2], "the ID that its key contains"),
            (5, &[0x08, 5], "1 to 9,000,000,000 seconds"),
            (
                5,
                &[0x08, 5, 0x10, 2, 0x18, 3],
                "whose remaining time is not longer",
            ),
            (5, &[0x08, 5, 0x10, 2, 0x20, 3], "as etcd encodes it"),
            (5, &[0x08, 5, 0x12, 2], "as etcd encodes it"),
        ] {
            assert!(
                lease_fault(&i64::to_be_bytes(id), value)
                    .unwrap()
                    .contains(why),
                "{id} {value:?}"
            );
        }
        assert!(
            lease_fault(&[0; 7], &[0x08, 5, 0x10, 2])
                .unwrap()
                .contains("8 bytes")
        );
        assert_eq!(alarm_fault(&[0x08, 5, 0x10, 2], b""), None);
        assert_eq!(alarm_fault(&[0x10, 1], b""), None);
        for (key, value) in [
            (&[0x08, 5, 0x10, 3][..], &b""[..]),
            (&[0x08, 5], b""),
            (&[0x08, 5, 0x10, 0], b""),
            (&[0x10, 1], b"x"),
        ] {
            assert!(alarm_fault(key, value).is_some(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(key in prop::collection::vec(any::<u8>(), 0..20), value in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (lease_fault(&key, &value), alarm_fault(&key, &value));
        }
    }
}
