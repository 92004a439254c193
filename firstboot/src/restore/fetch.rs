//! `--from PEER`: the snapshot from a member that has it and waits at the barrier, over the barrier's own TLS.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use recipes::cluster::Member;
use recipes::{Label, Sha256};
use ring::digest::{Context as Hasher, SHA256};

use super::build;
use crate::barrier::{Asker, Heard, Task, Words};
use crate::exit::{not_ready, refused};
use crate::files::{self, Folder, ROOT};
use crate::identity::Identity;
use crate::paths;
use crate::say::say;

/// For how long nothing may arrive.
const STALL: Duration = Duration::from_secs(20);

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches it, and gives its path. What came before a connection broke is not fetched again.
pub(super) fn from(identity: &Identity, peer: &Label, patience: Duration) -> Result<PathBuf> {
    let names = || identity.cluster.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
    let member = identity.cluster.member(peer).filter(|member| member.name != identity.node.name);
    let member = member.ok_or_else(|| refused(format!("{peer} is no other member; the members are {}", names())))?;
    let end = Instant::now() + patience;
    let asker = Asker::new(&identity.cluster, &identity.node.tls)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let snapshot = told(&asker, member, end).await?;
        Folder::new(paths::RESTORE, 0o700, ROOT).make()?;
        let path = Path::new(paths::RESTORE).join(format!("{snapshot}.db"));
        let mut file = Part::open(&path)?;
        say(format!("fetching the snapshot {snapshot} from {peer}"));
        loop {
            match file.go_on(&asker, member, &snapshot).await {
                Ok(()) => break,
                Err(error) if Instant::now() < end => say(format!("{peer}: {error:#}; again from {}", file.length)),
                Err(error) => return Err(not_ready(format!("the snapshot could not be had from {peer}: {error:#}"))),
            }
            tokio::time::sleep(PAUSE).await;
        }
        file.finish(&snapshot)?;
        Ok(path)
    })
}

/// Which snapshot the member was told to restore; waits until it is.
async fn told(asker: &Asker, member: &Member, end: Instant) -> Result<Sha256> {
    let mut said = false;
    loop {
        let why = match asker.ask(member, false).await {
            Heard::Words(Words::Firstboot { task: Task::Restore { snapshot, .. }, .. }) => return Ok(snapshot),
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

/// A file in the making.
struct Part {
    to: PathBuf,
    unfinished: PathBuf,
    file: File,
    hasher: Hasher,
    length: u64,
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        let unfinished = path.with_extension("part");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let file = file.with_context(|| format!("cannot write {}", unfinished.display()))?;
        Ok(Self { to: path.to_owned(), unfinished, file, hasher: Hasher::new(&SHA256), length: 0 })
    }

    /// From where it stands to its end, in one answer.
    async fn go_on(&mut self, asker: &Asker, member: &Member, snapshot: &Sha256) -> Result<()> {
        let mut answer = asker.snapshot(member, snapshot, self.length).await?;
        let left = answer.content_length().context("its answer does not say how long it is")?;
        if self.length == 0 {
            // It, and the data that is made of it.
            build::check_room(2 * left)?;
        }
        let end = self.length + left;
        while let Some(chunk) = tokio::time::timeout(STALL, answer.chunk()).await.context("it stalled")?? {
            ensure!(self.length + chunk.len() as u64 <= end, "its answer is longer than it said");
            self.file.write_all(&chunk).with_context(|| format!("cannot write {}", self.unfinished.display()))?;
            self.hasher.update(&chunk);
            self.length += chunk.len() as u64;
        }
        if self.length < end {
            bail!("its answer ended {} bytes too soon", end - self.length);
        }
        Ok(())
    }

    /// Gives it its name, if it is what was asked for.
    fn finish(self, snapshot: &Sha256) -> Result<()> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.hasher.finish().as_ref());
        let found = Sha256::new(bytes);
        if found != *snapshot {
            files::remove(&self.unfinished)?;
            return Err(refused(format!("the snapshot that came has the digest {found}, and was to have {snapshot}")));
        }
        self.file.sync_all().with_context(|| format!("cannot write {}", self.unfinished.display()))?;
        files::rename(&self.unfinished, &self.to)
    }
}
