//! `firstboot image`: checks this node's files. With `--scheduled`, the command also records the
//! result in etcd, where `builder status`, the board and `firstboot status` read it.
//!
//! The check reads the attributes of all files that must not change, but it reads the content of a
//! file only if the file's inode has changed since the last comparison.

use anyhow::{Context as _, Result, anyhow};
use members::keys::{ImageCheck, KeyState, image_check_key};
use members::timestamp::now;

use crate::etcd::{Client, installed_credentials};
use crate::exit::refused;
use crate::image_integrity::{
    VerifiedFiles, compare, file_list, known_files, reason, refuse_altered,
};
use crate::machine::host;
use crate::output::show;
use crate::reason::{Reason, ReasonId};
use crate::runtime::block_on;
use crate::update::in_progress;
use crate::{files, identity, paths};

/// The age, in seconds, at which an unchanged result is recorded again, so that the record shows
/// that the node still runs the check.
const MAX_RECORD_AGE: u64 = 3600;

/// The command line of `firstboot image`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Check only the files whose inodes have changed, and record the result in etcd;
    /// firstboot-image.service runs this command
    #[arg(long, hide = true, conflicts_with = "json")]
    scheduled: bool,
}

/// Runs `firstboot image`.
///
/// # Errors
/// Returns a refusal if a file is missing or altered.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.scheduled {
        scheduled()
    } else {
        verify_all(options.json)
    }
}

/// Reads all files of the overlay except those that may change, regardless of earlier results.
///
/// # Errors
/// Returns a refusal if a file is missing or altered. Unlike
/// [`verify_changed`](crate::image_integrity::verify_changed), this function does not require the
/// installation marker, because the installation runs this command before it writes the marker.
fn verify_all(json: bool) -> Result<()> {
    let file_list = file_list()?;
    let count = refuse_altered(compare(&file_list, &VerifiedFiles::new()))?;
    let line = if json {
        format!("{:#}", serde_json::json!({ "unchanged": count }))
    } else {
        format!("all {count} files of the image are unchanged")
    };
    show(&(line + "\n"))?;
    Ok(())
}

/// Checks the files and records the result, unless an update is in progress.
fn scheduled() -> Result<()> {
    // During an update, the files belong to two images.
    if in_progress()? {
        return Ok(());
    }
    let (paths, why) = check()?;
    if in_progress()? {
        return Ok(());
    }
    // Do not fail if the record cannot be written, for example without a quorum, because the next
    // run records its own result.
    if let Err(error) = block_on(record(&ImageCheck::new(now(), paths))) {
        eprintln!("firstboot: cannot record the result of the image check in etcd: {error:#}");
    }
    why.map_or(Ok(()), |why| Err(refused(why)))
}

/// Returns the paths of the files that differ and, if there are any, the reason for a refusal.
fn check() -> Result<(Vec<String>, Option<Reason>)> {
    let file_list = match file_list() {
        Ok(file_list) => file_list,
        // Without the list, firstboot cannot check any other file.
        Err(error) => {
            let why = Reason::parse(&format!("{error:#}"));
            return Ok((vec![paths::IMAGE.to_owned()], Some(why)));
        }
    };
    if files::read_if_there(paths::INSTALLED)?.is_none() {
        let why = ReasonId::ImageIncomplete.because(format!("{} is missing", paths::INSTALLED));
        return Ok((vec![paths::INSTALLED.to_owned()], Some(why)));
    }
    Ok(match compare(&file_list, &known_files()?)? {
        Ok(_) => (Vec::new(), None),
        Err(altered) => {
            let paths = altered.iter().map(|file| file.path.display().to_string());
            (paths.collect(), Some(reason(&altered)))
        }
    })
}

/// Records the result if it has changed or if the recorded result is old. Tries the other members
/// if this node's etcd fails, for example because a learner does not serve linearizable reads.
async fn record(check: &ImageCheck) -> Result<()> {
    let credentials = installed_credentials()?;
    let key = image_check_key(&host());
    let members = identity::cluster()?.members;
    let urls = std::iter::once(paths::OWN_CLIENT_URL.to_owned())
        .chain(members.iter().map(recipes::cluster::Member::client_url));
    let mut last = anyhow!("no member answers");
    for url in urls {
        let written = async {
            let client = Client::connect(&url, &credentials).await?;
            let found = client.get(&key).await?;
            // Treat a damaged record as missing, so that it is replaced.
            let parsed = KeyState::<ImageCheck>::parse(
                &key,
                found
                    .as_ref()
                    .map(|found| (&*found.value, found.mod_revision)),
            );
            let known = parsed.ok().and_then(|key| key.value);
            if known.is_some_and(|known| is_current(&known, check)) {
                return Ok(());
            }
            let revision = found.map_or(0, |found| found.mod_revision);
            let value = serde_json::to_vec(check)?;
            client
                .put_if(&key, &[(&key, revision)], value, None)
                .await
                .map(drop)
        };
        match written.await {
            Ok(()) => return Ok(()),
            Err(error) => last = Err::<(), _>(error).context(url).unwrap_err(),
        }
    }
    Err(last)
}

/// Returns whether the recorded result is still valid, so that the new result need not replace it.
fn is_current(known: &ImageCheck, new: &ImageCheck) -> bool {
    let age = new.at.checked_sub(known.at);
    known.agrees_with(new) && age.is_some_and(|age| age < MAX_RECORD_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_recorded_when_it_changes_and_once_an_hour() {
        let of = |at, files: &[&str]| {
            ImageCheck::new(at, files.iter().map(|file| (*file).to_owned()).collect())
        };
        let known = of(10_000, &[]);
        assert!(is_current(&known, &of(10_000, &[])));
        assert!(is_current(&known, &of(13_599, &[])));
        assert!(!is_current(&known, &of(13_600, &[])));
        assert!(!is_current(&known, &of(10_001, &["/etc/hosts"])));
        // A record whose time is in the future, because a clock was wrong, must not remain forever.
        assert!(!is_current(&known, &of(9_999, &[])));
    }
}
