//! Decides which system calls change something that outlives the process or is visible to other
//! programs, and names each of these calls.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result};
use nix::libc;
use nix::unistd::Pid;

/// The traced process, with the information from earlier calls that is needed to name later calls.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    memory: File,
    /// The peer of each socket.
    sockets: HashMap<i32, String>,
}

/// The number and the arguments of a system call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
}

impl Process {
    pub(super) fn new(pid: Pid) -> Result<Self> {
        let path = format!("/proc/{pid}/mem");
        let memory = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self {
            pid,
            memory,
            sockets: HashMap::new(),
        })
    }

    /// Opens the memory of the process again, because an exec replaces the memory.
    pub(super) fn renew(&mut self) -> Result<()> {
        *self = Self::new(self.pid)?;
        Ok(())
    }

    /// Returns the effect of a call as `ACTION OBJECT`, or `None` if the call has no effect outside
    /// the process. Remembers the peer to which a call connects a socket.
    pub(super) fn change(&mut self, call: Call) -> Option<String> {
        let [first, second, third, fourth, fifth, sixth] = call.arguments;
        let fd = low_half;
        // In the `*at` calls, a descriptor precedes the path. Only the low half of the descriptor
        // counts, because `AT_FDCWD` is a 32-bit value.
        let at = |folder: u64, path: u64| self.path(low_half(folder), path);
        let plain = |path: u64| self.path(None, path);
        let writes = (libc::O_CREAT | libc::O_TRUNC) as u64;
        match call.number {
            libc::SYS_open if second & writes != 0 => name("create", plain(first)?),
            libc::SYS_openat if third & writes != 0 => name("create", at(first, second)?),
            libc::SYS_creat => name("create", plain(first)?),
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 | libc::SYS_pwritev => {
                self.write(fd(first)?)
            }
            libc::SYS_sendto if fifth != 0 => self.notification(fifth, sixth, second, third),
            libc::SYS_sendto | libc::SYS_sendmsg => name("send", self.socket(fd(first)?)?),
            libc::SYS_connect => {
                let to = self.address(second, third)?;
                self.sockets.insert(fd(first)?, to.clone());
                name("connect", to)
            }
            libc::SYS_listen => name("listen", String::new()),
            libc::SYS_fsync | libc::SYS_fdatasync => name("fsync", self.file(fd(first)?)?),
            libc::SYS_ftruncate | libc::SYS_fallocate => name("resize", self.file(fd(first)?)?),
            libc::SYS_truncate => name("resize", plain(first)?),
            libc::SYS_rename => name("rename", plain(second)?),
            libc::SYS_renameat | libc::SYS_renameat2 => name("rename", at(third, fourth)?),
            libc::SYS_unlink | libc::SYS_rmdir => name("unlink", plain(first)?),
            libc::SYS_unlinkat => name("unlink", at(first, second)?),
            libc::SYS_mkdir => name("mkdir", plain(first)?),
            libc::SYS_mkdirat => name("mkdir", at(first, second)?),
            libc::SYS_link | libc::SYS_symlink => name("link", plain(second)?),
            libc::SYS_linkat => name("link", at(third, fourth)?),
            libc::SYS_symlinkat => name("link", at(second, third)?),
            libc::SYS_chmod => name("chmod", plain(first)?),
            libc::SYS_fchmodat => name("chmod", at(first, second)?),
            libc::SYS_fchmod => name("chmod", self.file(fd(first)?)?),
            libc::SYS_chown | libc::SYS_lchown => name("chown", plain(first)?),
            libc::SYS_fchownat => name("chown", at(first, second)?),
            libc::SYS_fchown => name("chown", self.file(fd(first)?)?),
            libc::SYS_flock => name("lock", self.file(fd(first)?)?),
            libc::SYS_mount => name("mount", plain(second)?),
            libc::SYS_umount2 => name("unmount", plain(first)?),
            libc::SYS_sethostname => name("sethostname", String::new()),
            // fork, vfork, and a clone with CLONE_VFORK start a program. A clone that starts a
            // thread does not have the flag CLONE_VFORK.
            libc::SYS_vfork | libc::SYS_fork => name("spawn", String::new()),
            libc::SYS_clone if first & libc::CLONE_VFORK as u64 != 0 => {
                name("spawn", String::new())
            }
            libc::SYS_clone3 if self.word(first)? & libc::CLONE_VFORK as u64 != 0 => {
                name("spawn", String::new())
            }
            _ => None,
        }
    }

    /// Updates the peers of the sockets when a call returns, because the call can assign a
    /// descriptor to a different socket.
    pub(super) fn returned(&mut self, number: i64, result: i64) {
        let Ok(fd) = i32::try_from(result) else {
            return;
        };
        match number {
            libc::SYS_socket => drop(self.sockets.remove(&fd)),
            libc::SYS_accept | libc::SYS_accept4 => {
                drop(self.sockets.insert(fd, "who asked".to_owned()));
            }
            _ => {}
        }
    }

    fn write(&self, fd: i32) -> Option<String> {
        // Output to the console or the systemd journal does not count as a change.
        if fd == 1 || fd == 2 {
            return None;
        }
        match self.file(fd) {
            Some(file) => name("write", file),
            None => name("send", self.socket(fd)?),
        }
    }

    /// Returns the effect of a call that sends a datagram to systemd.
    fn notification(&self, address: u64, length: u64, text: u64, count: u64) -> Option<String> {
        let to = self.address(address, length)?;
        let mut bytes = vec![0; usize::try_from(count).ok()?.min(16)];
        self.memory.read_exact_at(&mut bytes, text).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let key = text.split('=').next().unwrap_or_default();
        name("tell", format!("{to} {key}"))
    }

    /// Returns the path of the file or folder behind a descriptor, or `None` for a kernel object.
    fn file(&self, fd: i32) -> Option<String> {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).ok()?;
        lasting(target.to_str()?)
    }

    fn socket(&self, fd: i32) -> Option<String> {
        self.sockets.get(&fd).cloned()
    }

    fn path(&self, folder: Option<i32>, at: u64) -> Option<String> {
        let path = self.text(at)?;
        if path.starts_with('/') {
            return lasting(&path);
        }
        let base = match folder {
            None | Some(libc::AT_FDCWD) => format!("/proc/{}/cwd", self.pid),
            Some(fd) => format!("/proc/{}/fd/{fd}", self.pid),
        };
        let base = fs::read_link(base).ok()?;
        lasting(base.join(path).to_str()?)
    }

    fn text(&self, at: u64) -> Option<String> {
        let mut bytes = [0; 4096];
        let count = self.memory.read_at(&mut bytes, at).ok()?;
        let end = bytes[..count].iter().position(|byte| *byte == 0)?;
        String::from_utf8(bytes[..end].to_vec()).ok()
    }

    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, at).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    fn address(&self, at: u64, length: u64) -> Option<String> {
        let mut bytes = vec![0; usize::try_from(length).ok()?.min(128)];
        self.memory.read_exact_at(&mut bytes, at).ok()?;
        let family = i32::from(u16::from_le_bytes([*bytes.first()?, *bytes.get(1)?]));
        match (family, &bytes[2..]) {
            (libc::AF_INET, rest) => {
                let port = u16::from_be_bytes(rest.first_chunk().copied()?);
                let address: [u8; 4] = rest.get(2..)?.first_chunk().copied()?;
                Some(format!("{}:{port}", Ipv4Addr::from(address)))
            }
            (libc::AF_UNIX, path) => {
                let end = path
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(path.len());
                Some(String::from_utf8_lossy(&path[..end]).into_owned())
            }
            _ => None,
        }
    }
}

