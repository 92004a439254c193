//! Checks whether this member passes the health check of its new image. A member passes if all of
//! these conditions hold:
//! - firstboot.service has finished, or is only waiting for the other members during the
//!   replacement of a CA;
//! - etcd of the right version answers a linearizable read, and acknowledges a write;
//! - the other running members can connect to this member.

use std::time::{Duration, Instant};

use anyhow::Result;
use recipes::{EtcdVersion, Label};

use super::{peer_connections, update_keys};
use crate::diagnosis;
use crate::etcd::{Client, installed_credentials};
use crate::reason::{Reason, ReasonId};
use crate::systemd::{ETCD_UNIT, FIRSTBOOT_UNIT};
use crate::{paths, systemd};

/// The health check fails if the member is still not healthy when etcd has started this many times.
const STARTS: u32 = 4;
/// The health check fails if at least one running member has no connection to this member for
/// longer than this time.
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit of one check.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HealthResult {
    /// The member is healthy on the image.
    Passed,
    /// The member may still become healthy. The text is the reason why the member is not healthy
    /// yet.
    Pending(String),
    /// The member will not become healthy.
    Failed(String),
}

/// A health check, with the observations of the member so far.
#[derive(Debug)]
pub(super) struct HealthCheck<'a> {
    node: &'a Label,
    serial: u64,
    /// The version of etcd that must run, if it is known.
    etcd: Option<EtcdVersion>,
    /// The newest process of etcd, whether or not it is still running.
    process: String,
    /// The number of etcd processes that have been observed so far.
    starts: u32,
    /// The time at which firstboot noticed that a running member has no connection to this member,
    /// or `None` if all running members are connected.
    unreached: Option<Instant>,
}

/// Returns whether firstboot.service, according to its status text, is only waiting for the other
/// members to trust a new CA or to stop using the old CA. An operator may give this node a document
/// with a new CA during the node's turn, but the other members receive their documents only after
/// the turn.
pub(super) fn waits_for_others(status: &str) -> bool {
    let waits = [ReasonId::CaNotTrusted, ReasonId::CaInUse];
    Reason::parse(status)
        .id
        .is_some_and(|id| waits.contains(&id))
}

impl<'a> HealthCheck<'a> {
    pub(super) fn new(node: &'a Label, serial: u64, etcd: Option<EtcdVersion>) -> Self {
        Self {
            node,
            serial,
            etcd,
            process: String::new(),
            starts: 0,
            unreached: None,
        }
    }

    pub(super) async fn run(&mut self) -> Result<HealthResult> {
        let unit = systemd::properties(FIRSTBOOT_UNIT, &["ActiveState", "SubState", "StatusText"])?;
        let of = |name: &str| unit.get(name).map(String::as_str).unwrap_or_default();
        match (of("ActiveState"), of("SubState")) {
            ("failed", _) => {
                return Ok(HealthResult::Failed(format!(
                    "firstboot: {}",
                    of("StatusText")
                )));
            }
            ("active", "exited") => {}
            _ if waits_for_others(of("StatusText")) => {}
            _ if of("StatusText").is_empty() => return self.not_yet("firstboot is starting"),
            _ => return self.not_yet(&format!("firstboot: {}", of("StatusText"))),
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, self.ask()).await {
            // If etcd has started again during the checks, the results are about the earlier
            // process.
            Ok(Ok(None)) if self.has_started_again()? => self.not_yet("etcd has just started"),
            Ok(Ok(None)) => self.reached_by_peers().await,
            Ok(Ok(Some(why))) => Ok(HealthResult::Failed(why)),
            Ok(Err(error)) => self.not_yet(&format!("etcd: {error:#}")),
            Err(_) => self.not_yet("etcd on this node did not answer in time"),
        }
    }

