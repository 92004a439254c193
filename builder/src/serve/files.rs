//! Serves public files. Opens a file only if it is below the public folder, and decides which bytes
//! of the file an answer contains.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LAST_MODIFIED,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use time::OffsetDateTime;

use super::conditions::{Conditions, Precondition};

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    pub(super) start: u64,
    pub(super) length: u64,
}

/// The answer to a request for a file.
#[derive(Debug)]
pub(super) struct FileAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) piece: Option<Piece>,
}

impl FileAnswer {
    fn without_file(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self {
            status,
            headers,
            piece: None,
        }
    }
}

/// Opens a regular file below a folder, but does not follow links. Returns `None` if there is no
/// such file. If this function followed links, a user who can create a link in a public folder
/// could publish any file that this program can read.
pub(super) fn open(folder: &Path, parts: &[String]) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Some((last, above)) = parts.split_last() else {
        return Ok(None);
    };
    let descend = || -> Result<File, Errno> {
        // The folder itself may be a link, because the operator named it.
        let mut at = openat(
            CWD,
            folder,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        for part in above {
            at = openat(&at, part.as_str(), flags | OFlags::DIRECTORY, Mode::empty())?;
        }
        // With NONBLOCK, a FIFO is opened without waiting, and is then rejected because it is not a
        // regular file.
        Ok(openat(&at, last.as_str(), flags | OFlags::NONBLOCK, Mode::empty())?.into())
    };
    match descend() {
        Ok(file) => {
            Ok(Some(file).filter(|file| file.metadata().is_ok_and(|about| about.is_file())))
        }
        // LOOP means that the file is a link, and NXIO means that it is a socket.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NAMETOOLONG) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Builds the answer to a request for a file. The answer contains the file, or the requested part
/// of the file. If a condition fails, or if the range is outside the file, the answer contains only
/// a status.
pub(super) fn answer(file: File, name: &str, conditions: &Conditions) -> io::Result<FileAnswer> {
    let about = file.metadata()?;
    let size = about.len();
    let modified_at = about.modified().ok();
    let modified = modified_at.and_then(http_date);
    let mut headers = vec![
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CONTENT_TYPE, kind(name)),
    ];
    headers.extend(
        modified
            .as_deref()
            .and_then(|date| Some((LAST_MODIFIED, HeaderValue::from_str(date).ok()?))),
    );
    let refused = match conditions.decide(modified_at) {
        Precondition::Send => None,
        Precondition::NotModified => Some(StatusCode::NOT_MODIFIED),
        Precondition::Failed => Some(StatusCode::PRECONDITION_FAILED),
    };
    if let Some(status) = refused {
        return Ok(FileAnswer::without_file(status, headers));
    }
    // If the range refers to another version of the file, the whole file is sent (RFC 9110,
    // 13.1.5).
    let same = conditions.if_range.is_none() || conditions.if_range == modified;
    let (status, start, length) = match conditions
        .range
        .as_deref()
        .filter(|_| same)
        .map(|text| range(text, size))
    {
        None | Some(Range::Whole) => (StatusCode::OK, 0, size),
        Some(Range::Part(start, length)) => {
            let text = format!("bytes {start}-{}/{size}", start + length - 1);
            headers.extend(
                HeaderValue::from_str(&text)
                    .ok()
                    .map(|text| (CONTENT_RANGE, text)),
            );
            (StatusCode::PARTIAL_CONTENT, start, length)
        }
        Some(Range::Outside) => {
            headers.extend(
                HeaderValue::from_str(&format!("bytes */{size}"))
                    .ok()
                    .map(|text| (CONTENT_RANGE, text)),
            );
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(FileAnswer::without_file(status, headers));
        }
    };
    Ok(FileAnswer {
        status,
        headers,
        piece: Some(Piece {
            file: Arc::new(file),
            start,
            length,
        }),
    })
}

/// The bytes that a `Range` header requests.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// The whole file. The header does not specify a range of bytes, or specifies several ranges,
    /// which a server need not support (RFC 9110, 14.2).
    Whole,
    /// The start and the number of bytes.
    Part(u64, u64),
    /// The range is outside the file.
    Outside,
}

fn range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => part(first, last, size),
        (Ok(first), Err(_)) if last.is_empty() => part(first, u64::MAX, size),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => {
            part(size.saturating_sub(count), u64::MAX, size)
        }
        (Err(_), Ok(0)) if first.is_empty() => Range::Outside,
        _ => Range::Whole,
    }
}

fn part(first: u64, last: u64, size: u64) -> Range {
    if first >= size {
        Range::Outside
    } else {
        Range::Part(first, last.min(size - 1) - first + 1)
    }
}

