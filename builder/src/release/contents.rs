//! Checks each entry of a release's tarball. The decisions depend only on the headers, which `open`
//! reads.

use std::collections::BTreeSet;

use recipes::EtcdVersion;
use tar::EntryType;

use super::address;
use crate::elf::NotForCentos7;

/// The maximum number of entries. Upstream's tarballs have a few dozen entries, and the tarballs of
/// 3.4, which include the documentation, have a few hundred.
const MOST_ENTRIES: usize = 10_000;

/// The maximum size of the unpacked content. Upstream's tarballs unpack to about 60 MB, whereas a
/// decompression bomb unpacks to far more.
pub(super) const MOST_BYTES: u64 = 400 << 20;

/// The range in which a program's size is plausible. The binaries of etcd have sizes of 14 to 27
/// MB. A file whose size is outside the plausible range is not an etcd program, despite its name.
pub(super) const PLAUSIBLE: std::ops::RangeInclusive<u64> = (1 << 20)..=(128 << 20);

/// A program of an etcd release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// The etcd server.
    Etcd,
    /// The command-line client of etcd.
    Etcdctl,
    /// The tool for data directories. The releases contain this tool from 3.5 on.
    Etcdutl,
}

/// A fault of an entry, or of the tarball as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The entry's path is absolute, contains `..`, or is not a plain path in UTF-8.
    #[error(
        "this path is absolute, contains `..`, or is not a plain path in UTF-8: the tarball is not upstream's"
    )]
    Escapes,
    /// The entry is outside the single top-level folder.
    #[error(
        "it is not below {0}/, the only folder of this release: is this the tarball of another \
         version?"
    )]
    Outside(String),
    /// The entry is neither a file nor a folder, is a file in place of a folder, or is a folder in
    /// place of a program.
    #[error("it is {0}, which no upstream release has at this path: the tarball is not upstream's")]
    NotPlain(&'static str),
    /// The entry is a duplicate of an earlier entry.
    #[error(
        "it is duplicated, so different programs could unpack different content: the tarball is \
         not upstream's"
    )]
    Twice,
    /// The tarball contains too many entries.
    #[error("there are more than {MOST_ENTRIES} entries: the tarball is not upstream's")]
    TooMany,
    /// The unpacked content is too large.
    #[error("the unpacked content is larger than {} MiB: the tarball is not upstream's", MOST_BYTES >> 20)]
    TooMuch,
    /// A program is missing.
    #[error(
        "it is missing, but this release must have it: is this the tarball of another version?"
    )]
    Missing,
    /// A program is not executable.
    #[error("it is a program without execute permission (mode {0:o})")]
    NotExecutable(u32),
    /// A program has an implausible size.
    #[error("it is a program of {0} bytes, but upstream's programs have 14 to 27 million bytes")]
    Size(u64),
    /// A program does not run on the nodes.
    #[error("it does not run on CentOS 7: {0}")]
    Runs(NotForCentos7),
}

/// The facts that a tar header states about its entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) path: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) size: u64,
    pub(super) mode: u32,
}

/// The rules for the entries, and the entries read so far.
#[derive(Debug)]
pub(super) struct Contents {
    version: EtcdVersion,
    seen: BTreeSet<String>,
    bytes: u64,
}

impl Program {
    /// Returns the programs that a release of this version contains.
    pub(crate) fn of(version: EtcdVersion) -> &'static [Self] {
        if version.has_etcdutl() {
            &[Self::Etcd, Self::Etcdctl, Self::Etcdutl]
        } else {
            &[Self::Etcd, Self::Etcdctl]
        }
    }

    /// Returns the program's file name, in the release and on the node.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
        }
    }
}

impl Contents {
    pub(super) const fn new(version: EtcdVersion) -> Self {
        Self {
            version,
            seen: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Accepts one entry, or returns its fault. Returns the program if the entry is a program.
    pub(super) fn admit(&mut self, head: Head<'_>) -> Result<Option<Program>, Problem> {
        let path = plain(head.path).ok_or(Problem::Escapes)?;
        let top = address::top(self.version);
        let inside = match path.strip_prefix(&top) {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/').ok_or(Problem::Outside(top))?,
            None => return Err(Problem::Outside(top)),
        };
        let folder = match head.kind {
            EntryType::Regular => false,
            EntryType::Directory => true,
            other => return Err(Problem::NotPlain(kind(other))),
        };
        if !self.seen.insert(path.to_owned()) {
            return Err(Problem::Twice);
        }
        if self.seen.len() > MOST_ENTRIES {
            return Err(Problem::TooMany);
        }
        self.bytes = self.bytes.saturating_add(head.size);
        if self.bytes > MOST_BYTES {
            return Err(Problem::TooMuch);
        }
        let program = Program::of(self.version)
            .iter()
            .copied()
            .find(|program| program.name() == inside);
        if folder != inside.is_empty() && (program.is_some() || inside.is_empty()) {
            return Err(Problem::NotPlain(if folder {
                "a folder"
            } else {
                "a file"
            }));
        }
        if program.is_some() {
            if head.mode & 0o111 == 0 {
                return Err(Problem::NotExecutable(head.mode));
            }
            if !PLAUSIBLE.contains(&head.size) {
                return Err(Problem::Size(head.size));
            }
        }
        Ok(program)
    }

    /// Returns the path of the first expected program that the tarball does not contain, if any.
    pub(super) fn missing(&self) -> Option<String> {
        let top = address::top(self.version);
        let paths = Program::of(self.version)
            .iter()
            .map(|program| format!("{top}/{}", program.name()));
        paths.into_iter().find(|path| !self.seen.contains(path))
    }
}

/// Returns the path without a trailing slash. Returns `None` if the path is absolute or not UTF-8,
/// if it has an empty, `.` or `..` component, or if it contains a control character.
fn plain(path: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(path).ok()?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let names =
        |name: &str| !["", ".", ".."].contains(&name) && !name.contains(|c: char| c.is_control());
    path.split('/').all(names).then_some(path)
}

/// Returns the usual word for this type of entry.
fn kind(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char => "a character device",
        EntryType::Block => "a block device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "an entry of unknown type",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_is_refused_or_stays_inside_the_release(
            entries in prop::collection::vec((
                "(etcd-v3\\.5\\.33-linux-amd64)?(/|/\\.\\.|/\\.|/etcd|etcdctl|a|\0|é){0,3}",
                prop::sample::select(&[b'0', b'1', b'2', b'3', b'5', b'6', b'g', b'x', 0][..]),
                prop_oneof![9 => Just(1 << 20), 1 => any::<u64>()],
                0..0o10000_u32,
            ), 0..9),
        ) {
            let version = "3.5.33".parse().unwrap();
            let (mut contents, top) = (Contents::new(version), address::top(version));
            for (path, kind, size, mode) in &entries {
                let head = Head {
                    path: path.as_bytes(),
                    kind: EntryType::new(*kind),
                    size: *size,
                    mode: *mode,
                };
                if let Ok(program) = contents.admit(head) {
                    prop_assert!(contents.bytes <= MOST_BYTES);
                    prop_assert!(path.starts_with(&top) && path.split('/').all(|name| name != ".."), "{path:?}");
                    let name = program.map(|program| format!("{top}/{}", program.name()));
                    let path = path.strip_suffix('/').unwrap_or(path);
                    prop_assert!(name.is_none_or(|name| name == path), "{path:?}");
                }
            }
        }
    }
}
