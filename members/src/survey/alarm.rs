//! Reports alarms. Every member returns the alarms of all members, but the survey shows each alarm
//! only at the member that raised it.

use recipes::cluster::EtcdSettings;

use super::Row;
use super::table::size;
use crate::etcd::AlarmMember;
use crate::reason::{Reason, ReasonId};

/// Adds each alarm to the errors of the member that raised the alarm. If this member has been
/// removed, adds the alarm to the first member that reports the alarm. Adds an alarm of the whole
/// cluster to all members that report it. Marks every member that gets an alarm as unhealthy.
pub(super) fn check(rows: &mut [Row], settings: &EtcdSettings) {
    let mut all: Vec<AlarmMember> = rows.iter().flat_map(|row| row.alarms.clone()).collect();
    all.sort_by_key(|alarm| (alarm.member_id, alarm.alarm));
    all.dedup();
    for alarm in &all {
        if alarm.is_of_cluster() {
            for row in rows.iter_mut().filter(|row| row.alarms.contains(alarm)) {
                row.healthy = false;
                row.errors.push(unattributed());
            }
            continue;
        }
        let own = rows.iter().position(|row| row.member_id == alarm.member_id);
        let Some(at) = own.or_else(|| rows.iter().position(|row| row.alarms.contains(alarm)))
        else {
            continue;
        };
        let row = &mut rows[at];
        row.healthy = false;
        let text = reason(alarm, row.db_size, settings);
        row.errors.push(match own {
            Some(_) => text,
            None => text.map(|text| {
                format!(
                    "raised by {:x}, which is no longer a member: {text}",
                    alarm.member_id
                )
            }),
        });
    }
}

fn unattributed() -> Reason {
    ReasonId::AlarmCorrupt.because(
        "alarm CORRUPT: etcd found that the members' data differs, but not which member's data is \
         wrong, and no member accepts writes. Run `firstboot status --compare` before you replace \
         a member",
    )
}

fn reason(alarm: &AlarmMember, database: i64, settings: &EtcdSettings) -> Reason {
    if alarm.alarm == AlarmMember::NOSPACE {
        let quota = i64::try_from(settings.quota_backend_bytes).unwrap_or(i64::MAX);
        return ReasonId::AlarmNospace.because(format!(
            "alarm NOSPACE: its database size is {}, the quota is {}, and every member refuses to put keys. \
             Compact the cluster, defragment each member, and then run `etcdctl alarm disarm`",
            size(database),
            size(quota)
        ));
    }
    let text = "alarm CORRUPT: its data differs from that of the other members, and no member \
        accepts writes. Replace this member";
    ReasonId::AlarmCorrupt.because(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> EtcdSettings {
        let text = include_str!("../../../recipes/three-node.toml");
        recipes::recipe::read(text).recipe.unwrap().etcd.settings
    }

    fn row(id: u64, alarms: &[AlarmMember]) -> Row {
        Row {
            member_id: id,
            healthy: true,
            db_size: 3 << 30,
            alarms: alarms.to_vec(),
            ..Row::default()
        }
    }

    #[test]
    fn an_alarm_is_reported_once_at_its_member() {
        let alarms = [AlarmMember {
            member_id: 2,
            alarm: AlarmMember::NOSPACE,
        }];
        let mut rows = [row(1, &alarms), row(2, &alarms), row(3, &alarms)];
        check(&mut rows, &settings());
        assert_eq!(rows.each_ref().map(|row| row.healthy), [true, false, true]);
        let said = rows[1].errors[0].to_string();
        assert!(
            said.starts_with("alarm NOSPACE: its database size is 3.0 GiB, the quota is "),
            "{said}"
        );
        assert!(
            said.ends_with("`etcdctl alarm disarm` [alarm-nospace]"),
            "{said}"
        );
    }

    #[test]
    fn an_alarm_of_the_whole_cluster_blames_no_member() {
        let alarms = [AlarmMember {
            member_id: 0,
            alarm: AlarmMember::CORRUPT,
        }];
        let silent = Row::default();
        let mut rows = [silent, row(1, &alarms), row(2, &alarms)];
        check(&mut rows, &settings());
        assert!(rows[0].errors.is_empty(), "{:?}", rows[0].errors);
        for row in &rows[1..] {
            let said = row.errors[0].to_string();
            assert!(!row.healthy);
            assert!(said.contains("not which member's data is wrong"), "{said}");
            assert!(said.ends_with("[alarm-corrupt]"), "{said}");
            assert!(!said.contains("Replace this member"), "{said}");
        }
    }

    #[test]
    fn the_alarm_of_a_removed_member_is_reported() {
        let alarms = [AlarmMember {
            member_id: 0xab,
            alarm: 2,
        }];
        let mut rows = [row(1, &[]), row(2, &alarms)];
        check(&mut rows, &settings());
        assert!(
            rows[0].healthy
                && rows[1].errors[0]
                    .text
                    .starts_with("raised by ab, which is no longer a member: alarm CORRUPT")
        );
    }
}
