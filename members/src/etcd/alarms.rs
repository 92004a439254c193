//! Reads alarms from the status of a member.

use anyhow::Result;

use super::wire::{AlarmMember, StatusResponse};

impl AlarmMember {
    /// etcd's number for the NOSPACE alarm: the database has reached its quota.
    pub const NOSPACE: i32 = 1;
    /// etcd's number for the CORRUPT alarm: the member's data differs from the other members' data.
    pub const CORRUPT: i32 = 2;

    /// Returns whether etcd raised the CORRUPT alarm for member 0, which stands for the whole
    /// cluster. etcd does so if the members' data differs, but no majority shows which member's
    /// data is wrong. etcd 3.5 always raises CORRUPT for member 0 (server/etcdserver/corrupt.go of
    /// 3.5.33 and 3.6.14).
    pub const fn is_of_cluster(&self) -> bool {
        self.member_id == 0 && self.alarm == Self::CORRUPT
    }

    /// Parses an alarm in protobuf's text format, in which a member's status lists the alarms
    /// (server/etcdserver/api/v3rpc/maintenance.go, Status, 3.5 to 3.7). Returns `None` for any
    /// other error in the status. The number of spaces between the fields varies, and a field that
    /// is 0 is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut alarm = Self::default();
        for field in text.split_whitespace() {
            match field.split_once(':')? {
                ("memberID", id) => alarm.member_id = id.parse().ok()?,
                ("alarm", "NOSPACE") => alarm.alarm = Self::NOSPACE,
                ("alarm", "CORRUPT") => alarm.alarm = Self::CORRUPT,
                _ => return None,
            }
        }
        (alarm.alarm != 0).then_some(alarm)
    }
}

impl StatusResponse {
    /// Returns the alarms in the member's answer to an alarm request or, if the request failed, the
    /// alarms in this status. A member that has no quorum answers the status request, but not the
    /// alarm request.
    pub fn alarms(&self, listed: Result<Vec<AlarmMember>>) -> Vec<AlarmMember> {
        let own = self.errors.iter();
        listed.unwrap_or_else(|_| own.filter_map(|error| AlarmMember::parse(error)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarms_in_a_status_are_read() {
        let alarm = |member_id, alarm| Some(AlarmMember { member_id, alarm });
        for (text, wanted) in [
            (
                "memberID:10276657743932975437 alarm:NOSPACE ",
                alarm(10_276_657_743_932_975_437, 1),
            ),
            ("memberID:7  alarm:CORRUPT", alarm(7, 2)),
            ("alarm:CORRUPT ", alarm(0, 2)),
            ("etcdserver: no leader", None),
            ("memberID:7 ", None),
            ("memberID:7 alarm:OTHER", None),
            ("", None),
        ] {
            assert_eq!(AlarmMember::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_alarms_of_a_member_without_a_quorum_are_known() {
        let status = StatusResponse {
            errors: vec![
                "etcdserver: no leader".into(),
                "memberID:7 alarm:CORRUPT ".into(),
            ],
            ..StatusResponse::default()
        };
        let corrupt = AlarmMember {
            member_id: 7,
            alarm: AlarmMember::CORRUPT,
        };
        let failed = Err(anyhow::anyhow!("etcdserver: request timed out"));
        assert_eq!(status.alarms(failed), [corrupt]);
        assert_eq!(status.alarms(Ok(Vec::new())), []);
    }
}
