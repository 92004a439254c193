//! The scripts for the network boot loaders. A machine must first identify itself. While the server
//! does not know the network card that uses the machine's address, the script makes the machine
//! repeat its request. After that, the script installs the machine if the server must install the
//! machine's node, and otherwise boots the machine from its disk.

mod grub;
mod install;
mod ipxe;
mod pxelinux;

use super::identify::Machine;
use super::refusal::Refusal;

pub(super) use grub::SCRIPT_BYTES as GRUB_SCRIPT_BYTES;
pub(super) use install::{IMAGE_PARAMETER, Install};

/// The maximum number of times that a machine repeats its request because the server does not know
/// the machine's network card yet.
const MAX_RETRIES: u32 = 5;

/// The program that a machine loads from the network, and that requests a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    Ipxe,
    Grub,
    Pxelinux,
}

impl Loader {
    /// Returns the first script, which makes the machine send its identity and request the next
    /// script. pxelinux sends the identity in its first request. If a request of pxelinux states no
    /// identity, the returned script boots the machine from its disk.
    pub(super) fn identify_script(self, server: &str) -> String {
        match self {
            Self::Ipxe => ipxe::identify_script(server),
            Self::Grub => grub::identify_script(server),
            Self::Pxelinux => pxelinux::boot_disk_script("the machine does not identify itself"),
        }
    }

    /// Returns the script that makes the machine repeat its request after a moment, or `None` after
    /// too many requests.
    pub(super) fn retry_script(
        self,
        server: &str,
        machine: &Machine,
        asked: u32,
    ) -> Option<String> {
        let next = asked.checked_add(1).filter(|next| *next <= MAX_RETRIES)?;
        Some(match self {
            Self::Ipxe => ipxe::retry_script(server, next),
            Self::Grub => grub::retry_script(server, next),
            Self::Pxelinux => pxelinux::retry_script(server, machine, next),
        })
    }

    /// Returns the script that installs the node's machine from the installation tree, with this
    /// server's kickstart.
    pub(super) fn install_script(self, install: Install<'_>, machine: &Machine) -> String {
        match self {
            Self::Ipxe => ipxe::install_script(install),
            Self::Grub => grub::install_script(install, machine),
            Self::Pxelinux => pxelinux::install_script(install),
        }
    }

    /// Returns the script that boots the machine from its disk, after showing `why`.
    pub(super) fn boot_disk_script(self, why: &str) -> String {
        match self {
            Self::Ipxe => ipxe::boot_disk_script(why),
            Self::Grub => grub::boot_disk_script(why),
            Self::Pxelinux => pxelinux::boot_disk_script(why),
        }
    }

    /// Returns the script that boots the machine from its disk, after showing the refusal with its
    /// id.
    pub(super) fn refusal_script(self, refusal: &Refusal) -> String {
        self.boot_disk_script(&refusal.to_string())
    }
}

/// Returns the machine that a file name in `pxelinux.cfg/` identifies.
pub(super) use pxelinux::machine as pxelinux_machine;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::refusal::RefusalId;

    const ALL: [Loader; 3] = [Loader::Ipxe, Loader::Grub, Loader::Pxelinux];

    #[test]
    fn a_machine_asks_again_a_bounded_number_of_times() {
        let machine = Machine::default();
        for loader in ALL {
            let first = loader.retry_script("http://s/", &machine, 0).unwrap();
            assert!(first.contains("again=1"), "{first}");
            assert_eq!(
                loader.retry_script("http://s/", &machine, MAX_RETRIES),
                None
            );
            assert_eq!(loader.retry_script("http://s/", &machine, u32::MAX), None);
        }
    }

    #[test]
    fn a_refused_machine_shows_the_id_of_the_refusal() {
        let refusal = Refusal::forbidden(RefusalId::Held, "all attempts failed");
        for loader in ALL {
            let script = loader.refusal_script(&refusal);
            assert!(script.contains("all attempts failed [held]"), "{script}");
        }
    }

    #[test]
    fn a_reason_cannot_become_a_command() {
        for loader in ALL {
            let plain = loader.boot_disk_script("no node is");
            let script = loader.boot_disk_script("no node is ${x} || boot\nkernel 'http://evil'");
            assert_eq!(
                script.trim_end().lines().count(),
                plain.trim_end().lines().count(),
                "{script}"
            );
            assert!(
                !script.contains("${x}") && !script.contains("'http"),
                "{script}"
            );
        }
    }
}
