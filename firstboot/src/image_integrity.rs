//! Is this node what the image made of it? Checked before anything of the image is believed or run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::{ImageStamp, Sha256, StampedFile};
use serde::{Deserialize, Serialize};

use crate::exit::refused;
use crate::files::{self, DesiredFile};
use crate::output::show;
use crate::paths;

/// What the disk said of a file when its digest was compared: if all of it is the same, so is the content, unless
/// somebody with root's rights set out to deceive. Reading 75 MB at every boot would cost more than all the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct InodeState {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// Each file by its path in the image.
type Known = BTreeMap<String, (Sha256, InodeState)>;

impl InodeState {
    fn at(path: &Path) -> Result<Self> {
        let meta = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
        // The time of the last change to the inode, since unlike the time of writing it cannot be set at will.
        Ok(Self { inode: meta.ino(), size: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
    }
}

/// `firstboot image`: reads every file of the overlay, whatever was found before, and says so.
///
/// # Errors
/// Refused as by [`check`], but for an installation that is still under way: it calls this as its last act.
pub(crate) fn prove() -> Result<()> {
    let stamp = stamp()?;
    let count = compare(&stamp, &Known::new())?;
    show(&format!("all {count} files of the image are as they were packed\n"))?;
    Ok(())
}

/// Compares every file of the overlay with the image's stamp.
///
/// # Errors
/// Refused where the kickstart did not finish, or a file is missing or altered; each is named.
pub(crate) fn check() -> Result<()> {
    if files::read_if_there(paths::INSTALLED)?.is_none() {
        return Err(refused(format!(
            "{} is missing: the installation of this node did not finish. Install it again",
            paths::INSTALLED
        )));
    }
    let stamp = stamp()?;
    let known = files::read_if_there(paths::VERIFIED)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    compare(&stamp, &known.unwrap_or_default()).map(drop)
}

fn stamp() -> Result<ImageStamp> {
    let bytes = files::read(paths::IMAGE).map_err(|error| refused(format!("{error:#}. Install this node again")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| refused(format!("{} is not a stamp of an image: {error}", paths::IMAGE)))
}

/// Compares all that is not known, keeps what is known then, and gives how many files there are.
fn compare(stamp: &ImageStamp, known: &Known) -> Result<usize> {
    let mut now = Known::new();
    let mut wrong = Vec::new();
    for file in stamp.files.iter().filter(|file| !file.mutable) {
        match look(file, known.get(&file.path)) {
            Ok(seen) => {
                now.insert(file.path.clone(), (file.sha256, seen));
            }
            Err(why) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        return Err(refused(format!(
            "this node is not what its image made of it: {}. Rebuild it, or put the files back",
            wrong.join("; ")
        )));
    }
    if now != *known {
        files::DesiredDir::new(paths::STATE, 0o700, files::ROOT).make()?;
        DesiredFile::new(paths::VERIFIED, serde_json::to_vec(&now)?).mode(0o600, files::ROOT).write()?;
    }
    Ok(now.len())
}

/// What to say of a unit that an operator masked by hand: `systemctl mask` makes such a link where no unit is yet.
fn masked(path: &Path) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    let path = path.display();
    (target == Path::new("/dev/null")).then(|| {
        format!("{path} is a link to /dev/null, so systemd takes the unit as masked: copy it from another node [unit-masked]")
    })
}

fn look(file: &StampedFile, known: Option<&(Sha256, InodeState)>) -> Result<InodeState, String> {
    let path = PathBuf::from("/").join(&file.path);
    let seen = InodeState::at(&path).map_err(|error| format!("{error:#}"))?;
    if known.is_some_and(|(digest, before)| *digest == file.sha256 && *before == seen) {
        return Ok(seen);
    }
    let found = files::digest(&path).map_err(|error| masked(&path).unwrap_or_else(|| format!("{error:#}")))?;
    if found != file.sha256 {
        return Err(format!("{} was altered (expected sha256 {}, found {found})", path.display(), file.sha256));
    }
    Ok(seen)
}
