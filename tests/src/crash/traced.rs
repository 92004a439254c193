//! The programs that can run under the tracer, as units of a host.

use std::path::Path;

use anyhow::Result;

use super::releases::order;
use crate::host::Host;

/// The folder on a host that contains the tracer and its orders.
pub(super) const CRASH: &str = "/crash";

/// A program that is started under the tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// firstboot.service.
    Firstboot,
    /// etcd.service.
    Etcd,
    /// `firstboot leave`, a command that an operator types. In the sweep, the command runs as a
    /// unit, so that systemd reports the command's result.
    Leave,
    /// `firstboot update`, which also runs as a unit.
    OrderUpdate,
    /// firstboot-update.service, which carries out the order of `firstboot update`.
    Update,
}

impl Traced {
    pub(super) const ALL: [Self; 5] = [
        Self::Firstboot,
        Self::Etcd,
        Self::Leave,
        Self::OrderUpdate,
        Self::Update,
    ];

    /// Returns the name of the program's unit without `.service`, which is also the name of its
    /// folder of orders.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Firstboot => "firstboot",
            Self::Etcd => "etcd",
            Self::Leave => "leave",
            Self::OrderUpdate => "order-update",
            Self::Update => "firstboot-update",
        }
    }

    /// Returns the program that starts this program. firstboot starts etcd, and `firstboot update`
    /// starts the update's unit. After the returned program has finished, nothing starts this
    /// program.
    pub(super) fn started_by(self) -> Self {
        match self {
            Self::Firstboot | Self::Etcd => Self::Firstboot,
            Self::Leave => Self::Leave,
            Self::OrderUpdate | Self::Update => Self::OrderUpdate,
        }
    }

    /// On a host that is off, installs the program's unit, or changes the image's unit so that it
    /// starts the program under the tracer. systemd stops a changed unit with SIGKILL, and restarts
    /// a changed unit of firstboot 100 ms after firstboot is killed.
    pub(super) fn install(self, host: &Host) -> Result<()> {
        let name = self.name();
        let start = |command: &str| {
            format!("ExecStart={CRASH}/tracer {CRASH}/{name} /usr/local/bin/{command}\n")
        };
        let (file, text) = match self {
            Self::Leave => (
                format!("{name}.service"),
                format!(
                    "Type=oneshot\nRemainAfterExit=yes\n{}",
                    start("firstboot leave")
                ),
            ),
            // Exit code 8 means that the node rolled the image back.
            Self::OrderUpdate => (
                format!("{name}.service"),
                format!(
                    "Type=oneshot\nRemainAfterExit=yes\nSuccessExitStatus=8\nStartLimitInterval=0\n{}",
                    order(&format!("{CRASH}/{name}"), start)
                ),
            ),
            Self::Update => (
                self.addition(),
                ADDITION.to_owned()
                    + "RestartSec=100ms\n"
                    + &start("firstboot-updater update --work"),
            ),
            Self::Firstboot => (
                self.addition(),
                ADDITION.to_owned() + "RestartSec=100ms\n" + &start("firstboot run"),
            ),
            // etcd's unit permits writes only to etcd's data, but the tracer writes to its own
            // folder.
            Self::Etcd => (
                self.addition(),
                ADDITION.to_owned() + "ReadWriteDirectories=/crash/etcd\n" + &start("etcd"),
            ),
        };
        let path = Path::new("/etc/systemd/system").join(file);
        host.write(&path.to_string_lossy(), format!("[Service]\n{text}"), 0o644)
    }

    fn addition(self) -> String {
        format!("{}.service.d/crash.conf", self.name())
    }
}

const ADDITION: &str = "NotifyAccess=all\nKillSignal=SIGKILL\nExecStart=\n";
