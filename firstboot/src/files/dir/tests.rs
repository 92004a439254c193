//! Tests operations on folders in which another user has planted entries. firstboot must not follow
//! the entries, change anything outside the folders, or block.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{geteuid, mkfifo};

use super::*;
use crate::files::tree::DEEPEST;
use crate::files::{self, DesiredDir, DesiredFile, partial_file::PartialFile};

/// The kinds of entries that another user can plant in place of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    LinkToFile,
    LinkToFolder,
    DanglingLink,
    HardLink,
    Fifo,
    Device,
    Folder,
    File,
}

const ALL: [Planted; 8] = [
    Planted::LinkToFile,
    Planted::LinkToFolder,
    Planted::DanglingLink,
    Planted::HardLink,
    Planted::Fifo,
    Planted::Device,
    Planted::Folder,
    Planted::File,
];

/// A folder to which another user can write, and the files outside that folder.
struct Bed {
    root: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let bed = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bed.volume()).unwrap();
        fs::create_dir(bed.outside("folder")).unwrap_or_default();
        fs::create_dir_all(bed.outside("folder")).unwrap();
        fs::write(bed.outside("folder/inner"), "inner").unwrap();
        fs::write(bed.outside("file"), "precious").unwrap();
        // Any user can write to this folder.
        fs::set_permissions(
            bed.volume(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        bed
    }

    fn volume(&self) -> PathBuf {
        self.root.path().join("volume")
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.root.path().join("outside").join(name)
    }

    /// Plants an entry at a path in the volume. Returns `false` if the current user cannot create
    /// an entry of this kind.
    fn plant(&self, planted: Planted, at: &Path) -> bool {
        match planted {
            Planted::LinkToFile => symlink(self.outside("file"), at).unwrap(),
            Planted::LinkToFolder => symlink(self.outside("folder"), at).unwrap(),
            Planted::DanglingLink => symlink(self.outside("made"), at).unwrap(),
            Planted::HardLink => fs::hard_link(self.outside("file"), at).unwrap(),
            Planted::Fifo => mkfifo(at, Mode::from_bits_truncate(0o666)).unwrap(),
            Planted::Device => {
                let made = mknod(
                    at,
                    SFlag::S_IFCHR,
                    Mode::from_bits_truncate(0o666),
                    makedev(1, 5),
                );
                return geteuid().is_root() && made.is_ok();
            }
            Planted::Folder => {
                fs::create_dir(at).unwrap();
                fs::write(at.join("inner"), "its own").unwrap();
            }
            Planted::File => fs::write(at, "its own").unwrap(),
        }
        true
    }

    /// Returns all files outside the volume, each with its mode, owner and content.
    fn picture(&self) -> Vec<(PathBuf, u32, u32, u64, String)> {
        let mut picture = Vec::new();
        let mut open = vec![self.root.path().join("outside")];
        while let Some(path) = open.pop() {
            let attributes = fs::symlink_metadata(&path).unwrap();
            if attributes.is_dir() {
                open.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
            let content = if attributes.is_file() {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            // Omit the number of hard links, because a planted hard link in the volume increases
            // this number.
            picture.push((
                path,
                attributes.mode(),
                attributes.uid(),
                attributes.ino(),
                content,
            ));
        }
        picture.sort();
        picture
    }
}

/// An operation of firstboot on a path.
type Deed = (&'static str, fn(&Path) -> bool);

/// The operations. Each operation returns `true` if it succeeds, whether it uses the planted entry
/// or replaces it.
const DEEDS: [Deed; 13] = [
    ("read a file", |at| files::read(at).is_ok()),
    ("read a file that may be missing", |at| {
        files::read_if_there(at).is_ok_and(|found| found.is_some())
    }),
    ("read a part of a file", |at| {
        files::read_bounded(at, 100).is_ok()
    }),
    ("hash a file", |at| files::digest(at).is_ok()),
    ("check a file against its desired state", |at| {
        DesiredFile::new(at, "precious")
            .is_current()
            .unwrap_or(false)
    }),
    ("write a file", |at| {
        DesiredFile::new(at, "new")
            .mode(0o600, own())
            .write()
            .is_ok()
    }),
    ("begin a partial file", |at| {
        let name = at
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches('.')
            .trim_end_matches(".part");
        PartialFile::begin(at.parent().unwrap(), name).is_ok()
    }),
    ("make a folder", |at| {
        DesiredDir::new(at, 0o750, own()).make().is_ok()
    }),
    ("check a folder against its desired state", |at| {
        DesiredDir::new(at, 0o750, own())
            .is_current()
            .unwrap_or(false)
    }),
    ("change the owner of a folder", |at| {
        files::chown_and_sync(at, own()).is_ok()
    }),
    ("list a folder", |at| {
        Dir::open(at).and_then(|dir| dir.names()).is_ok()
    }),
    ("rename a folder", |at| {
        files::rename(at, &at.with_file_name("moved")).is_ok()
    }),
    ("remove a folder with its content", |at| {
        files::remove_all(at).is_ok()
    }),
];

fn own() -> (u32, u32) {
    (geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// Runs an operation in a thread, so that the test fails instead of hanging if the operation blocks
/// on a FIFO.
fn in_time<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = mpsc::channel();
    std::thread::spawn(move || send.send(act()));
    done.recv_timeout(Duration::from_secs(20))
        .unwrap_or_else(|_| panic!("{what} does not return"))
}

#[test]
fn no_planted_entry_changes_anything_outside_or_blocks() {
    for (what, deed) in DEEDS {
        for planted in ALL {
            // Plant the entry at the path itself, at the file's temporary name, or in place of a
            // folder on the path.
            for (place, at) in [
                ("x", "x"),
                (".x.new", "x"),
                (".x.part", ".x.part"),
                ("x", "x/inner"),
                ("x", "x/deep/inner"),
            ] {
                let bed = Bed::new();
                if !bed.plant(planted, &bed.volume().join(place)) {
                    continue;
                }
                let before = bed.picture();
                let said = format!("{what} at {at}, {planted:?} at {place}");
                let path = bed.volume().join(at);
                let done = in_time(&said, move || deed(&path));
                assert_eq!(
                    bed.picture(),
                    before,
                    "{said}: something outside has changed (done: {done})"
                );
                let through_a_link = at.starts_with("x/")
                    && matches!(
                        planted,
                        Planted::LinkToFile | Planted::LinkToFolder | Planted::DanglingLink
                    );
                let nothing_there = what == "remove a folder with its content"
                    || what == "check a file against its desired state";
                assert!(
                    !(through_a_link && done) || nothing_there && planted == Planted::DanglingLink,
                    "{said}: firstboot followed the entry"
                );
            }
        }
    }
}

#[test]
fn only_links_owned_by_root_are_followed() {
    let bed = Bed::new();
    let closed = bed.root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    for folder in [&closed, &bed.volume()] {
        symlink(bed.outside("folder"), folder.join("link")).unwrap();
        symlink("link", folder.join("link-to-link")).unwrap();
        symlink("itself", folder.join("itself")).unwrap();
    }
    for name in ["link/inner", "link-to-link/inner", "link/../folder/inner"] {
        assert_eq!(files::read(closed.join(name)).unwrap(), b"inner", "{name}");
        let error = format!("{:#}", files::read(bed.volume().join(name)).unwrap_err());
        assert!(
            error.contains("a link that another user could have created"),
            "{error}"
        );
    }
    assert!(files::read(closed.join("itself")).is_err());
    if geteuid().is_root() {
        std::os::unix::fs::lchown(closed.join("link"), Some(450), Some(450)).unwrap();
        assert!(
            files::read(closed.join("link/inner")).is_err(),
            "another user created the link before the folder belonged to root"
        );
    }
    assert_eq!(
        files::read_if_there(closed.join("absent/inner")).unwrap(),
        None
    );
}

#[test]
fn a_swap_between_two_checks_is_detected_or_harmless() {
    let bed = Bed::new();
    let at = bed.volume().join("x");
    let before = bed.picture();
    let (stop, stopped) = mpsc::channel::<()>();
    let (outside, planted) = (bed.outside("folder"), at.clone());
    let attacker = std::thread::spawn(move || {
        let aside = planted.with_file_name("aside");
        while stopped.try_recv().is_err() {
            let _ = fs::create_dir(&planted);
            let _ = fs::write(planted.join("inner"), "its own");
            let _ = fs::rename(&planted, &aside);
            let _ = symlink(&outside, &planted);
            let _ = fs::remove_file(&planted);
            let _ = fs::remove_dir_all(&aside);
        }
    });
    for _ in 0..800 {
        let _ = files::remove_all(&at);
        let _ = files::chown_and_sync(&at, own());
        let _ = Dir::open(&at).and_then(|folder| folder.change_owner(own()));
        let _ = DesiredFile::new(at.join("inner"), "new")
            .mode(0o600, own())
            .write();
        let _ = DesiredDir::new(&at, 0o700, own()).make();
    }
    stop.send(()).unwrap();
    attacker.join().unwrap();
    assert_eq!(bed.picture(), before, "something outside has changed");
}

#[test]
fn the_content_of_a_folder_is_counted_and_removed_up_to_a_depth_limit() {
    let bed = Bed::new();
    let at = bed.volume().join("deep");
    let mut path = at.clone();
    for _ in 0..DEEPEST - 2 {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "12345").unwrap();
        path.push("d");
    }
    assert_eq!(
        Dir::open(&at).unwrap().size().unwrap(),
        5 * (DEEPEST as u64 - 2)
    );
    files::remove_all(&at).unwrap();
    assert!(!at.exists());
    fs::create_dir_all((0..DEEPEST + 5).fold(at.clone(), |path, _| path.join("d"))).unwrap();
    assert!(files::remove_all(&at).is_err() && Dir::open(&at).unwrap().size().is_err());
}

#[test]
fn the_owner_of_a_file_with_a_second_name_cannot_be_changed() {
    let bed = Bed::new();
    let tree = bed.volume().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::hard_link(bed.outside("file"), tree.join("file")).unwrap();
    assert!(
        format!("{:#}", files::chown_and_sync(&tree, own()).unwrap_err())
            .contains("has a second name")
    );
}

#[test]
fn the_owner_of_unreadable_files_and_files_of_others_is_changed_once() {
    let bed = Bed::new();
    let tree = bed.volume().join("tree");
    fs::create_dir_all(tree.join("member/wal")).unwrap();
    for file in ["member/wal/0.wal", "member/db"] {
        fs::write(tree.join(file), "content").unwrap();
        fs::set_permissions(tree.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for folder in ["", "member", "member/wal"] {
        fs::set_permissions(tree.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let give = || Dir::open(&tree).unwrap().change_owner(own()).unwrap();
    assert_eq!(give(), 0);
    fs::set_permissions(
        tree.join("member/wal/0.wal"),
        fs::Permissions::from_mode(0o400),
    )
    .unwrap();
    fs::set_permissions(tree.join("member/wal"), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!((give(), give()), (2, 0));
    fs::hard_link(tree.join("member/db"), tree.join("second")).unwrap();
    fs::set_permissions(tree.join("member/db"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(give(), 0, "a file with a second name keeps its owner");
}
