//! The serial of the cluster's newest image. The serial increases by one whenever an image differs
//! from the previous image, so that a node can determine which of two images is newer.
//!
//! A build reserves the serial of its image before it writes the output, so that two images never
//! have the same serial. Until the build has finished, only the documents in its own output contain
//! the reserved serial. If the build fails, `builder serve` still serves the earlier image, and a
//! node refuses an image that is older than the node's document.

use std::path::Path;

use recipes::Sha256;
use serde::{Deserialize, Serialize};

use super::{Event, Pki, PkiError, store};

/// The record of the newest image whose build has finished.
const FILE: &str = "serial.json";
/// The record of a newer image whose build has not finished.
const RESERVED: &str = "next-serial.json";

impl Pki {
    /// Warns if the folder has issued documents, but the record of the newest image is missing. A
    /// build that failed before it wrote the record also leaves such a folder behind.
    pub(super) fn warn_if_serial_is_lost(&mut self) -> Result<(), PkiError> {
        let path = self.dir.join(FILE);
        if self.is_new || store::exists(&path)? {
            return Ok(());
        }
        let text = "it is missing, although documents were issued from this folder. If a build \
                    with this folder has finished before, nodes refuse the image of this build, \
                    because its serial is lower than theirs. In this case, restore this file from \
                    a backup and build again. Without a backup, set `serial` in this file after \
                    this build to a higher number than the serial of the nodes' image, and build \
                    again";
        let text = text.to_owned();
        self.events.push(Event::Warning { path, text });
        Ok(())
    }

    /// Reserves a serial for the image with this digest. If the image differs from the previous
    /// image, the serial is one higher than the previous serial.
    pub(crate) fn reserve_image_serial(&self, image: Sha256) -> Result<u64, PkiError> {
        reserve(&self.dir, image)
    }

    /// Records that the output with the image of the reserved serial is in place.
    pub(crate) fn publish_image_serial(&self) -> Result<(), PkiError> {
        publish(&self.dir)
    }

    /// Returns the serial of the newest image whose build has finished, or `None` before the first
    /// build.
    pub(crate) fn newest_image_serial(&self) -> Result<Option<u64>, PkiError> {
        newest(&self.dir)
    }
}

/// An image with its serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    serial: u64,
    /// The digest of the image.
    image: Sha256,
}

/// Reserves a serial for this image: the last serial if the image is the same, otherwise the next
/// serial. The reservation is stored durably before the function returns. The caller must hold the
/// folder's lock.
fn reserve(dir: &Path, image: Sha256) -> Result<u64, PkiError> {
    let path = dir.join(FILE);
    let last = reserved(dir)?.map_or_else(|| read(&path), |reserved| Ok(Some(reserved)))?;
    let serial = match last {
        Some(last) if last.image == image => return Ok(last.serial),
        Some(last) => last.serial.checked_add(1).ok_or_else(|| {
            wrong(
                &path,
                "it already contains the largest possible serial".to_owned(),
            )
        })?,
        None => 1,
    };
    let path = dir.join(RESERVED);
    let text = serde_json::to_string(&Image { serial, image })
        .map_err(|error| wrong(&path, error.to_string()))?;
    store::overwrite(&path, format!("{text}\n").as_bytes(), store::PUBLIC)?;
    Ok(serial)
}

/// Records the reserved image as the newest image. The caller must hold the folder's lock.
fn publish(dir: &Path) -> Result<(), PkiError> {
    let (path, next) = (dir.join(FILE), dir.join(RESERVED));
    match reserved(dir)? {
        // The output is already in place, so this step must not need space on the disk.
        Some(_) => store::rename(&next, &path),
        None => store::remove(&next),
    }
}

/// Returns the serial of the newest image, or `None` before the first build.
fn newest(dir: &Path) -> Result<Option<u64>, PkiError> {
    Ok(read(&dir.join(FILE))?.map(|newest| newest.serial))
}

/// Returns the reserved image, if it is newer than the newest image whose build has finished. A
/// build that was killed can leave an older reservation behind.
fn reserved(dir: &Path) -> Result<Option<Image>, PkiError> {
    let newest = newest(dir)?;
    let reserved = read(&dir.join(RESERVED))?;
    Ok(reserved.filter(|reserved| newest.is_none_or(|newest| newest < reserved.serial)))
}

fn read(path: &Path) -> Result<Option<Image>, PkiError> {
    let Some(text) = store::read(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| wrong(path, format!("it is not the record of a serial ({error})")))
}

fn wrong(path: &Path, found: String) -> PkiError {
    PkiError::wrong(
        path,
        found,
        "restore it from a backup. Without this record, the next images would have serials that \
         the nodes have already seen, and no node would install those images",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reserves the serial of an image, and finishes the build.
    fn build(dir: &Path, image: &[u8]) -> u64 {
        let serial = reserve(dir, Sha256::of(image)).unwrap();
        publish(dir).unwrap();
        serial
    }

    #[test]
    fn the_serial_increases_only_if_the_image_differs_from_the_last_image() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            [b"a", b"a", b"b", b"b", b"a"].map(|image| build(dir.path(), image)),
            [1, 1, 2, 2, 3]
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a partial file remains"
        );
    }

    #[test]
    fn documents_have_the_serial_of_an_image_only_after_its_build_has_finished() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = |image: &[u8]| reserve(dir.path(), Sha256::of(image)).unwrap();
        let newest = || newest(dir.path()).unwrap();
        assert_eq!((reserve(b"a"), newest()), (1, None));
        assert_eq!((build(dir.path(), b"a"), newest()), (1, Some(1)));
        // The build of the image b fails twice, and may have replaced the output before it failed.
        assert_eq!((reserve(b"b"), newest()), (2, Some(1)));
        assert_eq!((reserve(b"b"), newest()), (2, Some(1)));
        assert_eq!((build(dir.path(), b"a"), newest()), (3, Some(3)));
        assert_eq!((build(dir.path(), b"a"), newest()), (3, Some(3)));
    }

    #[test]
    fn an_old_reservation_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        reserve(dir.path(), Sha256::of(b"a")).unwrap();
        let reserved = std::fs::read(dir.path().join(RESERVED)).unwrap();
        build(dir.path(), b"a");
        build(dir.path(), b"b");
        // An old reservation remains if the build was killed before it removed the reservation. It
        // also remains if an earlier version of the builder, which makes no reservations, built the
        // newest image.
        std::fs::write(dir.path().join(RESERVED), reserved).unwrap();
        assert_eq!(build(dir.path(), b"b"), 2);
        assert_eq!(build(dir.path(), b"a"), 3);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_does_not_reset_the_serial() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in ["", "{}", "{\"serial\":-1,\"image\":\"\"}"] {
            std::fs::write(&path, text).unwrap();
            let error = reserve(dir.path(), Sha256::of(b"a"))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("serial.json") && error.contains("restore it from a backup"),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
