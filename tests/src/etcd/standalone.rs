//! A single etcd, which is a cluster of its own. This etcd listens on sockets in its own folder, so
//! it needs no port, no network and no certificate.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::programs::binaries;
use crate::process::{self, KillOnDrop};

/// etcd requires `host:port` in every URL. For a socket, `host:port` is the name of the socket in
/// etcd's working folder.
const CLIENT: &str = "localhost:1";
const PEER: &str = "localhost:2";
/// The time limit for etcd to start, to send each answer, and to exit. Before etcd serves requests,
/// it reads a database of up to 2 GB.
const ETCD_TIMEOUT: Duration = Duration::from_secs(120);

/// A running etcd. The process is killed on drop.
#[derive(Debug)]
pub struct StandaloneEtcd {
    folder: PathBuf,
    version: String,
    process: KillOnDrop,
}

impl StandaloneEtcd {
    /// Starts etcd in a folder (its data is in the subfolder `data`), and waits until it serves
    /// clients. The given arguments follow etcd's usual arguments.
    pub fn start(version: &str, folder: &Path, arguments: &[&str]) -> Result<StandaloneEtcd> {
        Self::start_within(ETCD_TIMEOUT, version, folder, arguments)
    }

    /// Starts etcd as [`StandaloneEtcd::start`] does, but with this time limit.
    pub fn start_within(
        timeout: Duration,
        version: &str,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<StandaloneEtcd> {
        let programs = binaries(version)?;
        let (client, peer) = (format!("unix://{CLIENT}"), format!("unix://{PEER}"));
        let mut etcd = Command::new(programs.join("etcd"));
        etcd.current_dir(folder)
            .args([
                "--name",
                "alone",
                "--data-dir",
                "data",
                "--listen-client-urls",
                &client,
            ])
            .args([
                "--advertise-client-urls",
                &client,
                "--listen-peer-urls",
                &peer,
            ])
            .args([
                "--initial-advertise-peer-urls",
                &peer,
                "--initial-cluster",
                &format!("alone={peer}"),
            ])
            .args(arguments);
        let log = File::create(folder.join("log")).context("cannot make etcd's log")?;
        let mut alone = StandaloneEtcd {
            folder: folder.to_owned(),
            version: version.to_owned(),
            process: KillOnDrop::spawn(&etcd, &log)?,
        };
        let begun = Instant::now();
        // Ignore alarms, because etcd also serves clients while an alarm is raised.
        while !alone
            .get("/health?exclude=NOSPACE&exclude=CORRUPT")
            .is_ok_and(|body| body.contains("true"))
        {
            let ended = alone.process.ended()?;
            if ended.is_some() || begun.elapsed() > timeout {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!(
                    "etcd {version} does not serve clients ({ended:?}):\n{}",
                    crate::harness::tail(&log, 20)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(alone)
    }

    /// Returns the folder in which etcd runs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs etcdctl of the same version against this etcd, and returns the output.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut ctl = Command::new(binaries(&self.version)?.join("etcdctl"));
        ctl.current_dir(&self.folder)
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &format!("unix://{CLIENT}")]);
        process::run(ctl.args(arguments))?.ok()
    }

    /// Puts keys with their values into the database, in one transaction.
    pub fn put(&self, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let operations: Vec<String> = pairs
            .iter()
            .map(|(key, value)| {
                let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
                format!(r#"{{"requestPut":{{"key":"{key}","value":"{value}"}}}}"#)
            })
            .collect();
        self.post(
            "/v3/kv/txn",
            &format!(r#"{{"success":[{}]}}"#, operations.join(",")),
        )
        .map(drop)
    }

    /// Sends etcd a GET request over HTTP.
    pub fn get(&self, path: &str) -> Result<String> {
        self.ask("GET", path, "", "")
    }

    /// Sends a POST request to etcd's JSON gateway.
    pub fn post(&self, path: &str, body: &str) -> Result<String> {
        self.ask("POST", path, "", body)
    }

    /// Sends a POST request with the token of a user who has logged in.
    pub fn post_as(&self, token: &str, path: &str, body: &str) -> Result<String> {
        self.ask("POST", path, &format!("Authorization: {token}\r\n"), body)
    }

    /// Restores a snapshot into a folder, in which [`StandaloneEtcd::start`] can then start etcd.
    /// Does not check the snapshot's digest.
    pub fn restore(version: &str, folder: &Path, snapshot: &Path) -> Result<()> {
        let peer = format!("unix://{PEER}");
        let programs = binaries(version)?;
        let restore = ["etcdutl", "etcdctl"]
            .map(|name| programs.join(name))
            .into_iter()
            .find(|path| path.is_file());
        let mut restore =
            Command::new(restore.context("the release has no program for snapshots")?);
        restore
            .current_dir(folder)
            .env("ETCDCTL_API", "3")
            .env("ETCD_VERIFY", "all");
        restore.args(["snapshot", "restore"]).arg(snapshot).args([
            "--skip-hash-check",
            "--data-dir",
            "data",
        ]);
        restore.args(["--name", "alone", "--initial-advertise-peer-urls", &peer]);
        restore.args(["--initial-cluster", &format!("alone={peer}")]);
        process::run(&mut restore)?.ok().map(drop)
    }

    /// Saves a snapshot, as an operator does.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.ctl(&[
            "--command-timeout",
            "300s",
            "snapshot",
            "save",
            &path.to_string_lossy(),
        ])
        .map(drop)
    }

    /// Stops etcd as systemd would, and returns its data folder.
    pub fn stop(mut self) -> Result<PathBuf> {
        process::check("kill", &["-TERM", &self.process.id().to_string()])?;
        let begun = Instant::now();
        while self.process.ended()?.is_none() {
            ensure!(
                begun.elapsed() < ETCD_TIMEOUT,
                "etcd did not end within {} s",
                ETCD_TIMEOUT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self.folder.join("data"))
    }

    // With HTTP/1.0, the end of the connection ends the answer, and the answer is not chunked.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
        let mut socket = UnixStream::connect(self.folder.join(CLIENT))
            .context("cannot connect to etcd's socket")?;
        socket.set_read_timeout(Some(ETCD_TIMEOUT))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {CLIENT}\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(body.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("etcd's answer has no complete header")?;
        ensure!(
            head.starts_with("HTTP/1.0 200"),
            "{method} {path}: {head}\n{body}"
        );
        Ok(body.to_owned())
    }
}
