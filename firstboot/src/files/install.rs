//! Replaces a file with another existing file, or with a copy of that file, in one step.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use super::dir::{self, Dir};
use super::{FileAttributes, Kind, absent_or, digest, look, successor};

/// Durably gives the file `source` the second name `target`. If another file has the name `target`,
/// `source` replaces that file in one step. `source` also keeps its first name, its owner, its mode
/// and its label. If the paths are on different file systems, `target` becomes a copy with the same
/// owner and mode instead.
pub(crate) fn install(source: &Path, target: &Path) -> Result<()> {
    // A rename between two names of the same file has no effect, so the temporary name would
    // remain.
    if let (Some(from), Some(there)) = (look(source)?, look(target)?)
        && from.is_same(&there)
    {
        return Ok(());
    }
    let install = || -> io::Result<()> {
        let ((from, name), (to, target_name)) = (dir::entry(source)?, dir::entry(target)?);
        let temp = successor(&target_name);
        to.remove(&temp)?;
        match from.link(&name, &to, &temp) {
            Err(error) if error.raw_os_error() == Some(Errno::EXDEV as i32) => {
                copy(&from, &name, &to, &temp)?;
            }
            linked => linked?,
        }
        to.rename(&temp, &to, &target_name)?;
        to.sync()
    };
    install().with_context(|| {
        format!(
            "cannot install {} as {}",
            source.display(),
            target.display()
        )
    })
}

/// Replaces a file with a copy of another file in one step. Later changes to one of the files do
/// not affect the other file.
pub(crate) fn install_copy(source: &Path, target: &Path) -> Result<()> {
    let install = || -> io::Result<()> {
        let ((from, name), (to, target_name)) = (dir::target(source)?, dir::entry(target)?);
        let temp = successor(&target_name);
        to.remove(&temp)?;
        copy(&from, &name, &to, &temp)?;
        to.rename(&temp, &to, &target_name)?;
        to.sync()
    };
    install().with_context(|| format!("cannot copy {} to {}", source.display(), target.display()))
}

/// Returns whether two regular files have the same content, owner and mode.
pub(crate) fn is_equal(one: &Path, other: &Path) -> Result<bool> {
    let (Some(there), Some(other_there)) = (look(one)?, look(other)?) else {
        return Ok(false);
    };
    let attributes = |of: FileAttributes| (of.kind, of.mode, of.owner, of.size);
    let same = there.kind == Kind::File && attributes(there) == attributes(other_there);
    Ok(same && (there.is_same(&other_there) || digest(one)? == digest(other)?))
}

/// Makes a durable copy with the same owner and mode.
fn copy(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    let attributes = from.look(name)?.ok_or(io::ErrorKind::NotFound)?;
    let mut copy = to.create(new)?;
    io::copy(&mut from.file(name)?.take(attributes.size), &mut copy)?;
    dir::own(&copy, attributes.owner, attributes.mode)?;
    copy.sync_all()
}

/// Flushes a regular file to the disk.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    super::open(path)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("cannot flush {}", path.display()))
}

/// Removes a folder, if it exists and is empty.
pub(crate) fn remove_if_empty(path: &Path) -> Result<()> {
    let removed = dir::entry(path).and_then(|(folder, name)| folder.remove_empty(&name));
    absent_or(removed).with_context(|| format!("cannot remove {}", path.display()))
}

/// Returns the names of the entries in a folder.
pub(crate) fn names(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    dir::Dir::open(path)
        .and_then(|folder| folder.names())
        .with_context(|| format!("cannot list {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn an_installed_file_keeps_its_first_name() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&source, "new").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(&target, "old").unwrap();
        for _ in 0..2 {
            install(&source, &target).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "new");
            assert_eq!(
                fs::metadata(&target).unwrap().permissions().mode() & 0o7777,
                0o640
            );
            assert_eq!(
                fs::metadata(&source).unwrap().ino(),
                fs::metadata(&target).unwrap().ino()
            );
            assert_eq!(
                names(folder.path()).unwrap().len(),
                2,
                "no temporary file is left"
            );
        }
    }

    #[test]
    fn only_an_empty_folder_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        remove_if_empty(&inner).unwrap();
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a"), "").unwrap();
        remove_if_empty(&inner).unwrap();
        assert!(inner.exists());
        fs::remove_file(inner.join("a")).unwrap();
        remove_if_empty(&inner).unwrap();
        assert!(!inner.exists());
    }
}
