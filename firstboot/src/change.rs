//! Represents changes to the node as values. A step returns the changes that are still necessary,
//! and only this module makes these changes. Therefore, a plan shows exactly what a run does.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::files::{DesiredDir, DesiredFile};
use crate::interface::Interface;
use crate::output::say;
use crate::system_command::run;

/// One change. Making a change twice has the same effect as making it once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Create a folder, or correct its mode or owner.
    Folder(DesiredDir),
    File(DesiredFile),
    /// Set the host name of the running kernel.
    Hostname(String),
    /// Assign the node's address to an interface. If the interface already has the address, only
    /// write the settings for later activations.
    Interface(Interface),
    /// Set the SELinux labels of these paths as the policy requires, but not the labels of their
    /// content.
    Relabel(Vec<PathBuf>),
    /// Set the SELinux labels of a folder and its entire content.
    RelabelAll(PathBuf),
}

impl Change {
    pub(crate) fn apply(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.make(),
            Self::File(file) => file.write(),
            Self::Hostname(name) => nix::unistd::sethostname(name)
                .with_context(|| format!("cannot set the host name {name}")),
            Self::Interface(interface) => interface.bring_up(),
            Self::Relabel(paths) => {
                let paths: Vec<String> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                run(
                    "restorecon",
                    &[
                        &["-F"],
                        &paths.iter().map(String::as_str).collect::<Vec<_>>()[..],
                    ]
                    .concat(),
                )
            }
            Self::RelabelAll(path) => run("restorecon", &["-R", "-F", &path.display().to_string()]),
        }
    }
}

impl Change {
    /// Prints the change and makes it.
    pub(crate) fn apply_and_log(&self) -> Result<()> {
        say(self.to_string());
        self.apply()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => {
                let (user, group) = folder.owner;
                write!(
                    f,
                    "folder {} ({:04o}, {user}:{group})",
                    folder.path.display(),
                    folder.mode
                )
            }
            Self::File(file) => {
                let (user, group) = file.owner;
                write!(
                    f,
                    "write {} ({:04o}, {user}:{group})",
                    file.path.display(),
                    file.mode
                )
            }
            Self::Hostname(name) => write!(f, "host name {name}"),
            Self::Interface(interface) => {
                write!(
                    f,
                    "{} {}/{} on {}",
                    if interface.has_address {
                        "static settings for the address"
                    } else {
                        "address"
                    },
                    interface.address,
                    interface.prefix,
                    interface.name
                )
            }
            Self::Relabel(paths) => {
                let paths: Vec<String> = paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(f, "SELinux labels of {}", paths.join(", "))
            }
            Self::RelabelAll(path) => {
                write!(f, "SELinux labels of {} and its content", path.display())
            }
        }
    }
}

/// Returns the change that corrects a file, or `None` if the file is correct.
pub(crate) fn file(wanted: DesiredFile) -> Result<Option<Change>> {
    Ok(if wanted.is_current()? {
        None
    } else {
        Some(Change::File(wanted))
    })
}

/// Returns the change that corrects a folder, or `None` if the folder is correct.
pub(crate) fn folder(wanted: DesiredDir) -> Result<Option<Change>> {
    Ok(if wanted.is_current()? {
        None
    } else {
        Some(Change::Folder(wanted))
    })
}
