//! The snapshot from where it is: a member that has it and waits at the barrier (`--from PEER`), over the barrier's own
//! TLS; an object store; a server. What came before a connection broke is not fetched again.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::cluster::Member;
use recipes::{Label, Sha256};
use reqwest::Response;

use super::build;
use super::spool::Spool;
use crate::domain::BootstrapMode;
use crate::exit::{Exit, ExitError, not_ready, refused};
use crate::identity::Identity;
use crate::membership::{PeerClient, PeerState, ProbeResult};
use crate::output::say;
use crate::snapshot::remote::Remote;

/// For how long nothing may arrive.
const STALL: Duration = Duration::from_secs(20);

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches it from a member, and gives its path.
pub(super) fn from(identity: &Identity, peer: &Label, patience: Duration) -> Result<PathBuf> {
    let names = || identity.cluster.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
    let member = identity.cluster.member(peer).filter(|member| member.name != identity.node.name);
    let member = member.ok_or_else(|| refused(format!("{peer} is no other member; the members are {}", names())))?;
    let end = Instant::now() + patience;
    let peer_client = PeerClient::new(&identity.cluster, &identity.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let snapshot = told(&peer_client, member, end).await?;
        let mut file = Spool::begin("fetched")?;
        say(format!("fetching the snapshot {snapshot} from {peer}"));
        loop {
            let went_on = async {
                let answer = peer_client.snapshot(member, &snapshot, file.length).await?;
                go_on(&mut file, answer).await
            };
            match went_on.await {
                Ok(()) => break,
                Err(error) if Instant::now() < end => say(format!("{peer}: {error:#}; again from {}", file.length)),
                Err(error) => return Err(not_ready(format!("the snapshot could not be had from {peer}: {error:#}"))),
            }
            tokio::time::sleep(PAUSE).await;
        }
        file.finish(Some(&snapshot))
    })
}

/// Fetches what is stored elsewhere, and holds it against the manifest beside it.
pub(super) fn fetch_remote(remote: &Remote, patience: Duration) -> Result<PathBuf> {
    let end = Instant::now() + patience;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let manifest = remote.manifest().await?;
        match &manifest {
            Some(manifest) => say(format!("fetching {remote}: {} bytes, sha256 {}", manifest.size, manifest.sha256)),
            None => say(format!("fetching {remote}; no manifest beside it says what it is to be")),
        }
        let mut file = Spool::begin("fetched")?;
        loop {
            let went_on = async {
                let answer = remote.get(file.length).await?;
                let size = answer.content_length().map(|left| file.length + left);
                if let (Some(size), Some(manifest)) = (size, &manifest) {
                    let wanted = manifest.size;
                    ensure!(size == wanted, refused(format!("{remote} has {size} bytes, and its manifest {wanted}")));
                }
                go_on(&mut file, answer).await
            };
            match went_on.await {
                Ok(()) => break,
                Err(error) if error.downcast_ref::<ExitError>().is_some_and(|stop| stop.exit == Exit::Refused) => {
                    return Err(error);
                }
                Err(error) if Instant::now() < end => say(format!("{error:#}; again from {}", file.length)),
                Err(error) => return Err(not_ready(format!("the snapshot could not be had: {error:#}"))),
            }
            tokio::time::sleep(PAUSE).await;
        }
        file.finish(manifest.as_ref().map(|manifest| &manifest.sha256))
    })
}

/// Which snapshot the member was told to restore; waits until it is.
async fn told(peer_client: &PeerClient, member: &Member, end: Instant) -> Result<Sha256> {
    let mut said = false;
    loop {
        let why = match peer_client.ask(member, false).await {
            ProbeResult::State(PeerState::Firstboot { mode: BootstrapMode::Restore { snapshot, .. }, .. }) => {
                return Ok(snapshot);
            }
            heard => heard.to_string(),
        };
        let name = &member.name;
        if Instant::now() >= end {
            return Err(not_ready(format!("{name} was not told to restore in time: {why}")));
        }
        if !said {
            say(format!("waiting until {name} is told to restore ({why}): run `firstboot restore SNAPSHOT` there"));
            said = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// From where it stands to its end, in one answer, which says how much of it is left.
async fn go_on(file: &mut Spool, mut answer: Response) -> Result<()> {
    let left = answer.content_length().context("its answer does not say how long it is")?;
    if file.length == 0 {
        // It, and the data that is made of it.
        build::check_room(2 * left)?;
    }
    let end = file.length + left;
    while let Some(chunk) = tokio::time::timeout(STALL, answer.chunk()).await.context("it stalled")?? {
        ensure!(file.length + chunk.len() as u64 <= end, "its answer is longer than it said");
        file.write_all(&chunk).context("the snapshot cannot be kept")?;
    }
    if file.length < end {
        bail!("its answer ended {} bytes too soon", end - file.length);
    }
    Ok(())
}
