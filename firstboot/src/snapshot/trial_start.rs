//! `firstboot snapshot verify --boot`: performs the restore drill. A temporary etcd starts from
//! the snapshot, and firstboot compares etcd's revision, keys and hash with the values that it
//! computed from the file.
//!
//! etcd listens on UNIX sockets in a private folder, so it does not need a port, a network or a
//! certificate. firstboot does not know the passwords of the users in the snapshot, so it sends
//! only requests that do not require a login.

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
use crate::reason::ReasonId;
use crate::runtime::block_on;

/// etcd requires `HOST:PORT` in every URL, and uses `HOST:PORT` as the name of the socket in its
/// working folder.
const CLIENT: &str = "localhost:1";
const PEER: &str = "localhost:2";
/// The number of bytes that etcd writes in addition to the database, mainly for two preallocated
/// WAL files of 64 MB.
const BESIDE: u64 = 160 << 20;
/// The time limit of the drill for an empty database.
const BASE_TIMEOUT: Duration = Duration::from_secs(120);
/// The speed of a slow disk, in bytes per second. The time limits include the time that a disk with
/// this speed needs for the database.
const BYTES_PER_SECOND: u64 = 10 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TrialReport {
    /// The version of the etcd that was started.
    pub(crate) etcd: String,
    /// The number of keys in etcd, without their history.
    pub(crate) live_keys: u64,
    /// etcd's hash over all revisions (HashKV).
    pub(crate) hash_kv: u32,
    pub(crate) milliseconds: u64,
}

/// Starts an etcd from the snapshot, with a temporary data folder in `beside`, reads etcd's values,
/// and stops etcd. Then compares these values with the values from the file. Deletes the folder in
/// any case.
pub(crate) fn boot(path: &Path, verified: &VerifiedSnapshot, beside: &Path) -> Result<TrialReport> {
    let begun = Instant::now();
    let counted = count::count(path, verified)?;
    let restorer = program("etcdutl").or_else(|_| program("etcdctl"))?;
    let etcd = program("etcd")?;
    let folder = ScratchDir::new(beside, verified.size)?;
    let limit = BASE_TIMEOUT + Duration::from_secs(verified.size / BYTES_PER_SECOND);
    let said = block_on(async {
        let drill = async {
            restore(&restorer, path, &folder.0).await?;
            let mut running = Running::start(&etcd, &folder.0, limit)?;
            let said = running.ask(verified).await;
            running.stop().await;
            said
        };
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        // When one branch finishes, the other branches are dropped, together with the processes
        // that they started.
        tokio::select! {
            said = drill => said,
            () = tokio::time::sleep(limit) => {
                let text = format!("etcd did not serve the snapshot {} within {} s", path.display(), limit.as_secs());
                Err(not_ready(ReasonId::TrialTimeout.because(text)))
            }
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated by a signal"),
        }
    })?;
    compare(verified, &counted, &said).map_err(|differs| {
        failed_trial(format!(
            "etcd {} started from {}, but {differs}",
            said.version,
            path.display()
        ))
    })?;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(TrialReport {
        etcd: said.version,
        live_keys: said.keys,
        hash_kv: said.hash.hash,
        milliseconds,
    })
}

fn failed_trial(why: String) -> anyhow::Error {
    refused(ReasonId::TrialFailed.because(why))
}

#[derive(Debug)]
struct EtcdStatus {
    version: String,
    keys: u64,
    hash: HashKv,
}

/// The answer to a request for /members/hashkv on the peer URL.
#[derive(Debug, Deserialize)]
struct HashKv {
    header: Header,
    #[serde(default)]
    hash: u32,
    #[serde(default)]
    compact_revision: i64,
}

/// The answer to a request for /version.
#[derive(Debug, Deserialize)]
struct Version {
    etcdserver: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default)]
    revision: i64,
}

fn compare(
    verified: &VerifiedSnapshot,
    counted: &count::Counted,
    said: &EtcdStatus,
) -> Result<(), String> {
    let differ = |what: &str, own: i128, theirs: i128| {
        if own == theirs {
            Ok(())
        } else {
            Err(format!(
                "its {what} is {theirs} instead of {own}, which was computed from the file"
            ))
        }
    };
    differ(
        "revision",
        verified.revision.into(),
        said.hash.header.revision.into(),
    )?;
    differ("number of keys", counted.live.into(), said.keys.into())?;
    // A compacted revision of -1 means that the history was not compacted.
    differ(
        "compacted revision",
        verified.compacted.into(),
        said.hash.compact_revision.max(0).into(),
    )?;
    differ(
        "hash over all revisions",
        counted.hash.into(),
        said.hash.hash.into(),
    )
}

/// Returns the path of a program. The image installs etcd in /usr/local/bin, which is not in every
/// PATH.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/bin")]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.with_context(|| {
        format!("--boot needs {name}, which is neither in the PATH nor in /usr/local/bin")
    })
}