/// Returns the part of an argument that the kernel uses as an int.
fn low_half(argument: u64) -> Option<i32> {
    u32::try_from(argument & u64::from(u32::MAX))
        .ok()
        .map(u32::cast_signed)
}

#[expect(clippy::unnecessary_wraps, reason = "the match arms need an Option")]
fn name(deed: &str, object: impl AsRef<str>) -> Option<String> {
    Some(
        format!("{deed} {}", steady(object.as_ref()))
            .trim_end()
            .to_owned(),
    )
}

/// Returns a path, or `None` for the path of a kernel object, such as a pipe, a device or a sysctl.
fn lasting(path: &str) -> Option<String> {
    let own = ["/dev/", "/proc/", "/sys/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    (path.starts_with('/') && !own).then(|| path.to_owned())
}

/// Replaces long numbers in a name (times, indexes), because they are different in each run.
fn steady(object: &str) -> String {
    let (mut text, mut digits) = (String::new(), String::new());
    for letter in object.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        text.push_str(if digits.len() >= 6 { "*" } else { &digits });
        digits.clear();
        text.push(letter);
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_indexes_are_replaced_but_ports_are_kept() {
        assert_eq!(steady("/a/half-born-20261122T110102Z"), "/a/half-born-*T*Z");
        assert_eq!(steady("10.101.15.102:2380"), "10.101.15.102:2380");
        assert_eq!(lasting("/dev/null"), None);
        assert_eq!(lasting("pipe:[1]"), None);
    }
}
