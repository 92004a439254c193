//! Computes times in this node's time zone. The installer sets the same time zone on all nodes, and
//! systemd 219 interprets a timer's schedule in this time zone.

use chrono::{DateTime, Local, TimeZone as _};
use recipes::Schedule;

/// Returns the number of seconds by which local time is ahead of UTC at `time`, which is in seconds
/// since 1970. Does not run `date`, because the system-call filter prevents the scheduled snapshots
/// from starting a process.
pub(crate) fn offset(time: u64) -> i64 {
    let time = i64::try_from(time).ok();
    let utc = time.and_then(|time| DateTime::from_timestamp(time, 0));
    utc.map_or(0, |utc| {
        let offset = Local.offset_from_utc_datetime(&utc.naive_utc());
        offset.local_minus_utc().into()
    })
}

/// Returns the slot of `now`: the time at which the latest run at or before `now` was due. The
/// schedule is in local time. `now` and the result are in seconds since 1970.
pub(crate) fn slot(schedule: Schedule, now: u64) -> u64 {
    slot_at(schedule, now, offset(now))
}

/// Computes the slot of `now`. `offset` is the number of seconds by which local time is ahead of
/// UTC. If the clocks change during a slot, the result for this slot changes too. Even then, the
/// next run has a later slot than every earlier snapshot.
fn slot_at(schedule: Schedule, now: u64, offset: i64) -> u64 {
    let local = now.saturating_add_signed(offset);
    schedule.slot(local).saturating_add_signed(-offset)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const HOUR: u64 = 3600;

    /// 2026-11-22T00:00:00Z, a Sunday.
    const MIDNIGHT: u64 = 1_795_305_600;

    fn slot_of(schedule: &str, now: u64, offset: i64) -> u64 {
        slot_at(schedule.parse().unwrap(), now, offset)
    }

    #[test]
    fn a_slot_begins_when_the_timer_starts_its_run_in_local_time() {
        for (schedule, offset, begin) in [
            ("daily", 0, MIDNIGHT),
            ("daily", 3600, MIDNIGHT - HOUR),
            ("daily", -5 * 3600, MIDNIGHT + 5 * HOUR),
            ("02:30", 7200, MIDNIGHT + HOUR / 2),
            ("weekly", 3600, MIDNIGHT + 23 * HOUR),
            ("every 6 hours", 3600, MIDNIGHT + 5 * HOUR),
            ("hourly", 19_800, MIDNIGHT + HOUR / 2),
        ] {
            assert_eq!(
                slot_of(schedule, begin, offset),
                begin,
                "{schedule} {offset}"
            );
            let before = slot_of(schedule, begin - 1, offset);
            assert!(before < begin, "{schedule} {offset}");
        }
    }

    /// The first run begins at local midnight in Berlin. A snapshot that an operator takes on the
    /// same local day counts for this run, and not for the next one.
    #[test]
    fn a_manual_snapshot_does_not_cancel_the_next_run() {
        let manual = slot_of("daily", MIDNIGHT + 2 * HOUR, 3600);
        assert_eq!(manual, slot_of("daily", MIDNIGHT - HOUR, 3600));
        assert!(manual < slot_of("daily", MIDNIGHT + 23 * HOUR, 3600));
    }

    /// Berlin's clocks change at 01:00 UTC, on 2026-03-29 from +1 to +2 hours, and on 2026-10-25
    /// from +2 to +1 hours.
    #[test]
    fn each_run_has_a_later_slot_than_all_earlier_snapshots_even_if_the_clocks_change() {
        for (change, before, after) in
            [(1_774_746_000, 3600, 7200), (1_792_890_000, 7200, 3600_i64)]
        {
            for name in ["hourly", "every 6 hours", "daily", "02:30", "weekly"] {
                let schedule: Schedule = name.parse().unwrap();
                let mut newest = 0;
                for now in (change - 300 * HOUR..change + 300 * HOUR).step_by(300) {
                    let offset = if now < change { before } else { after };
                    let slot = slot_at(schedule, now, offset);
                    let local = now.checked_add_signed(offset).unwrap();
                    let is_run = schedule.slot(local) == local;
                    assert!(slot > newest || !is_run, "{name} {now}");
                    newest = newest.max(slot);
                }
            }
        }
    }

    /// The test starts itself again with Berlin's time zone, because a process must not change its
    /// own environment.
    #[test]
    fn the_offset_follows_the_changes_of_the_clocks() {
        const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
        const NAME: &str = "local_time::tests::the_offset_follows_the_changes_of_the_clocks";
        if std::env::var("TZ").is_ok_and(|zone| zone == BERLIN) {
            let offsets = [1_774_745_999, 1_774_746_000, MIDNIGHT].map(offset);
            assert_eq!(offsets, [3600, 7200, 3600]);
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ran = again
            .args(["--exact", NAME])
            .env("TZ", BERLIN)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}
