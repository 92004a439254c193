//! Reports whether the files of each node match its image. Each node checks its own files, and
//! records the result in etcd.

use anyhow::Result;

use super::row::Row;
use crate::etcd::{Client, Credentials};
use crate::keys::{ImageCheck, KeyState, image_check_key};
use crate::reason::ReasonId;
use crate::timestamp::{duration, now};

/// The age after which a result is too old. A node records a result about once an hour.
const MAX_AGE_SECONDS: u64 = 3 * 3600;

/// Adds the newest image check of each member to the member's row, and the check's fault to the
/// member's errors. Reads the checks from etcd through a voter that can answer a linearizable read.
/// If no voter can, adds nothing.
///
/// An update does not begin while the function `survey` reports errors. Altered files on one member
/// must not delay the update of another member, so `survey` does not add the checks.
pub async fn add_image_checks(rows: &mut [Row], credentials: &Credentials) {
    let Some(voter) = rows.iter().find(|row| row.votes) else {
        return;
    };
    let endpoint = voter.endpoint.clone();
    let read = async {
        let client = Client::connect(&endpoint, credentials).await?;
        let mut checks = Vec::new();
        for row in &*rows {
            let key = image_check_key(&row.name);
            checks.push(KeyState::<ImageCheck>::read(&client, &key).await);
        }
        Ok::<_, anyhow::Error>(checks)
    };
    match read.await {
        Ok(checks) => {
            for (row, check) in rows.iter_mut().zip(checks) {
                add(row, check, now());
            }
        }
        Err(error) => {
            for row in rows {
                add(row, Err(anyhow::anyhow!("{error:#}")), now());
            }
        }
    }
}

fn add(row: &mut Row, check: Result<KeyState<ImageCheck>>, now: u64) {
    match check {
        Ok(KeyState { value: None, .. }) => {}
        Ok(KeyState {
            value: Some(check), ..
        }) => {
            row.errors.extend(check.fault());
            let age = now.saturating_sub(check.at);
            // A member that does not answer cannot record a result, so do not report that its
            // result is old.
            if row.healthy && age > MAX_AGE_SECONDS {
                row.notes.push(ReasonId::ImageUnchecked.because(format!(
                    "its files were last checked {} ago: see `systemctl status \
                     firstboot-image.timer` on the node",
                    duration(age)
                )));
            }
            row.image_check = Some(check);
        }
        Err(error) => row
            .notes
            .push(format!("cannot read the result of its image check: {error:#}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(healthy: bool, check: Option<ImageCheck>, now: u64) -> Row {
        let mut row = Row {
            healthy,
            ..Row::default()
        };
        let key = KeyState {
            value: check,
            revision: 1,
        };
        add(&mut row, Ok(key), now);
        row
    }

    #[test]
    fn altered_files_are_an_error_of_the_member() {
        let altered = ImageCheck::new(1000, vec!["/etc/chrony.conf".to_owned()]);
        let row = of(true, Some(altered.clone()), 1000);
        assert_eq!(row.errors, [altered.fault().unwrap()]);
        assert_eq!(row.errors[0].id, Some(ReasonId::ImageAltered));
        assert!(row.healthy && row.image_check == Some(altered));
        let good = of(true, Some(ImageCheck::new(1000, Vec::new())), 1000);
        assert!(good.errors.is_empty() && good.notes.is_empty());
    }

    #[test]
    fn a_check_that_no_longer_runs_is_reported() {
        let check = || Some(ImageCheck::new(1000, Vec::new()));
        let late = 1001 + MAX_AGE_SECONDS;
        assert_eq!(
            of(true, check(), late).notes[0].id,
            Some(ReasonId::ImageUnchecked)
        );
        assert!(of(true, check(), late - 1).notes.is_empty());
        assert!(of(false, check(), late).notes.is_empty());
        assert!(
            of(true, None, late).notes.is_empty(),
            "an older image has no check"
        );
    }
}
