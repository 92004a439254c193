//! `firstboot snapshot verify --boot`: the restore drill. A throw-away etcd starts from the snapshot, and what it says
//! of itself is held against what the walk over the file counted.
//!
//! It listens on sockets in a folder that nobody else can enter: no port, no network, no certificate. It is asked
//! where etcd answers without a login, on its peer's side and for its metrics, since the snapshot may know no user
//! that we are.

mod count;

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::examine::VerifiedSnapshot;
use crate::exit::{not_ready, refused};
use crate::files;

/// etcd wants `host:port` of every URL, and takes it as the socket's name in its working folder.
const CLIENT: &str = "localhost:1";
const PEER: &str = "localhost:2";
/// What etcd makes beside the database: a log of 64 MB, allocated at once, and the next one.
const BESIDE: u64 = 160 << 20;
/// How long the drill may take however small the database is …
const PATIENCE: Duration = Duration::from_secs(120);
/// … and how many bytes of it a slow disk restores and reads in a second more.
const SLOW: u64 = 10 << 20;

/// A drill that went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TrialReport {
    /// The version of the etcd that started.
    pub(crate) etcd: String,
    /// Keys that it has, without their history.
    pub(crate) live_keys: u64,
    /// Its hash over all revisions (HashKV).
    pub(crate) hash_kv: u32,
    /// What the drill took.
    pub(crate) milliseconds: u64,
}

/// Starts an etcd from the snapshot, compares, stops and removes it. `beside` is the folder to do it in.
pub(crate) fn boot(path: &Path, verified: &VerifiedSnapshot, beside: &Path) -> Result<TrialReport> {
    let begun = Instant::now();
    let counted = count::count(path, verified)?;
    let restorer = program("etcdutl").or_else(|_| program("etcdctl"))?;
    let etcd = program("etcd")?;
    let folder = ScratchDir::new(beside, verified.size)?;
    let limit = PATIENCE + Duration::from_secs(verified.size / SLOW);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        let drill = async {
            restore(&restorer, path, &folder.0).await?;
            let mut running = Running::start(&etcd, &folder.0, limit)?;
            let said = running.ask(verified).await;
            running.stop().await;
            said
        };
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Whichever ends first, the others are dropped, and what they started ends with them.
        tokio::select! {
            said = drill => said,
            () = tokio::time::sleep(limit) => {
                Err(not_ready(format!("etcd did not serve {} within {} s", path.display(), limit.as_secs())))
            }
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("ended by a signal"),
        }
    })?;
    compare(verified, &counted, &said)
        .map_err(|differs| refused(format!("etcd {} started from {}, but {differs}", said.version, path.display())))?;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(TrialReport { etcd: said.version, live_keys: said.keys, hash_kv: said.hash.hash, milliseconds })
}

/// What the running etcd says.
#[derive(Debug)]
struct EtcdStatus {
    version: String,
    keys: u64,
    hash: HashKv,
}

/// The answer of a peer's /members/hashkv.
#[derive(Debug, Deserialize)]
struct HashKv {
    header: Header,
    #[serde(default)]
    hash: u32,
    #[serde(default)]
    compact_revision: i64,
}

/// The answer of /version.
#[derive(Debug, Deserialize)]
struct Version {
    etcdserver: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default)]
    revision: i64,
}

/// Says where the two differ.
fn compare(verified: &VerifiedSnapshot, counted: &count::Counted, said: &EtcdStatus) -> Result<(), String> {
    let differ = |what: &str, own: i128, theirs: i128| {
        if own == theirs { Ok(()) } else { Err(format!("its {what} is {theirs}, and the file's is {own}")) }
    };
    differ("revision", verified.revision.into(), said.hash.header.revision.into())?;
    differ("number of keys", counted.live.into(), said.keys.into())?;
    // A revision of -1 stands for none.
    differ("compacted revision", verified.compacted.into(), said.hash.compact_revision.max(0).into())?;
    differ("hash over all revisions", counted.hash.into(), said.hash.hash.into())
}

/// Where a program is: the image puts them into /usr/local/bin, which is not in every PATH.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/bin")]);
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    found.with_context(|| format!("no {name} in the PATH nor in /usr/local/bin; --boot starts one"))
}

