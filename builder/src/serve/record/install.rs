//! The state of the installation of one node's machine, without I/O: its beginning, its progress
//! and its end.

use std::time::SystemTime;

use recipes::{InstallStage, Sha256};
use serde::{Deserialize, Serialize};

use super::time;

/// The record of a node's installation. The record usually begins when the operator allows an
/// installation. A machine without a record may be a member of a running cluster, so its disk is
/// not erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Installation {
    /// The number of times that the machine has received the installer. The count restarts when the
    /// operator allows an installation, or when the node asks for one.
    pub(crate) attempts: u32,
    /// Whether the machine is held, because all its attempts have been used. This hold is recorded,
    /// because a server with a larger `--retries` must not erase a machine that another server has
    /// left to the operator. Only a new permission or a request of the node ends the hold, because
    /// both create a new record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) held: bool,
    /// The token that proves that a report comes from the newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<InstallEvent>,
    /// The time at which the newest attempt began. Only earlier versions wrote this time, and the
    /// server converts their records when it starts. A comparison with this time is wrong if the
    /// clock has been changed. Therefore, each attempt now replaces the record of the document's
    /// delivery instead.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) began: Option<SystemTime>,
    /// The time at which the installation was completed, or at which the machine was booted into
    /// the installer by hand. From this time on, the machine boots from its disk.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) installed: Option<SystemTime>,
    /// The record that the node's request for a reinstallation replaced. If the node withdraws its
    /// request, the server restores this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Box<Self>>,
    /// The image that the node asked for. The server does not install another image, because that
    /// image might erase the data that the node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Sha256>,
}

/// An event of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct InstallEvent {
    #[serde(rename = "step")]
    pub(crate) kind: InstallEventKind,
    /// The time of the event.
    #[serde(with = "time")]
    pub(crate) at: SystemTime,
    /// The reason, if something failed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// What the server observed or the machine reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InstallEventKind {
    /// The boot loader received the script that installs the machine.
    Sent,
    /// The node's machine, which had received the installer, downloaded the kickstart.
    Kickstart,
    /// The node's machine downloaded the kickstart, but something other than this server booted the
    /// machine into the installer.
    ByHand,
    /// The node document was handed out, so the machine has been installed.
    Document,
    /// The machine reported a stage.
    #[serde(untagged)]
    Reported(InstallStage),
}

/// The next boot of a machine that boots from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextBoot {
    /// Install. The value is the number of the attempt.
    Install(u32),
    /// Boot from the disk. The machine was installed at this time.
    Disk(SystemTime),
    /// Boot from the disk. All attempts have been used, and no attempt was completed.
    Held,
    /// Boot from the disk. This node has no record, so its disk may contain data.
    Unknown,
}

/// The error for a report of an older attempt, or for a late report that contradicts a completed
/// installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StaleReport;

impl Installation {
    /// Returns the record of an installation that the operator allowed.
    pub(crate) fn allowed() -> Self {
        Self::default()
    }

    /// Returns the record of an installation that the node itself asked for, with this image. The
    /// node runs an installed system, and `recorded` is its present record.
    pub(crate) fn asked_by_node(recorded: Option<Self>, image: Sha256, now: SystemTime) -> Self {
        let mut before = match recorded {
            Some(recorded) => recorded.withdrawn().unwrap_or(recorded),
            None => Self::installed_elsewhere(now),
        };
        if before.is_in_progress() {
            before.note_document(now);
        }
        // Drop the older record. Otherwise, the record would grow with each installation that the
        // node asks for.
        before.before = None;
        Self {
            before: Some(Box::new(before)),
            image: Some(image),
            ..Self::default()
        }
    }

    /// Returns the record of a running node that this server has not installed.
    fn installed_elsewhere(now: SystemTime) -> Self {
        let mut record = Self::default();
        record.note_document(now);
        record
    }

    /// Returns the record to restore if the node withdraws its request. Returns `None` if the node
    /// has not asked, or if the installation has been completed.
    pub(crate) fn withdrawn(&self) -> Option<Self> {
        let before = self.before.as_deref().cloned();
        before.filter(|_| self.installed.is_none())
    }

    /// Decides what the machine must do at its next boot. `retries` is the number of times that an
    /// unfinished installation is tried again.
    pub(crate) fn next(&self, retries: u32) -> NextBoot {
        match self.installed {
            Some(at) => NextBoot::Disk(at),
            None if self.held || self.attempts > retries => NextBoot::Held,
            None => NextBoot::Install(self.attempts + 1),
        }
    }

    /// Records a hold if all attempts have been used.
    pub(crate) fn note_hold(&mut self, retries: u32) {
        self.held = self.next(retries) == NextBoot::Held;
    }

    /// Returns whether an installation is allowed, and no attempt has begun.
    pub(crate) fn is_awaited(&self) -> bool {
        self.attempts == 0 && self.installed.is_none()
    }

    /// Returns whether an attempt to install the machine has begun, and no attempt has been
    /// completed.
    pub(crate) fn is_in_progress(&self) -> bool {
        self.attempts > 0 && self.installed.is_none()
    }

    /// Records that the server sends the installer to the machine.
    pub(crate) fn note_sent(&mut self, token: String, now: SystemTime) {
        self.attempts += 1;
        self.token = Some(token);
        // The caller has allowed the delivery of the document for this attempt.
        self.began = None;
        self.note_event(InstallEventKind::Sent, now, None);
    }

    /// Accepts the report of a stage.
    ///
    /// # Errors
    /// Fails if the token does not belong to the newest attempt. Also fails if the installation is
    /// complete, but the report is about a failure or an earlier stage.
    pub(crate) fn report(
        &mut self,
        token: &str,
        stage: InstallStage,
        why: Option<String>,
        now: SystemTime,
    ) -> Result<(), StaleReport> {
        if self.token.as_deref() != Some(token) {
            return Err(StaleReport);
        }
        // A late report of an earlier stage or of a failure does not change a completed
        // installation.
        if self.installed.is_some() && !stage.follows_installation() {
            return Err(StaleReport);
        }
        if stage.follows_installation() {
            self.installed.get_or_insert(now);
        }
        self.note_event(InstallEventKind::Reported(stage), now, why);
        Ok(())
    }

    /// Records that the node's machine downloaded the kickstart. If this server has not begun an
    /// attempt, something else is installing the machine, and this server will not receive reports.
    /// The record must then prevent a boot loader from overwriting that installation.
    pub(crate) fn note_kickstart(&mut self, now: SystemTime) {
        if self.is_awaited() {
            self.installed = Some(now);
            self.note_event(InstallEventKind::ByHand, now, None);
        } else if self.installed.is_none() {
            self.note_event(InstallEventKind::Kickstart, now, None);
        }
    }

    /// Records that the node document was handed out. Only an installed system requests the
    /// document. If there is no report, either the report was lost, or something other than this
    /// server installed the system.
    pub(crate) fn note_document(&mut self, now: SystemTime) {
        if self.installed.is_none() {
            self.installed = Some(now);
            self.note_event(InstallEventKind::Document, now, None);
        }
    }

    fn note_event(&mut self, kind: InstallEventKind, at: SystemTime, why: Option<String>) {
        self.last = Some(InstallEvent { kind, at, why });
    }
}

impl InstallEventKind {
    /// Returns the event as text, for the log and the table of nodes.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent the installer",
            Self::Kickstart => "downloaded the kickstart",
            Self::ByHand => "was booted by hand, and downloaded the kickstart",
            Self::Document => "fetched its document",
            Self::Reported(stage) => stage.as_str(),
        }
    }
}

#[cfg(test)]
mod tests;
