//! Reports the newest good snapshot in the status, so that operators notice if the scheduled
//! snapshots fail.

use recipes::ClusterDocument;
use serde::Serialize;

use crate::etcd::{Client, Credentials};
use crate::keys::SnapshotRecord;
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
    /// Whether the last scheduled snapshot is missing, although half of the schedule's period has
    /// passed since it was due.
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
        let due = backup.schedule.slot(now);
        // Allow half of the period, because the members attempt the snapshot one after another, and
        // the snapshot itself takes time.
        let late = now > due + backup.schedule.period() / 2;
        let overdue = late
            && newest
                .as_ref()
                .is_none_or(|record| !record.covers(due, now));
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

#[cfg(test)]
mod tests {
    use super::*;

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