/// A new folder that only we can enter; removed with what is in it.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(beside: &Path, size: u64) -> Result<Self> {
        let wanted = size + BESIDE;
        let space =
            nix::sys::statvfs::statvfs(beside).with_context(|| format!("cannot look at {}", beside.display()))?;
        let free = space.blocks_available() * space.fragment_size();
        if free < wanted {
            bail!(
                "{} has {} MiB free, and a throw-away etcd takes {}; name another folder with --dir",
                beside.display(),
                free >> 20,
                wanted >> 20
            );
        }
        let made = nix::unistd::mkdtemp(&beside.join(".firstboot-drill-XXXXXX"));
        let made = made.with_context(|| format!("cannot make a folder in {}", beside.display()))?;
        Ok(Self(made))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // An etcd that was just killed may still be making a file.
        for again in (0..20).rev() {
            match files::remove_all(&self.0) {
                Err(_) if again > 0 => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => eprintln!("firstboot: {error:#}"),
                Ok(()) => return,
            }
        }
    }
}

/// A command that sees nothing of our environment: ETCD_… would be settings.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("ETCDCTL_API", "3").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The arguments that the member is made with and started with.
fn member() -> Vec<String> {
    let line = format!(
        "--name drill --data-dir data --initial-cluster drill=unix://{PEER} --initial-advertise-peer-urls unix://{PEER}"
    );
    line.split(' ').map(str::to_owned).collect()
}

/// The digest was looked at already.
async fn restore(restorer: &Path, snapshot: &Path, folder: &Path) -> Result<()> {
    // Not canonical: it may be a file without a name, behind its descriptor.
    let snapshot = std::path::absolute(snapshot)?;
    let mut command = command(restorer, folder);
    command.args(["snapshot", "restore"]).arg(&snapshot).arg("--skip-hash-check").args(member());
    command.args(["--initial-cluster-token", "firstboot-drill"]);
    let output = command.output().await.with_context(|| format!("cannot run {}", restorer.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("it says nothing");
        return Err(refused(format!("{} does not restore {}: {last}", restorer.display(), snapshot.display())));
    }
    Ok(())
}

/// A running etcd.
struct Running {
    /// `timeout`, which ends etcd in time even if nobody lives to do it.
    process: Child,
    log: PathBuf,
    /// The folder, held open: the way through its descriptor is short, and a socket's path must be.
    folder: File,
}

impl Running {
    fn start(etcd: &Path, folder: &Path, limit: Duration) -> Result<Self> {
        let log = folder.join("log");
        let output = files::create(&log)?;
        let client = format!("unix://{CLIENT}");
        let mut command = command(Path::new("/usr/bin/timeout"), folder);
        command.arg("--kill-after=5").arg(limit.as_secs().to_string()).arg(etcd).args(member());
        command.args(["--listen-peer-urls", &format!("unix://{PEER}"), "--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client]);
        command.stdout(output.try_clone()?).stderr(output).process_group(0);
        let process = command.spawn().context("cannot run timeout")?;
        Ok(Self { process, log, folder: File::open(folder)? })
    }

    async fn ask(&mut self, verified: &VerifiedSnapshot) -> Result<EtcdStatus> {
        let limit = Duration::from_secs(10 + verified.size / SLOW);
        let socket = |name: &str| format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd());
        let client =
            |name: &str| reqwest::Client::builder().no_proxy().timeout(limit).unix_socket(socket(name)).build();
        let (client, peer) = (client(CLIENT)?, client(PEER)?);
        let keys = loop {
            if let Some(status) = self.process.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last = log.trim().lines().last().unwrap_or("it says nothing");
                return Err(refused(format!("etcd does not start from the snapshot ({status}): {last}")));
            }
            if let Ok(metrics) = text(client.get("http://etcd/metrics")).await
                && metric(&metrics, "etcd_server_has_leader") == Some(1.0)
                && let Some(keys) = metric(&metrics, "etcd_debugging_mvcc_keys_total")
            {
                break keys;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let Version { etcdserver: version } = serde_json::from_str(&text(client.get("http://etcd/version")).await?)?;
        let answer = text(peer.get("http://etcd/members/hashkv").body(r#"{"revision":0}"#)).await?;
        let hash = serde_json::from_str(&answer).with_context(|| format!("etcd's hash is {answer:?}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a metric that counts")]
        Ok(EtcdStatus { version, keys: keys as u64, hash })
    }

    /// Asks it to end, as systemd does, and sees to it.
    async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
        }
    }

    /// `timeout` and etcd are a process group of their own.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn text(request: reqwest::RequestBuilder) -> Result<String> {
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// A metric without labels.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
