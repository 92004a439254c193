//! Collects the contents of the board: the machines, from the server's records, and the newest
//! report on the members.

use std::io::Read as _;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use recipes::{Envelope, InstallStage, Label, Mac};
use serde::Deserialize;

use crate::exit::with_causes;
use crate::pki;
use crate::serve::files;
use crate::serve::power::PowerResult;
use crate::serve::record::{InstallEventKind, NextBoot, Record, time};
use crate::serve::state::ServerState;
use crate::status::Report;

/// The maximum size of a node document.
const MAX_DOCUMENT_BYTES: u64 = 1 << 20;

/// The contents of the board.
#[derive(Debug)]
pub(super) struct View {
    pub(super) cluster: String,
    pub(super) machines: Vec<Machine>,
    /// The newest report on the members, or `None` if there is no client certificate, or no report
    /// yet.
    pub(super) report: Option<Arc<Report>>,
    /// Whether the server queries the members.
    pub(super) asks_members: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) card: Option<String>,
    pub(super) stage: MachineStage,
    /// The stage in detail.
    pub(super) detail: &'static str,
    /// The time of the newest event, in the format of RFC 3339.
    pub(super) since: Option<String>,
    /// The last message of the machine, the next step for the operator, or the reason why the
    /// record cannot be read.
    pub(super) message: Option<String>,
    /// The result of the newest calls of the `--power` command.
    pub(super) power: Option<PowerResult>,
    pub(super) attempts: u32,
    /// The time, in the format of RFC 3339, at which the machine first fetched its document or
    /// showed that it has its document. An earlier delivery no longer counts after the operator, or
    /// an attempt to install the machine, has allowed a new delivery.
    pub(super) document: Option<String>,
    /// The serial of the image that was the newest when the document was issued.
    pub(super) image: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum MachineStage {
    /// The server has no record of the machine and does not install it.
    #[default]
    Unknown,
    /// The machine will be installed at its next network boot.
    Allowed,
    /// An installation is in progress.
    Installing,
    /// The machine is installed, or was booted into the installer by hand. It has not reported that
    /// it is a healthy member.
    Installed,
    /// The machine reported that it is a healthy member.
    Healthy,
    /// An operator must approve the machine's key before the machine gets certificates.
    Approval,
    /// An attempt failed, firstboot refuses to start etcd, or the server cannot read the machine's
    /// record.
    Failed,
    /// All attempts have been used, and none of them was successful. An operator must allow the
    /// next attempt.
    Held,
}

impl MachineStage {
    pub(super) const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Allowed,
        Self::Installing,
        Self::Installed,
        Self::Healthy,
        Self::Approval,
        Self::Failed,
        Self::Held,
    ];

    /// Returns the stage as a word or two.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Allowed => "allowed",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Healthy => "healthy",
            Self::Approval => "awaiting approval",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }
}

impl View {
    /// Reads the records, and adds the newest report.
    pub(super) fn read(state: &ServerState) -> Result<Self> {
        let cluster = state.cluster()?;
        let name = cluster.nodes.first().map(|node| node.cluster.to_string());
        let machines = cluster
            .nodes
            .iter()
            .map(|node| {
                let mut machine = Machine::of(state, &cluster.record, &node.name);
                machine.address = node.address.to_string();
                machine.card = node.machine.mac.as_ref().map(Mac::to_string);
                machine
            })
            .collect();
        Ok(Self {
            cluster: name.unwrap_or_default(),
            machines,
            report: state.board.report(),
            asks_members: state.board.cluster_access.is_some(),
        })
    }
}

impl Machine {
    fn of(state: &ServerState, record: &Record, node: &Label) -> Self {
        let mut machine = Self {
            name: node.to_string(),
            image: image(state, node),
            power: state.power.as_ref().and_then(|power| power.result(node)),
            ..Self::default()
        };
        // If the record of a machine cannot be read, only the row of this machine shows the error.
        // The other machines are still shown.
        let added = machine.add_record(state, record, node);
        if let Err(error) = added.and_then(|last| machine.add_approval(state, node, last)) {
            machine.stage = MachineStage::Failed;
            machine.message = Some(with_causes(&error));
        }
        machine
    }

