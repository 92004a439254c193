//! The state of the installation of one node's machine, without I/O: its beginning, its progress
//! and its end.

use std::time::SystemTime;

use recipes::{Sha256, Stage};
use serde::{Deserialize, Serialize};

use super::time;

/// The record of a node's installation. The record usually begins when the operator allows an
/// installation. A machine without a record may be a member of a running cluster, so its disk is
/// not erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Installation {
    /// The number of times that the machine has received the installer since an installation was
    /// last allowed.
    pub(crate) attempts: u32,
    /// The token that proves that a report comes from the newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Event>,
    /// The time at which the newest attempt began.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) began: Option<SystemTime>,
    /// The time of completion. After the completion, the machine boots from its disk.
    #[serde(
        default,
        with = "time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) installed: Option<SystemTime>,
    /// The record from before the node asked to be installed again. If the node withdraws its
    /// request, the server restores this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Box<Self>>,
    /// The image that the node asked for. Another image might erase the data that the node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Sha256>,
}

/// An event of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Event {
    /// The step that happened.
    pub(crate) step: Step,
    /// The time of the step.
    #[serde(with = "time")]
    pub(crate) at: SystemTime,
    /// The reason, if something failed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

/// A step that the server observed or the machine reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
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
    Reported(Stage),
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

/// The error for a report of an older attempt, or a late report that contradicts a completed
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
        before.renewed(now);
        // The record would otherwise grow with each installation that the node asks for.
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
        record.document(now);
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
            None if self.attempts > retries => NextBoot::Held,
            None => NextBoot::Install(self.attempts + 1),
        }
    }

    /// Records that the server sends the installer to the machine.
    pub(crate) fn send(&mut self, token: String, now: SystemTime) {
        self.attempts += 1;
        self.token = Some(token);
        self.began = Some(now);
        self.note_step(Step::Sent, now, None);
    }

    /// Accepts the report of a stage.
    ///
    /// # Errors
    /// Fails if the token does not belong to the newest attempt, or if the installation is complete
    /// and the stage is an earlier one.
    pub(crate) fn report(
        &mut self,
        token: &str,
        stage: Stage,
        why: Option<String>,
        now: SystemTime,
    ) -> Result<(), StaleReport> {
        if self.token.as_deref() != Some(token) {
            return Err(StaleReport);
        }
        // A late report does not change a completed installation.
        if self.installed.is_some() && !stage.follows_installation() {
            return Err(StaleReport);
        }
        if stage.follows_installation() {
            self.installed.get_or_insert(now);
        }
        self.note_step(Step::Reported(stage), now, why);
        Ok(())
    }

    /// Records that the node's machine downloaded the kickstart. If this server has not begun an
    /// attempt, something else is installing the machine and will not report, so the record must
    /// prevent a boot loader from overwriting that installation.
    pub(crate) fn kickstart(&mut self, now: SystemTime) {
        if self.installed.is_none() && self.attempts == 0 {
            self.began = Some(now);
            self.installed = Some(now);
            self.note_step(Step::ByHand, now, None);
        } else if self.installed.is_none() {
            self.note_step(Step::Kickstart, now, None);
        }
    }

    /// Records that the node document was handed out. Only an installed system requests the
    /// document. If there is no report, either the report was lost, or something other than this
    /// server installed the system.
    pub(crate) fn document(&mut self, now: SystemTime) {
        if self.installed.is_none() {
            self.installed = Some(now);
            self.note_step(Step::Document, now, None);
        }
    }

    /// Records that a system whose keys were enrolled earlier received its certificates. Until the
    /// machine begins an allowed installation, the old system also requests certificates, to renew
    /// its own.
    pub(crate) fn renewed(&mut self, now: SystemTime) {
        if self.attempts > 0 {
            self.document(now);
        }
    }

    fn note_step(&mut self, step: Step, at: SystemTime, why: Option<String>) {
        self.last = Some(Event { step, at, why });
    }
}

impl Step {
    /// Returns the step as text, for the log and the table of nodes.
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
mod tests {
    use std::time::Duration;

    use super::*;

    const RETRIES: u32 = 3;
    const IMAGE: Sha256 = Sha256::new([7; 32]);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn only_the_stage_installed_ends_an_installation() {
        for stage in [Stage::Started, Stage::Installing, Stage::Failed] {
            let mut record = Installation::allowed();
            record.send("t".to_owned(), at(0));
            record.kickstart(at(1));
            record.report("t", stage, None, at(2)).unwrap();
            assert_eq!(record.next(RETRIES), NextBoot::Install(2), "{stage}");
        }
        let mut record = Installation::allowed();
        record.send("t".to_owned(), at(0));
        record.report("t", Stage::Installed, None, at(5)).unwrap();
        assert_eq!(record.next(RETRIES), NextBoot::Disk(at(5)));
        record.report("t", Stage::Healthy, None, at(9)).unwrap();
        assert_eq!(
            record.next(RETRIES),
            NextBoot::Disk(at(5)),
            "the time of the first report must be recorded"
        );
    }

