//! The arguments of individual commands.

use std::fmt;

/// The last action of anaconda (commands/reboot.py; exitHandler in the program anaconda).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalAction {
    /// `reboot`.
    Reboot,
    /// `poweroff` or `shutdown`.
    Poweroff,
    /// `halt`: anaconda asks for confirmation before it halts the machine.
    Halt,
}

impl fmt::Display for FinalAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::Poweroff => "poweroff",
            Self::Halt => "halt",
        })
    }
}

/// `timezone`.
#[derive(Debug, Default)]
pub(super) struct Timezone {
    pub(super) zone: String,
    pub(super) utc: bool,
    pub(super) nontp: bool,
    pub(super) servers: Vec<String>,
}

/// `firewall`.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    pub(super) seen: bool,
    pub(super) disabled: bool,
    pub(super) system_defaults: bool,
    pub(super) trusts: Vec<String>,
    pub(super) ports: Vec<String>,
    pub(super) services: Vec<String>,
    pub(super) remove_services: Vec<String>,
}

/// `bootloader`.
#[derive(Debug, Default)]
pub(super) struct BootLoader {
    pub(super) none: bool,
    /// Whether the boot loader is disabled. A disabled boot loader differs from `none`: anaconda
    /// omits the boot loader's packages only if the boot loader is disabled (install.py,
    /// willInstallBootloader).
    pub(super) disabled: bool,
    pub(super) drive: Option<String>,
    pub(super) append: String,
}