    /// Adds what the server's record contains about the machine's document and installation.
    /// Returns the time of the newest event of the installation.
    fn add_record(
        &mut self,
        state: &ServerState,
        record: &Record,
        node: &Label,
    ) -> Result<Option<SystemTime>> {
        let first = state
            .delivery(record, node)?
            .and_then(|delivery| delivery.first);
        self.document = first.map(time::text);
        let Some(installation) = record.installation(node)? else {
            self.detail = "no record of an installation";
            if self.document.is_some() {
                self.stage = MachineStage::Installed;
                self.detail = "fetched its document";
                self.since.clone_from(&self.document);
            }
            return Ok(None);
        };
        self.attempts = installation.attempts;
        let last = installation.last.as_ref();
        let held = installation.next(state.retries) == NextBoot::Held;
        self.stage = match last.map(|last| last.kind) {
            _ if held => MachineStage::Held,
            None => MachineStage::Allowed,
            Some(InstallEventKind::Sent | InstallEventKind::Kickstart) => MachineStage::Installing,
            Some(InstallEventKind::ByHand | InstallEventKind::Document) => MachineStage::Installed,
            Some(InstallEventKind::Reported(report)) => reported(report),
        };
        self.detail = last.map_or("will be installed at its next network boot", |last| {
            last.kind.as_str()
        });
        self.since = last.map(|last| time::text(last.at));
        self.message = last.and_then(|last| last.why.clone());
        Ok(last.map(|last| last.at))
    }

    /// Shows the key that an operator must approve, if the machine waits for the approval. `last` is
    /// the time of the newest event of the installation.
    fn add_approval(
        &mut self,
        state: &ServerState,
        node: &Label,
        last: Option<SystemTime>,
    ) -> Result<()> {
        let Some(ca) = &state.ca else { return Ok(()) };
        let Some((key, asked)) = pki::to_approve(&ca.pki, node)? else {
            return Ok(());
        };
        let what_to_do = format!(
            "the key {key} is waiting for approval. {}",
            pki::approval_hint(&ca.pki, node, key)
        );
        self.await_approval(last.is_none_or(|last| last < asked), what_to_do);
        Ok(())
    }

    /// Shows the stage `awaiting approval` if the machine waits for the approval of its key. A
    /// machine that reported its health or a failure waits only if it asked for approval after that
    /// report.
    fn await_approval(&mut self, asked_after_last_event: bool, what_to_do: String) {
        let waits = match self.stage {
            MachineStage::Unknown | MachineStage::Installed => true,
            MachineStage::Healthy | MachineStage::Failed => asked_after_last_event,
            _ => false,
        };
        if waits {
            (self.stage, self.message) = (MachineStage::Approval, Some(what_to_do));
        }
    }
}

fn reported(stage: InstallStage) -> MachineStage {
    match stage {
        InstallStage::Started | InstallStage::Installing => MachineStage::Installing,
        InstallStage::Installed => MachineStage::Installed,
        InstallStage::Failed | InstallStage::Refused => MachineStage::Failed,
        InstallStage::Healthy => MachineStage::Healthy,
    }
}

/// Returns the serial in a node's document. A node that generates its keys itself has a document
/// only after its enrolment.
fn image(state: &ServerState, node: &Label) -> Option<u64> {
    #[derive(Deserialize)]
    struct Newest {
        release: Option<u64>,
    }
    let path = ["nodes", node.as_str(), "node.json"].map(str::to_owned);
    let file = files::open(&state.out, &path).ok()??;
    let envelope: Envelope = serde_json::from_reader(file.take(MAX_DOCUMENT_BYTES)).ok()?;
    let newest: Newest = serde_json::from_slice(&envelope.unverified().ok()?).ok()?;
    newest.release
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_awaits_an_approval_unless_an_installation_or_a_later_report_shows_otherwise() {
        let cases = MachineStage::ALL.map(|stage| [(stage, false), (stage, true)]);
        for (stage, asked_after_last_event) in cases.into_iter().flatten() {
            let mut machine = Machine {
                stage,
                message: Some("its last message".to_owned()),
                ..Machine::default()
            };
            machine.await_approval(
                asked_after_last_event,
                "run: builder pki approve".to_owned(),
            );
            let expected = match (stage, asked_after_last_event) {
                (MachineStage::Unknown | MachineStage::Installed, _)
                | (MachineStage::Healthy | MachineStage::Failed, true) => (
                    MachineStage::Approval,
                    Some("run: builder pki approve".to_owned()),
                ),
                _ => (stage, Some("its last message".to_owned())),
            };
            assert_eq!(
                (machine.stage, machine.message),
                expected,
                "{stage:?}, asked after the last event: {asked_after_last_event}"
            );
        }
    }
}
