//! The tar header of one entry.

use tar::{EntryType, Header};

use super::{Entry, Kind, OverlayError};

/// The block size of tar. A header is one block, and contents are padded to whole blocks.
pub(super) const BLOCK: usize = 512;

/// The largest user or group id: seven octal digits.
const MAX_ID: u64 = 0o7_777_777;
/// The largest size or time: eleven octal digits.
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The latest date that a file can have, in seconds since 1970. The date is in 2242.
pub(crate) const LATEST: u64 = MAX_SIZE;

/// Returns the header of an entry whose content has `size` bytes. The header is ustar without
/// extensions. The function refuses a value that does not fit into the header. A PAX extension
/// could hold the value, but can also contain times and ids that differ between machines.
pub(super) fn header(entry: &Entry, size: u64, mtime: u64) -> Result<Header, OverlayError> {
    let fits = |what, value: u64, most| {
        let path = entry.path.clone();
        if value > most {
            Err(OverlayError::TooBig {
                path,
                what,
                value,
                most,
            })
        } else {
            Ok(value)
        }
    };
    fits("mode", entry.mode.into(), 0o7777)?;
    let mut header = Header::new_ustar();
    let mut path = entry.path.to_string();
    match &entry.kind {
        Kind::File(_) => header.set_entry_type(EntryType::Regular),
        Kind::Dir => {
            header.set_entry_type(EntryType::Directory);
            path.push('/');
        }
    }
    header
        .set_path(path)
        .map_err(|_| OverlayError::TooLong(entry.path.clone()))?;
    header.set_mode(entry.mode);
    header.set_uid(fits("uid", entry.uid.into(), MAX_ID)?);
    header.set_gid(fits("gid", entry.gid.into(), MAX_ID)?);
    header.set_size(fits("size", size, MAX_SIZE)?);
    header.set_mtime(fits("time", mtime, MAX_SIZE)?);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            path: path.parse().unwrap(),
            mode: 0o600,
            uid: 7,
            gid: 8,
            kind: Kind::Dir,
        }
    }

    #[test]
    fn long_paths_are_split_and_longer_paths_are_refused() {
        let long = format!("{}/{}", "a".repeat(150), "b".repeat(90));
        let split = header(&entry(&long), 0, 1).unwrap();
        assert_eq!(split.path_bytes().as_ref(), format!("{long}/").as_bytes());
        assert!(header(&entry(&"a".repeat(101)), 0, 1).is_err());
    }

    #[test]
    fn numbers_that_need_an_extension_are_refused() {
        assert!(
            header(
                &Entry {
                    uid: 0o10_000_000,
                    ..entry("a")
                },
                0,
                1
            )
            .is_err()
        );
        assert!(
            header(
                &Entry {
                    mode: 0o10_000,
                    ..entry("a")
                },
                0,
                1
            )
            .is_err()
        );
        assert!(header(&entry("a"), 1 << 33, 1).is_err());
        assert!(header(&entry("a"), 0, 1 << 33).is_err());
    }

    #[test]
    fn a_header_contains_neither_user_names_nor_the_builders_time() {
        let header = header(&entry("a"), 0, 1_700_000_000).unwrap();
        assert_eq!(header.username_bytes().unwrap(), b"");
        assert_eq!(header.groupname_bytes().unwrap(), b"");
        assert_eq!(
            (
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap()
            ),
            (7, 8, 1_700_000_000)
        );
    }
}
