//! What should be done to the node, as values: a step says what is missing, and only here it is done. What a plan
//! shows and what a run does are therefore the same.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::files::{DesiredDir, DesiredFile};
use crate::interface::Interface;
use crate::output::say;
use crate::system_command::run;

/// One change. Each can be made twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A folder is made, or its mode or owner mended.
    Folder(DesiredDir),
    /// A file is written.
    File(DesiredFile),
    /// The running kernel's host name; /etc/hostname is a file like others.
    Hostname(String),
    /// An interface gets the node's address.
    Interface(Interface),
    /// The SELinux labels of these paths are set to what the policy says, and of nothing below them.
    Relabel(Vec<PathBuf>),
    /// The same for all that is below it.
    RelabelAll(PathBuf),
}

impl Change {
    /// Makes it.
    pub(crate) fn apply(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.make(),
            Self::File(file) => file.write(),
            Self::Hostname(name) => {
                nix::unistd::sethostname(name).with_context(|| format!("cannot set the host name {name}"))
            }
            Self::Interface(interface) => interface.bring_up(),
            Self::Relabel(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                run("restorecon", &[&["-F"], &paths.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
            }
            Self::RelabelAll(path) => run("restorecon", &["-R", "-F", &path.display().to_string()]),
        }
    }
}

impl Change {
    /// Prints the change and makes it.
    pub(crate) fn carry_out(&self) -> Result<()> {
        say(self.to_string());
        self.apply()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => {
                let (user, group) = folder.owner;
                write!(f, "folder {} ({:04o}, {user}:{group})", folder.path.display(), folder.mode)
            }
            Self::File(file) => {
                let (user, group) = file.owner;
                write!(f, "write {} ({:04o}, {user}:{group})", file.path.display(), file.mode)
            }
            Self::Hostname(name) => write!(f, "host name {name}"),
            Self::Interface(interface) => {
                write!(f, "address {}/{} on {}", interface.address, interface.prefix, interface.name)
            }
            Self::Relabel(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                write!(f, "SELinux labels of {}", paths.join(", "))
            }
            Self::RelabelAll(path) => write!(f, "SELinux labels of {} and all that is in it", path.display()),
        }
    }
}

/// The change that makes a file what it should be; none where it is.
pub(crate) fn file(wanted: DesiredFile) -> Result<Option<Change>> {
    Ok(if wanted.is_current()? { None } else { Some(Change::File(wanted)) })
}

/// The change that makes a folder what it should be; none where it is.
pub(crate) fn folder(wanted: DesiredDir) -> Result<Option<Change>> {
    Ok(if wanted.is_current()? { None } else { Some(Change::Folder(wanted)) })
}