    #[test]
    fn an_unfinished_installation_is_repeated_three_times() {
        let mut record = Installation::allowed();
        for attempt in 1..=4 {
            assert_eq!(record.next(RETRIES), NextBoot::Install(attempt));
            record.send(format!("t{attempt}"), at(u64::from(attempt)));
        }
        assert_eq!(record.next(RETRIES), NextBoot::Held);
        record
            .report("t4", Stage::Failed, Some("no disk".to_owned()), at(9))
            .unwrap();
        assert_eq!(record.next(RETRIES), NextBoot::Held);
        assert_eq!(record.last.unwrap().why.as_deref(), Some("no disk"));
    }

    #[test]
    fn a_report_of_an_older_attempt_changes_nothing() {
        let mut record = Installation::allowed();
        assert_eq!(
            record.report("", Stage::Installed, None, at(0)),
            Err(StaleReport),
            "an empty token must not match"
        );
        record.send("one".to_owned(), at(0));
        record.send("two".to_owned(), at(1));
        let before = record.clone();
        assert_eq!(
            record.report("one", Stage::Installed, None, at(2)),
            Err(StaleReport)
        );
        assert_eq!(record, before);
    }

    #[test]
    fn a_late_report_does_not_undo_an_installation() {
        let mut record = Installation::allowed();
        record.send("t".to_owned(), at(0));
        record.report("t", Stage::Installed, None, at(1)).unwrap();
        assert_eq!(
            record.report("t", Stage::Failed, None, at(2)),
            Err(StaleReport)
        );
        assert_eq!(record.next(RETRIES), NextBoot::Disk(at(1)));
    }

    #[test]
    fn a_machine_that_fetched_its_document_is_installed() {
        let mut record = Installation::allowed();
        record.send("t".to_owned(), at(0));
        record.document(at(7));
        assert_eq!(
            record.next(RETRIES),
            NextBoot::Disk(at(7)),
            "its report was lost"
        );
        let mut record = Installation::allowed();
        record.document(at(7));
        assert_eq!(
            record.next(RETRIES),
            NextBoot::Disk(at(7)),
            "another installer installed the machine"
        );
    }

    #[test]
    fn a_renewal_by_the_old_system_does_not_end_the_installation() {
        let mut record = Installation::allowed();
        record.renewed(at(1));
        assert_eq!(record.next(RETRIES), NextBoot::Install(1));
        record.send("t".to_owned(), at(2));
        record.renewed(at(3));
        assert_eq!(
            record.next(RETRIES),
            NextBoot::Disk(at(3)),
            "the new system kept the keys, and its report was lost"
        );
    }

    #[test]
    fn a_machine_that_fetched_the_kickstart_without_ipxe_counts_as_installed() {
        let mut record = Installation::allowed();
        record.kickstart(at(1));
        assert_eq!(record.next(RETRIES), NextBoot::Disk(at(1)));
    }

    #[test]
    fn a_node_that_withdraws_its_request_is_not_installed_again() {
        let mut installed = Installation::allowed();
        installed.send("t".to_owned(), at(0));
        installed.report("t", Stage::Healthy, None, at(1)).unwrap();
        let asked = Installation::asked_by_node(Some(installed.clone()), IMAGE, at(2));
        assert_eq!(asked.next(RETRIES), NextBoot::Install(1));
        assert_eq!(asked.withdrawn(), Some(installed.clone()));
        // The node repeats its request, because the answer may get lost.
        let mut again = Installation::asked_by_node(Some(asked), IMAGE, at(3));
        assert_eq!(again.withdrawn(), Some(installed.clone()));
        // The installer stopped without a change, and the old system was started.
        again.send("u".to_owned(), at(4));
        assert_eq!(again.withdrawn(), Some(installed));
        again.report("u", Stage::Installed, None, at(5)).unwrap();
        assert_eq!(again.withdrawn(), None, "the installation is complete");

        // This server has not installed the node.
        let asked = Installation::asked_by_node(None, IMAGE, at(2));
        assert_eq!(asked.next(RETRIES), NextBoot::Install(1));
        let restored = asked.withdrawn().unwrap();
        assert_eq!(restored.next(RETRIES), NextBoot::Disk(at(2)));
        assert_eq!(Installation::allowed().withdrawn(), None);
    }

    #[test]
    fn a_node_that_withdraws_its_request_does_not_withdraw_the_operators_permission() {
        let asked = Installation::asked_by_node(Some(Installation::allowed()), IMAGE, at(1));
        assert_eq!(asked.withdrawn(), Some(Installation::allowed()));
    }

    #[test]
    fn a_record_is_read_back_unchanged() {
        let mut record = Installation::asked_by_node(None, IMAGE, at(0));
        record.send("t".to_owned(), at(0));
        record
            .report("t", Stage::Failed, Some("why".to_owned()), at(1))
            .unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""step":"failed""#), "{text}");
        assert_eq!(serde_json::from_str::<Installation>(&text).unwrap(), record);
        for step in [
            Step::Sent,
            Step::ByHand,
            Step::Kickstart,
            Step::Document,
            Step::Reported(Stage::Started),
        ] {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
        }
    }
}