/// A private temporary folder. Dropping this value deletes the folder.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(beside: &Path, size: u64) -> Result<Self> {
        let wanted = size + BESIDE;
        let free = files::free_space(beside)?;
        if free < wanted {
            bail!(
                "{} has {} MiB free, but the temporary etcd needs {} MiB. Choose another folder with --dir",
                beside.display(),
                free >> 20,
                wanted >> 20
            );
        }
        let made = nix::unistd::mkdtemp(&beside.join(".firstboot-drill-XXXXXX"));
        let made =
            made.with_context(|| format!("cannot create a folder in {}", beside.display()))?;
        Ok(Self(made))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // Try repeatedly, because an etcd that was killed may still be creating a file.
        for again in (0..20).rev() {
            match files::remove_all(&self.0) {
                Err(_) if again > 0 => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => eprintln!("firstboot: {error:#}"),
                Ok(()) => return,
            }
        }
    }
}

/// Returns a command that does not inherit this process's environment, because etcd reads ETCD_…
/// variables as settings.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Returns the arguments that both the restore and the start of the member need.
fn member() -> Vec<String> {
    let line = format!(
        "--name drill --data-dir data --initial-cluster drill=unix://{PEER} --initial-advertise-peer-urls unix://{PEER}"
    );
    line.split(' ').map(str::to_owned).collect()
}

/// Restores the snapshot. Skips the check of the digest, because firstboot has already examined the
/// snapshot.
async fn restore(restorer: &Path, snapshot: &Path, folder: &Path) -> Result<()> {
    // Do not canonicalize the path, because it may refer to the file descriptor of a file without a
    // name.
    let snapshot = std::path::absolute(snapshot)?;
    let mut command = command(restorer, folder);
    command
        .args(["snapshot", "restore"])
        .arg(&snapshot)
        .arg("--skip-hash-check")
        .args(member());
    command.args(["--initial-cluster-token", "firstboot-drill"]);
    let output = command
        .output()
        .await
        .with_context(|| format!("cannot run {}", restorer.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("no output");
        return Err(failed_trial(format!(
            "{} cannot restore {}: {last}",
            restorer.display(),
            snapshot.display()
        )));
    }
    Ok(())
}

/// The running temporary etcd.
struct Running {
    /// The process of the program `timeout`, which stops etcd at the time limit even if firstboot
    /// is killed.
    process: Child,
    log: PathBuf,
    /// The open folder. The path of a socket is limited to 107 bytes, and a path through the
    /// folder's descriptor is short enough.
    folder: File,
}

impl Running {
    fn start(etcd: &Path, folder: &Path, limit: Duration) -> Result<Self> {
        let log = folder.join("log");
        let output = files::create(&log)?;
        let client = format!("unix://{CLIENT}");
        let mut command = command(Path::new("/usr/bin/timeout"), folder);
        command
            .arg("--kill-after=5")
            .arg(limit.as_secs().to_string())
            .arg(etcd)
            .args(member());
        command.args([
            "--listen-peer-urls",
            &format!("unix://{PEER}"),
            "--listen-client-urls",
            &client,
        ]);
        command.args(["--advertise-client-urls", &client]);
        command
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let process = command.spawn().context("cannot run timeout")?;
        Ok(Self {
            process,
            log,
            folder: File::open(folder)?,
        })
    }

    async fn ask(&mut self, verified: &VerifiedSnapshot) -> Result<EtcdStatus> {
        let limit = Duration::from_secs(10 + verified.size / BYTES_PER_SECOND);
        let socket = |name: &str| format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd());
        let client = |name: &str| {
            reqwest::Client::builder()
                .no_proxy()
                .timeout(limit)
                .unix_socket(socket(name))
                .build()
        };
        let (client, peer) = (client(CLIENT)?, client(PEER)?);
        let keys = loop {
            if let Some(status) = self.process.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last = log.trim().lines().last().unwrap_or("no output");
                return Err(failed_trial(format!(
                    "etcd does not start from the snapshot ({status}): {last}"
                )));
            }
            if let Ok(metrics) = text(client.get("http://etcd/metrics")).await
                && metric(&metrics, "etcd_server_has_leader") == Some(1.0)
                && let Some(keys) = metric(&metrics, "etcd_debugging_mvcc_keys_total")
            {
                break keys;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let Version {
            etcdserver: version,
        } = serde_json::from_str(&text(client.get("http://etcd/version")).await?)?;
        let answer = text(
            peer.get("http://etcd/members/hashkv")
                .body(r#"{"revision":0}"#),
        )
        .await?;
        let hash = serde_json::from_str(&answer)
            .with_context(|| format!("cannot parse etcd's hash {answer:?}"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the metric is a count"
        )]
        Ok(EtcdStatus {
            version,
            keys: keys as u64,
            hash,
        })
    }

    /// Stops etcd with SIGTERM, and with SIGKILL if etcd does not exit.
    async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(Duration::from_secs(10), self.process.wait())
            .await
            .is_err()
        {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Sends a signal to the process group that contains `timeout` and etcd.
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

/// Returns the value of a metric that has no labels.
fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
