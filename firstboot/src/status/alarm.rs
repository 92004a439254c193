//! Alarms, each told once and at the member that raised it. Every member answers with the alarms of all.

use recipes::cluster::EtcdSettings;

use super::Row;
use super::table::size;
use crate::etcd::AlarmMember;

/// etcd's number of the alarm for a database that has reached its quota.
const NOSPACE: i32 = 1;

/// Whether one of a member's own errors is an alarm, which [`check`] tells (etcdserverpb.AlarmMember, as protobuf prints it).
pub(super) fn is_one(error: &str) -> bool {
    error.starts_with("memberID:") && error.contains("alarm:")
}

/// Says at each member which alarms it has raised. An alarm outlives its member: it is told at the first that knows it then.
pub(super) fn check(rows: &mut [Row], settings: &EtcdSettings) {
    let mut all: Vec<AlarmMember> = rows.iter().flat_map(|row| row.alarms.clone()).collect();
    all.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
    all.dedup();
    for alarm in &all {
        let own = rows.iter().position(|row| row.member_id == alarm.member_id);
        let Some(at) = own.or_else(|| rows.iter().position(|row| row.alarms.contains(alarm))) else { continue };
        let row = &mut rows[at];
        row.healthy = false;
        let text = tell(alarm, row.db_size, settings);
        row.errors.push(match own {
            Some(_) => text,
            None => format!("of {:x}, which is not a member any more: {text}", alarm.member_id),
        });
    }
}

fn tell(alarm: &AlarmMember, database: i64, settings: &EtcdSettings) -> String {
    if alarm.alarm == NOSPACE {
        let quota = i64::try_from(settings.quota_backend_bytes).unwrap_or(i64::MAX);
        return format!(
            "alarm NOSPACE: its database has {}, the quota is {}, and no member takes a write. Compact, defragment each \
             member, then `etcdctl alarm disarm` [alarm-nospace]",
            size(database),
            size(quota)
        );
    }
    "alarm CORRUPT: its data differs from the other members', and no member takes a write [alarm-corrupt]".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> EtcdSettings {
        crate::steps::issued().cluster.etcd
    }

    fn row(id: u64, alarms: &[AlarmMember]) -> Row {
        Row { member_id: id, healthy: true, db_size: 3 << 30, alarms: alarms.to_vec(), ..Row::default() }
    }

    #[test]
    fn an_alarm_is_told_at_its_member_alone() {
        let alarms = [AlarmMember { member_id: 2, alarm: NOSPACE }];
        let mut rows = [row(1, &alarms), row(2, &alarms), row(3, &alarms)];
        check(&mut rows, &settings());
        assert_eq!(rows.each_ref().map(|row| row.healthy), [true, false, true]);
        let said = rows[1].errors.join("; ");
        assert!(said.starts_with("alarm NOSPACE: its database has 3.0 GiB, the quota is "), "{said}");
        assert!(said.ends_with("`etcdctl alarm disarm` [alarm-nospace]"), "{said}");
        assert!(is_one("memberID:10276657743932975437 alarm:NOSPACE ") && !is_one("etcdserver: no leader"));
    }

    #[test]
    fn the_alarm_of_a_member_that_was_removed_is_told_too() {
        let alarms = [AlarmMember { member_id: 0xab, alarm: 2 }];
        let mut rows = [row(1, &[]), row(2, &alarms)];
        check(&mut rows, &settings());
        assert!(
            rows[0].healthy && rows[1].errors[0].starts_with("of ab, which is not a member any more: alarm CORRUPT")
        );
    }
}
