//! Downloads the snapshot from a member that is waiting at the barrier (`--from PEER`, over the
//! barrier's TLS connections), from an object store, or from a web server. Resumes an interrupted
//! download.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::cluster::Member;
use recipes::{Label, Sha256};
use reqwest::Response;

use super::build;
use super::temporary_file::TemporaryFile;
use crate::domain::BootstrapMode;
use crate::exit::{Exit, ExitError, not_ready, refused};
use crate::identity::Identity;
use crate::membership::{PeerClient, PeerState, ProbeResult};
use crate::output::say;
use crate::reason::ReasonId;
use crate::runtime::block_on;
use crate::snapshot::remote::RemoteSnapshot;

/// The time after which a download that receives no data is treated as stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Downloads the snapshot from a member, and returns the path of the downloaded file.
pub(super) fn from(identity: &Identity, peer: &Label, patience: Duration) -> Result<PathBuf> {
    let names = || {
        identity
            .cluster
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let member = identity
        .cluster
        .member(peer)
        .filter(|member| member.name != identity.node.name);
    let member = member.ok_or_else(|| {
        let text = format!(
            "{peer} is not another member of this cluster; the members are {}",
            names()
        );
        refused(ReasonId::RestoreSource.because(text))
    })?;
    let end = Instant::now() + patience;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    block_on(async {
        let snapshot = ordered(&peer_client, member, end).await?;
        let mut file = TemporaryFile::begin("fetched")?;
        say(format!("downloading the snapshot {snapshot} from {peer}"));
        loop {
            let went_on = async {
                let answer = peer_client.snapshot(member, &snapshot, file.length).await?;
                receive_rest(&mut file, answer).await
            };
            match went_on.await {
                Ok(()) => break,
                Err(error) if Instant::now() < end => {
                    say(format!(
                        "{peer}: {error:#}; resuming the download at byte {}",
                        file.length
                    ));
                }
                Err(error) => {
                    let text = format!("cannot download the snapshot from {peer}: {error:#}");
                    return Err(not_ready(ReasonId::SnapshotInterrupted.because(text)));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        file.finish(Some(&snapshot))
    })
}

/// Downloads a snapshot from an object store or a web server, and compares the snapshot with its
/// manifest if there is a manifest.
pub(super) fn fetch_remote(remote: &RemoteSnapshot, patience: Duration) -> Result<PathBuf> {
    let end = Instant::now() + patience;
    block_on(async {
        let manifest = remote.manifest().await?;
        match &manifest {
            Some(manifest) => say(format!(
                "downloading {remote}: {} bytes, sha256 {}",
                manifest.size, manifest.sha256
            )),
            None => say(format!(
                "downloading {remote}, whose size and digest are unknown, because it has no \
                 manifest"
            )),
        }
        let mut file = TemporaryFile::begin("fetched")?;
        loop {
            let went_on = async {
                let answer = remote.get(file.length).await?;
                let size = answer.content_length().map(|left| file.length + left);
                if let (Some(size), Some(manifest)) = (size, &manifest) {
                    let wanted = manifest.size;
                    ensure!(
                        size == wanted,
                        refused(ReasonId::SnapshotInvalid.because(format!(
                            "{remote} has {size} bytes, but its manifest states {wanted}"
                        )))
                    );
                }
                receive_rest(&mut file, answer).await
            };
            match went_on.await {
                Ok(()) => break,
                Err(error)
                    if error
                        .downcast_ref::<ExitError>()
                        .is_some_and(|stop| stop.exit == Exit::Refused) =>
                {
                    return Err(error);
                }
                Err(error) if Instant::now() < end => {
                    say(format!(
                        "{error:#}; resuming the download at byte {}",
                        file.length
                    ));
                }
                Err(error) => {
                    let text = format!("cannot download the snapshot: {error:#}");
                    return Err(not_ready(ReasonId::SnapshotInterrupted.because(text)));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        file.finish(manifest.as_ref().map(|manifest| &manifest.sha256))
    })
}

/// Waits until the member has a restore order, and returns the digest of the snapshot in that
/// order.
async fn ordered(peer_client: &PeerClient, member: &Member, end: Instant) -> Result<Sha256> {
    let mut logged = false;
    loop {
        let why = match peer_client.probe(member, false).await {
            ProbeResult::State(PeerState::Firstboot {
                mode: BootstrapMode::Restore { snapshot, .. },
                ..
            }) => {
                return Ok(snapshot);
            }
            heard => heard.to_string(),
        };
        let name = &member.name;
        if Instant::now() >= end {
            let text = format!("{name} did not receive a restore order within the deadline: {why}");
            return Err(not_ready(ReasonId::OrderMissing.because(text)));
        }
        if !logged {
            say(format!(
                "waiting until {name} receives a restore order ({why}): run `firstboot restore \
                 SNAPSHOT` on that node"
            ));
            logged = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Receives the rest of the snapshot from one answer, whose length is the number of missing bytes.
async fn receive_rest(file: &mut TemporaryFile, mut answer: Response) -> Result<()> {
    let left = answer
        .content_length()
        .context("the answer has no Content-Length")?;
    if file.length == 0 {
        // The disk must have room for the snapshot and for the data that is built from it.
        build::check_room(2 * left)?;
    }
    let end = file.length + left;
    while let Some(chunk) = tokio::time::timeout(STALL_TIMEOUT, answer.chunk())
        .await
        .context("the download stalled")??
    {
        ensure!(
            file.length + chunk.len() as u64 <= end,
            "the answer is longer than its Content-Length"
        );
        file.write_all(&chunk)
            .context("cannot store the snapshot")?;
    }
    if file.length < end {
        bail!("the answer ended {} bytes too early", end - file.length);
    }
    Ok(())
}
