//! A network namespace, and ways to act inside it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::process;

/// The name of a network namespace. [`Namespace::create`] makes the namespace, and the network that
/// contains the namespace removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    pub(super) fn create(name: &str) -> Result<Namespace> {
        process::check("ip", &["netns", "add", name])?;
        process::check("ip", &["-n", name, "link", "set", "lo", "up"])?;
        Ok(Namespace(name.to_owned()))
    }

    pub(super) fn remove(&self) {
        if let Err(error) = process::check("ip", &["netns", "delete", &self.0]) {
            eprintln!("bed: {error:#}");
        }
    }

    /// Returns the namespace's name, as `ip -n` and `ip netns` expect it.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Returns the file that represents the namespace, as nspawn and nsenter expect it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.0)
    }

    /// Returns a command that runs in this network namespace. For every other kind of namespace,
    /// such as mount and PID namespaces, the command uses the test program's namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a function in the namespace on a separate thread, and returns the result. Every socket
    /// that the function opens stays in the namespace, even if it is later used elsewhere. Threads
    /// that the function starts also stay in the namespace.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter {}", path.display()))?;
                Ok(act())
            });
            thread
                .join()
                .map_err(|_| anyhow!("the work in the network namespace {} panicked", self.0))?
        })
    }

    /// Returns a listening socket in the namespace.
    pub fn listen(
        &self,
        address: impl ToSocketAddrs + Send + std::fmt::Debug,
    ) -> Result<TcpListener> {
        let text = format!("{address:?}");
        self.within(move || TcpListener::bind(address))?
            .with_context(|| {
                format!(
                    "cannot listen on {text} in the network namespace {}",
                    self.0
                )
            })
    }
}

/// Connects to a server from one of the addresses of the current namespace.
pub fn connect_from(own: Ipv4Addr, server: SocketAddrV4) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    let own = SocketAddrV4::new(own, 0);
    bind(fd.as_raw_fd(), &SockaddrIn::from(own))?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(server))?;
    Ok(TcpStream::from(fd))
}

pub(super) fn ip(arguments: &[&str]) -> Result<()> {
    process::check("ip", arguments).map(drop)
}