    /// Checks whether all running members are connected to this member's peer port.
    async fn reached_by_peers(&mut self) -> Result<HealthResult> {
        let (cluster, credentials) = (crate::identity::cluster()?, installed_credentials()?);
        let Some(name) = peer_connections::missing(&cluster, self.node, &credentials).await? else {
            self.unreached = None;
            return Ok(HealthResult::Passed);
        };
        let why = format!(
            "{name} has no connection to port {} of this member; check the firewall of this image",
            paths::PEER_PORT
        );
        if self.unreached.get_or_insert_with(Instant::now).elapsed() > PEER_TIMEOUT {
            return Ok(HealthResult::Failed(why));
        }
        self.not_yet(&why)
    }

    fn not_yet(&mut self, why: &str) -> Result<HealthResult> {
        self.has_started_again()?;
        if self.starts < STARTS {
            return Ok(HealthResult::Pending(why.to_owned()));
        }
        let reasons = diagnosis::node(&crate::identity::cluster()?, self.node);
        let words = diagnosis::text(&reasons).unwrap_or_else(|| why.to_owned());
        Ok(HealthResult::Failed(format!(
            "etcd exited {} times: {words}",
            self.starts - 1
        )))
    }

    /// Returns whether a new etcd process has started since the last check.
    fn has_started_again(&mut self) -> Result<bool> {
        // systemd keeps `ExecMainPID` after the process has exited.
        let mut unit = systemd::properties(ETCD_UNIT, &["ExecMainPID", "MainPID"])?;
        let mut of = |name: &str| unit.remove(name).unwrap_or_default();
        let (process, running) = (of("ExecMainPID"), of("MainPID"));
        Ok(self.observe(process, running != "0"))
    }

    /// Counts the starts of etcd. Returns whether `process` has started since the last observation.
    fn observe(&mut self, process: String, is_running: bool) -> bool {
        let again = process != self.process;
        // Do not count the etcd of the previous image, which the update has stopped.
        let is_previous = self.process.is_empty() && !is_running;
        self.starts += u32::from(again && process != "0" && !is_previous);
        if again {
            // The peers connect again after each start.
            self.unreached = None;
        }
        self.process = process;
        again
    }

    /// Queries etcd on this node, and writes a key through it. If there is a permanent fault,
    /// returns the fault.
    async fn ask(&self) -> Result<Option<String>> {
        let client = Client::connect(paths::OWN_CLIENT_URL, &installed_credentials()?).await?;
        // A linearizable read shows that the member has applied all writes that were acknowledged
        // before the read.
        client.healthy().await?;
        let running = client.status().await?.version;
        if let Some(etcd) = self.etcd.filter(|etcd| etcd.to_string() != running) {
            return Ok(Some(format!(
                "etcd {running} is running, but the image contains etcd {etcd}"
            )));
        }
        update_keys::write_through(&client, self.node, self.serial).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_ca_that_waits_for_other_members_does_not_fail_the_image() {
        for (status, waits) in [
            (
                "etcd-3 does not trust etcd CA 5b0c77f1 yet [ca-not-trusted]",
                true,
            ),
            (
                "etcd-3 presents a certificate of the old CA [ca-in-use]",
                true,
            ),
            ("etcd-3 does not answer [members-unhealthy]", false),
            ("starting etcd", false),
            ("", false),
        ] {
            assert_eq!(waits_for_others(status), waits, "{status}");
        }
    }

    #[test]
    fn the_etcd_of_the_previous_image_does_not_count_as_a_start() {
        let node = "etcd-1".parse().unwrap();
        let mut check = HealthCheck::new(&node, 7, None);
        let observations = [
            ("100", false, 0),
            ("101", true, 1),
            ("101", false, 1),
            ("102", true, 2),
        ];
        for (process, is_running, starts) in observations {
            check.observe(process.to_owned(), is_running);
            assert_eq!(check.starts, starts, "{process}");
        }
        // After a reboot, etcd has not had a process yet.
        let mut check = HealthCheck::new(&node, 7, None);
        check.observe("0".to_owned(), false);
        check.observe("50".to_owned(), true);
        assert_eq!(check.starts, 1);
    }
}
