//! The answer to one request, with the faults that apply to it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::shared::Shared;
use super::{Fault, Request};

/// The maximum size of the pieces in which the body is sent.
const CHUNK_BYTES: usize = 16 * 1024;

pub(super) fn respond(
    connection: &TcpStream,
    request: &Request,
    faults: &[Fault],
    shared: &Shared,
) -> io::Result<()> {
    for fault in faults {
        match fault {
            Fault::Status(status) => return plain(connection, *status, ""),
            Fault::Redirect(to) => return plain(connection, 302, &format!("Location: {to}\r\n")),
            _ => {}
        }
    }
    if request.method != "GET" && request.method != "HEAD" {
        return plain(connection, 204, "");
    }
    let agent = request.header("user-agent").unwrap_or_default();
    let asked = faults.iter().find_map(|fault| match fault {
        Fault::Instead(start, path) if agent.starts_with(start.as_str()) => Some(path),
        _ => None,
    });
    let Some(path) =
        below(&shared.folder, asked.unwrap_or(&request.path)).filter(|path| path.is_file())
    else {
        return plain(connection, 404, "");
    };
    let size = fs::metadata(&path)?.len();
    let range = request
        .header("range")
        .filter(|_| !faults.contains(&Fault::IgnoreRange));
    let (status, first, end) = match range.map(|range| parse_range(range, size)) {
        None => (200, 0, size),
        Some(Some((first, end))) => (206, first, end),
        Some(None) => {
            return plain(
                connection,
                416,
                &format!("Content-Range: bytes */{size}\r\n"),
            );
        }
    };
    let length = faults
        .iter()
        .find_map(|fault| match fault {
            Fault::ContentLength(said) => Some(*said),
            _ => None,
        })
        .unwrap_or(end - first);
    let mut more = format!(
        "Content-Length: {length}\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n"
    );
    if status == 206 {
        let _ = write!(more, "Content-Range: bytes {first}-{}/{size}\r\n", end - 1);
    }
    head(connection, status, &more)?;
    if request.method == "GET" {
        body(connection, &path, first, end, faults, shared)?;
    }
    close(connection)
}

/// Sends the bytes of the file from `first` up to `end`, subject to the faults.
fn body(
    mut connection: &TcpStream,
    path: &Path,
    first: u64,
    end: u64,
    faults: &[Fault],
    shared: &Shared,
) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(first))?;
    let mut at = first;
    let mut stops: Vec<(u64, Option<Duration>)> = faults
        .iter()
        .filter_map(|fault| match fault {
            Fault::CutAfter(bytes) => Some((first + bytes, None)),
            Fault::Stall(after, time) => Some((first + after, Some(*time))),
            _ => None,
        })
        .collect();
    stops.sort_unstable();
    let mut stops = stops.into_iter().peekable();
    let mut buffer = vec![0; CHUNK_BYTES];
    while at <= end {
        match stops.peek() {
            Some((place, None)) if *place == at => return connection.shutdown(Shutdown::Both),
            Some((place, Some(time))) if *place == at => {
                pause(*time, shared);
                stops.next();
                continue;
            }
            _ => {}
        }
        let until = stops.peek().map_or(end, |(place, _)| end.min(*place));
        let want = usize::try_from(until - at)
            .unwrap_or(CHUNK_BYTES)
            .min(piece(faults));
        let got = file.read(&mut buffer[..want])?;
        if got == 0 {
            break;
        }
        for fault in faults {
            let Fault::FlipByte(place) = fault else {
                continue;
            };
            let inside = place
                .checked_sub(at)
                .and_then(|inside| usize::try_from(inside).ok());
            if let Some(byte) = inside.and_then(|inside| buffer[..got].get_mut(inside)) {
                *byte ^= 0xff;
            }
        }
        connection.write_all(&buffer[..got])?;
        at += got as u64;
        if faults.iter().any(|fault| matches!(fault, Fault::Slow(_))) {
            pause(Duration::from_millis(100), shared);
        }
    }
    Ok(())
}

/// Returns the maximum number of bytes to send in one piece. If the answer is slowed down, a piece
/// contains the bytes for at most a tenth of a second.
fn piece(faults: &[Fault]) -> usize {
    let slow = faults.iter().find_map(|fault| match fault {
        Fault::Slow(rate) => usize::try_from((rate / 10).max(1)).ok(),
        _ => None,
    });
    slow.map_or(CHUNK_BYTES, |slow| slow.min(CHUNK_BYTES))
}

/// Sleeps for this time, or until the server stops.
fn pause(time: Duration, shared: &Shared) {
    let mut left = time;
    while !left.is_zero() && !shared.stop.load(std::sync::atomic::Ordering::Relaxed) {
        let step = left.min(Duration::from_millis(50));
        sleep(step);
        left -= step;
    }
}

/// Parses a single range `bytes=first-last`, `bytes=first-` or `bytes=-count`. Returns the first
/// position and the position after the last. Returns `None` if the range cannot be parsed or
/// satisfied.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (
            first.parse().ok()?,
            size.min(last.parse::<u64>().ok()?.checked_add(1)?),
        ),
    };
    (first < end).then_some((first, end))
}

/// Returns the file that the URL's path names, if it is below the folder. Percent signs are
/// literal, because the names in this project need no escapes.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then(|| folder.join(relative))
}

fn plain(connection: &TcpStream, status: u16, more: &str) -> io::Result<()> {
    head(connection, status, &format!("{more}Content-Length: 0\r\n"))?;
    close(connection)
}

fn head(mut connection: &TcpStream, status: u16, more: &str) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        302 => "Found",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        _ => "Status",
    };
    connection.write_all(
        format!("HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{more}\r\n").as_bytes(),
    )
}

fn close(connection: &TcpStream) -> io::Result<()> {
    connection.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_http_defines_them() {
        assert_eq!(parse_range("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(parse_range("bytes=4-", 10), Some((4, 10)));
        assert_eq!(parse_range("bytes=-3", 10), Some((7, 10)));
        assert_eq!(parse_range("bytes=4-99", 10), Some((4, 10)));
        assert_eq!(parse_range("bytes=10-", 10), None);
        assert_eq!(parse_range("lines=1-2", 10), None);
    }

    #[test]
    fn a_path_cannot_leave_the_folder() {
        let folder = Path::new("/srv");
        assert_eq!(below(folder, "/a/b"), Some(PathBuf::from("/srv/a/b")));
        assert_eq!(below(folder, "/../etc/passwd"), None);
        assert_eq!(below(folder, "/a/../../b"), None);
    }
}
