//! The serial of the cluster's newest image. The serial increases by one whenever an image differs
//! from the previous image, so that a node can determine which of two images is newer.

use std::path::Path;

use recipes::Sha256;
use serde::{Deserialize, Serialize};

use super::{PkiError, store};

/// The record's name in the folder.
const FILE: &str = "serial.json";

/// The image that was built last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    serial: u64,
    /// The digest of the image.
    image: Sha256,
}

/// Assigns a serial to this image: the last build's serial if the image is the same, otherwise the
/// next serial. The serial is stored durably before the function returns. The caller must hold the
/// folder's lock.
pub(super) fn assign(dir: &Path, image: Sha256) -> Result<u64, PkiError> {
    let path = dir.join(FILE);
    let serial = match read(&path)? {
        Some(newest) if newest.image == image => return Ok(newest.serial),
        Some(newest) => newest.serial.checked_add(1).ok_or_else(|| {
            wrong(
                &path,
                "it already contains the largest possible serial".to_owned(),
            )
        })?,
        None => 1,
    };
    let text = serde_json::to_string(&Newest { serial, image })
        .map_err(|error| wrong(&path, error.to_string()))?;
    store::overwrite(&path, format!("{text}\n").as_bytes(), store::PUBLIC)?;
    Ok(serial)
}

/// Returns the serial of the newest image, or `None` before the first build.
pub(super) fn newest(dir: &Path) -> Result<Option<u64>, PkiError> {
    Ok(read(&dir.join(FILE))?.map(|newest| newest.serial))
}

fn read(path: &Path) -> Result<Option<Newest>, PkiError> {
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

    #[test]
    fn the_serial_increases_only_if_the_image_differs_from_the_last_image() {
        let dir = tempfile::tempdir().unwrap();
        let serial = |image: &[u8]| assign(dir.path(), Sha256::of(image)).unwrap();
        assert_eq!(
            [b"a", b"a", b"b", b"b", b"a"].map(|image| serial(image)),
            [1, 1, 2, 2, 3]
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a partial file remains"
        );
    }

    #[test]
    fn a_damaged_record_is_an_error_and_does_not_reset_the_serial() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in ["", "{}", "{\"serial\":-1,\"image\":\"\"}"] {
            std::fs::write(&path, text).unwrap();
            let error = assign(dir.path(), Sha256::of(b"a"))
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