fn kind(name: &str) -> HeaderValue {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    HeaderValue::from_static(match extension {
        "ks" | "sig" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    })
}

/// Formats a time as an HTTP date (RFC 9110, 5.6.7).
fn http_date(time: SystemTime) -> Option<String> {
    let format =
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT";
    let format = time::format_description::parse_borrowed::<2>(format).ok()?;
    OffsetDateTime::from(time).format(&format).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn parts(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn only_regular_files_below_the_folder_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        fs::create_dir_all(folder.join("real")).unwrap();
        fs::write(root.path().join("secret"), "key").unwrap();
        fs::write(folder.join("real/file"), "public").unwrap();
        symlink("../secret", folder.join("link")).unwrap();
        symlink("real/file", folder.join("inner")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("real", folder.join("also")).unwrap();
        rustix::fs::mknodat(
            CWD,
            folder.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        assert!(open(&folder, &parts("real/file")).unwrap().is_some());
        for hidden in [
            "link",
            "inner",
            "up/secret",
            "also/file",
            "fifo",
            "socket",
            "real",
            "none",
            "real/file/x",
            "..",
        ] {
            assert!(open(&folder, &parts(hidden)).unwrap().is_none(), "{hidden}");
        }
        assert!(open(&folder, &[]).unwrap().is_none());
        assert!(open(&folder, &["x".repeat(300)]).unwrap().is_none());
    }

    #[test]
    fn a_range_is_limited_to_the_file() {
        for (text, found) in [
            ("bytes=0-3", Range::Part(0, 4)),
            ("bytes=4-", Range::Part(4, 6)),
            ("bytes=-3", Range::Part(7, 3)),
            ("bytes=-99", Range::Part(0, 10)),
            ("bytes=8-99", Range::Part(8, 2)),
            ("bytes=10-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=3-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=x-y", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("bytes=0-18446744073709551615", Range::Part(0, 10)),
        ] {
            assert_eq!(range(text, 10), found, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Outside);
    }

    #[test]
    fn a_download_resumes_where_it_was_interrupted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("overlay.tar.gz");
        fs::write(&path, "0123456789").unwrap();
        let ask = |conditions: &Conditions| {
            answer(File::open(&path).unwrap(), "overlay.tar.gz", conditions).unwrap()
        };
        let whole = ask(&Conditions::default());
        assert_eq!(
            (whole.status, whole.piece.unwrap().length),
            (StatusCode::OK, 10)
        );
        let date = |answer: &FileAnswer| {
            answer
                .headers
                .iter()
                .find(|(name, _)| name == LAST_MODIFIED)
                .unwrap()
                .1
                .to_str()
                .unwrap()
                .to_owned()
        };
        let mut conditions = Conditions {
            range: Some("bytes=6-".to_owned()),
            ..Conditions::default()
        };
        let rest = ask(&conditions);
        let date = date(&rest);
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        let piece = rest.piece.unwrap();
        assert_eq!(
            (rest.status, piece.start, piece.length),
            (StatusCode::PARTIAL_CONTENT, 6, 4)
        );
        conditions.if_range = Some("another day".to_owned());
        assert_eq!(
            ask(&conditions).status,
            StatusCode::OK,
            "another version of the file must be sent completely"
        );
        let conditions = Conditions {
            if_modified_since: Some(date),
            ..Conditions::default()
        };
        assert_eq!(ask(&conditions).status, StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn no_byte_is_sent_if_a_condition_fails() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("manifest.json");
        fs::write(&path, "{}").unwrap();
        let ask = |conditions: &Conditions| {
            let answer = answer(File::open(&path).unwrap(), "manifest.json", conditions).unwrap();
            (answer.status, answer.piece.is_some())
        };
        let none_match = Conditions {
            if_none_match: Some("*".to_owned()),
            ..Conditions::default()
        };
        assert_eq!(ask(&none_match), (StatusCode::NOT_MODIFIED, false));
        let other = Conditions {
            if_match: Some("\"other\"".to_owned()),
            range: Some("bytes=0-0".to_owned()),
            ..Conditions::default()
        };
        assert_eq!(ask(&other), (StatusCode::PRECONDITION_FAILED, false));
    }

    proptest! {
        #[test]
        fn no_range_leads_out_of_the_file(text in "(bytes=)?([0-9]{1,21}|-|,| |\\PC){0,5}", size in prop_oneof![0..20_u64, any::<u64>()]) {
            if let Range::Part(start, length) = range(&text, size) {
                prop_assert!(length > 0 && start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
