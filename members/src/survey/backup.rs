//! Reports the newest good snapshot in the status, so that operators notice if the scheduled
//! snapshots fail.

use recipes::{ClusterDocument, Schedule};
use serde::Serialize;

use crate::etcd::{Client, Credentials};
use crate::keys::{SnapshotRecord, is_from_wrong_clock};
use crate::reason::ReasonId;
use crate::timestamp::{duration, now};

/// The state of the scheduled snapshots.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backup {
    schedule: String,
    /// The newest snapshot, or `None` if no snapshot has been recorded yet, or if no member
    /// answered.
    newest: Option<SnapshotRecord>,
    age_seconds: Option<u64>,
    /// Whether the newest snapshot is older than one and a half periods of the schedule.
    overdue: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Backup {
    /// Queries the members one after the other until one of them answers. Returns `None` if the
    /// recipe has no `[backup]`.
    pub async fn ask(cluster: &ClusterDocument, credentials: &Credentials) -> Option<Self> {
        let backup = cluster.backup.as_ref()?;
        let mut answer: anyhow::Result<_> = Err(anyhow::anyhow!("no member answered"));
        for member in &cluster.members {
            let asked = async {
                let client = Client::connect(&member.client_url(), credentials).await?;
                Ok(SnapshotRecord::read(&client).await?.0)
            };
            answer = asked.await;
            if answer.is_ok() {
                break;
            }
        }
        let error = answer.as_ref().err().map(|error| format!("{error:#}"));
        let newest = answer.ok().flatten();
        let now = now();
        let overdue = is_overdue(backup.schedule, newest.as_ref(), now);
        let age_seconds = newest
            .as_ref()
            .map(|record| now.saturating_sub(record.time));
        Some(Self {
            schedule: backup.schedule.to_string(),
            newest,
            age_seconds,
            overdue,
            error,
        })
    }

    /// Returns the age of the newest snapshot in seconds, if there is one.
    pub fn age_seconds(&self) -> Option<u64> {
        self.age_seconds
    }

    /// Describes the newest snapshot on one line.
    pub fn line(&self) -> String {
        let late = if self.overdue {
            format!(
                "  OVERDUE: see `journalctl -u firstboot-snapshot` on each node [{}]",
                ReasonId::SnapshotOverdue
            )
        } else {
            String::new()
        };
        match (&self.newest, self.age_seconds, &self.error) {
            (Some(record), Some(age), _) => format!(
                "snapshot: {} old, revision {}, {} by {} in {}{late}\n",
                duration(age),
                record.revision,
                record.file,
                record.host,
                record.location
            ),
            (.., Some(error)) => {
                format!("snapshot: cannot read the record of the newest snapshot: {error}\n")
            }
            _ => format!("snapshot: none yet; schedule: {}{late}\n", self.schedule),
        }
    }
}

/// Returns whether the next scheduled snapshot is overdue. The result does not depend on slots,
/// because the nodes compute slots in their local time, and this program may run in another time
/// zone.
fn is_overdue(schedule: Schedule, newest: Option<&SnapshotRecord>, now: u64) -> bool {
    // Allow half of the period, because a member first waits for the members that precede it in the
    // slot's sequence of members, and the snapshot itself takes time.
    let tolerance = schedule.period() / 2;
    match newest.filter(|record| !is_from_wrong_clock(record.time, now)) {
        Some(record) => now > record.time.saturating_add(schedule.period() + tolerance),
        // If no snapshot is recorded, the nodes' time zone is unknown, so use the slots in UTC. In
        // any time zone, one run is due in each of these slots.
        None => now > schedule.slot(now) + tolerance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    const HOUR: u64 = 3600;

    /// The nodes take their daily snapshot at local midnight. Earlier versions recorded a slot in
    /// UTC.
    #[test]
    fn a_missed_snapshot_is_overdue_in_every_time_zone_after_half_a_period() {
        let daily: Schedule = "daily".parse().unwrap();
        for begin in (0..24).map(|hour| 1_795_305_600 + hour * HOUR) {
            for slot in [begin, daily.slot(begin)] {
                let newest = SnapshotRecord::example(slot, begin + 60);
                for late in 1..120 {
                    let overdue = is_overdue(daily, Some(&newest), begin + late * HOUR);
                    assert_eq!(overdue, late > 36, "{begin} {slot} {late}");
                }
            }
        }
    }

    #[test]
    fn a_snapshot_from_a_wrong_clock_does_not_hide_that_no_snapshot_is_taken() {
        let hourly: Schedule = "hourly".parse().unwrap();
        let now = 1_795_305_600 + HOUR * 3 / 4;
        let ahead = SnapshotRecord::example(now + 400 * 24 * HOUR, now + 400 * 24 * HOUR);
        assert!(is_overdue(hourly, Some(&ahead), now));
        assert!(is_overdue(hourly, None, now));
        assert!(!is_overdue(hourly, None, now - HOUR / 2));
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_the_scheduled_snapshots() {
        let backup = Backup {
            schedule: "hourly".into(),
            newest: None,
            age_seconds: None,
            overdue: false,
            error: Some("no route".into()),
        };
        assert_eq!(
            documented("status.md", "The scheduled snapshots"),
            keys(&backup)
        );
    }

    #[test]
    fn a_missing_snapshot_is_reported() {
        let none = Backup {
            schedule: "hourly".into(),
            newest: None,
            age_seconds: None,
            overdue: true,
            error: None,
        };
        assert!(
            none.line().contains("none yet") && none.line().contains("OVERDUE"),
            "{}",
            none.line()
        );
        let asked = Backup {
            error: Some("no route".into()),
            overdue: false,
            ..none
        };
        assert_eq!(
            asked.line(),
            "snapshot: cannot read the record of the newest snapshot: no route\n"
        );
    }
}
