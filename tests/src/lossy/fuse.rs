//! Presents the tree to the kernel through FUSE. A program's writes arrive here immediately,
//! because the kernel uses no write-back cache.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::tree::{Body, Tree};

/// The time for which the kernel may cache an answer. The time is zero, because a power cut can
/// change any answer.
const TTL: Duration = Duration::ZERO;

pub(super) struct Shared(pub(super) Arc<Mutex<Tree>>);

type Answer<T> = Result<T, nix::errno::Errno>;

fn no(errno: nix::errno::Errno) -> Errno {
    Errno::from_i32(errno as i32)
}

fn reply_empty(answer: Answer<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(no(errno)),
    }
}

impl Shared {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attributes(tree: &Tree, at: u64) -> Answer<FileAttr> {
    let content = tree.get(at)?;
    let (kind, size, nlink) = match &content.body {
        Body::Folder(_) => (FileType::Directory, 0, 2),
        Body::File { size, .. } => (FileType::RegularFile, *size, 1),
    };
    let time = SystemTime::UNIX_EPOCH;
    Ok(FileAttr {
        ino: INodeNo(at),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: u16::try_from(content.mode & 0o7777).unwrap_or_default(),
        nlink,
        uid: content.owner.0,
        gid: content.owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        match tree
            .find(parent.0, name)
            .and_then(|at| attributes(&tree, at))
        {
            Ok(found) => reply.entry(&TTL, &found, Generation(0)),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn getattr(&self, _: &Request, at: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.tree(), at.0) {
            Ok(found) => reply.attr(&TTL, &found),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        at: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree();
        let set = |tree: &mut Tree| -> Answer<FileAttr> {
            if let Some(size) = size {
                tree.resize(at.0, size)?;
            }
            let content = tree.get_mut(at.0)?;
            content.mode = mode.map_or(content.mode, |mode| mode & 0o7777);
            content.owner = (
                uid.unwrap_or(content.owner.0),
                gid.unwrap_or(content.owner.1),
            );
            attributes(tree, at.0)
        };
        match set(&mut tree) {
            Ok(found) => reply.attr(&TTL, &found),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn mkdir(
        &self,
        who: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        mask: u32,
        reply: ReplyEntry,
    ) {
        let mut tree = self.tree();
        let own = tree.create(
            parent.0,
            name,
            mode & !mask & 0o7777,
            (who.uid(), who.gid()),
            true,
        );
        match own.and_then(|at| attributes(&tree, at)) {
            Ok(found) => reply.entry(&TTL, &found, Generation(0)),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn create(
        &self,
        who: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        mask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut tree = self.tree();
        let own = tree.create(
            parent.0,
            name,
            mode & !mask & 0o7777,
            (who.uid(), who.gid()),
            false,
        );
        match own.and_then(|at| attributes(&tree, at)) {
            Ok(found) => {
                reply.created(
                    &TTL,
                    &found,
                    Generation(0),
                    FileHandle(0),
                    FopenFlags::empty(),
                );
            }
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.tree().remove(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.tree().remove(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        reply_empty(
            self.tree()
                .rename((parent.0, name), (new_parent.0, new_name)),
            reply,
        );
    }

    fn read(
        &self,
        _: &Request,
        at: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().read(at.0, offset, u64::from(size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn write(
        &self,
        _: &Request,
        at: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree().write(at.0, offset, bytes) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or_default()),
            Err(errno) => reply.error(no(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Handles close(2), which does not flush to the disk.
        reply.ok();
    }

    fn fsync(&self, _: &Request, at: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply_empty(self.tree().flush(at.0), reply);
    }

    fn fsyncdir(&self, _: &Request, at: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply_empty(self.tree().flush(at.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        at: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let tree = self.tree();
        let names = match tree.names(at.0) {
            Ok(names) => names,
            Err(errno) => return reply.error(no(errno)),
        };
        let own = [(OsStr::new("."), at.0), (OsStr::new(".."), at.0)];
        let all = own
            .into_iter()
            .chain(names.iter().map(|(name, at)| (name.as_os_str(), *at)));
        for (number, (name, at)) in (1_u64..)
            .zip(all)
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            let is_folder = tree.get(at).is_ok_and(super::tree::Content::is_folder);
            let kind = if is_folder {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if reply.add(INodeNo(at), number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // Report a disk of 8 GiB that is half full.
        reply.statfs(1 << 21, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        at: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree();
        let size = match tree.get(at.0).map(|content| &content.body) {
            Ok(Body::File { size, .. }) => *size,
            _ => return reply.error(Errno::EISDIR),
        };
        // A program cannot see the effect of fallocate(2) with the mode FALLOC_FL_KEEP_SIZE (1).
        // The programs in the tests use only the modes 0 and 1.
        match mode {
            0 if offset + length > size => reply_empty(tree.resize(at.0, offset + length), reply),
            0 | 1 => reply.ok(),
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }
}
