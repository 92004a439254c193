//! The server under attack, and the machines that send it requests.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::{Provisioning, TREE};
use tests::{process, run};

use super::asker::{Asker, Keys, Knowledge};
use super::oracle::{Oracle, is_for};
use crate::bed::{SERVER, Server, allow, expect};
use crate::enrolment::{self, post};

/// A string that occurs only in files that are not public.
const SECRET: &str = "a-secret-outside-of-all-public-folders";
const TOKEN: &str = "board-token-0123456789abcdef";

/// The server, its machines, and the oracle that checks its answers.
pub(super) struct Bed {
    pub(super) askers: Vec<Asker>,
    pub(super) oracle: Oracle,
    ours: Provisioning,
    server: Server,
    folder: PathBuf,
}

impl Bed {
    pub(super) fn new() -> Result<Self> {
        let (ours, recipe) = enrolment::built_with("")?;
        let folder = run::current()?.folder("fuzz")?;
        let [secret, tree, mirror, token] = folders(&ours, &folder)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let options = [
            "--tree",
            &text(&tree),
            "--mirror",
            &text(&mirror),
            "--board-token",
            &text(&token),
            "--retries",
            "1000",
        ];
        let any = ["0.0.0.0:8081", "0.0.0.0:8443"];
        let server = enrolment::served_at(&ours, &recipe, any, &options)?;
        let keys = (0..3).map(|_| Keys::new()).collect::<Result<Vec<_>>>()?;
        let (askers, macs) = askers(&ours, &keys)?;
        for asker in &askers {
            let Some(keys) = &asker.keys else { continue };
            let body = folder.join("request");
            fs::write(&body, keys.text())?;
            let (status, said) = post(&ours.network.link(asker.name)?, &asker.mac, &body)?;
            ensure!(status == 200, "{}: {status}: {said}", asker.name);
        }
        // After this build, the output contains the documents of both nodes.
        ours.build(&recipe)?;
        // A symbolic link in each public folder leads to a file outside that folder.
        for public in [&tree, &mirror.join("tree"), &ours.out().join("image")] {
            symlink(&secret, public.join("escape"))?;
        }
        allow(&ours, &["etcd-1", "etcd-2", "--install"])?;
        let oracle = Oracle {
            public: public(
                &[ours.out().join("image"), tree, mirror.join("tree")],
                &ours.out(),
            )?,
            secrets: secrets(&ours)?,
            known: Knowledge {
                macs,
                keys,
                board_token: TOKEN.to_owned(),
                tokens: Mutex::default(),
            },
        };
        Ok(Self {
            askers,
            oracle,
            ours,
            server,
            folder,
        })
    }

    /// Returns all files that no request may change, with their content.
    pub(super) fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let above = self.ours.out();
        let above = above.parent().context("the output folder has no parent")?;
        for root in [&self.folder, above] {
            for path in walk(root)? {
                let name = path.to_string_lossy().into_owned();
                // Skip the files that the server itself writes: its record of the machines, the
                // keys that wait for approval, and the lock.
                let is_record = name.contains("/out.state/")
                    || name.ends_with("/asked-key")
                    || name.ends_with("/.lock");
                if !is_record {
                    files.insert(name, fs::read(&path)?);
                }
            }
        }
        Ok(files)
    }

    /// Checks that the server is running, has not panicked, and has used less than `limit` KiB of
    /// memory.
    pub(super) fn check_server(&self, limit: u64) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id()))
            .context("the server has ended")?;
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let state = value("State:").unwrap_or_default().trim();
        ensure!(!state.starts_with('Z'), "the server has ended");
        let peak = value("VmHWM:").context("no VmHWM")?;
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        eprintln!("the server's memory was {} MiB at its peak", peak >> 10);
        ensure!(peak < limit, "the server used {peak} KiB");
        let said = self.server.output()?;
        ensure!(!said.contains("panicked"), "{said}");
        Ok(())
    }

    /// Checks that each enrolled node still has certificates for its own keys, and that etcd-3,
    /// which never sent a request, has no certificates.
    pub(super) fn check_pki(&self) -> Result<()> {
        let nodes = self.ours.pki().join("nodes");
        for asker in &self.askers {
            let Some(keys) = &asker.keys else { continue };
            for (role, point) in ["server", "peer", "client"].iter().zip(&keys.points) {
                let path = nodes.join(asker.name).join(format!("{role}.crt"));
                let pem = fs::read_to_string(&path)?;
                ensure!(
                    is_for(&pem, point)?,
                    "{} is for another key",
                    path.display()
                );
            }
        }
        for path in walk(&nodes)? {
            let name = path.to_string_lossy();
            let is_certificate = name.ends_with(".crt") || name.ends_with("enrolled.pub");
            ensure!(
                !is_certificate || !name.contains("/etcd-3/"),
                "etcd-3 never sent a request, but has {name}"
            );
        }
        Ok(())
    }

    /// Checks that the server still answers the nodes' normal requests.
    pub(super) fn check_normal_requests(&self) -> Result<()> {
        let sums = fs::read_to_string(self.ours.out().join("image/SHA256SUMS"))?;
        for asker in &self.askers {
            let Some(keys) = &asker.keys else { continue };
            expect(&asker.namespace, "image/SHA256SUMS", 200, &sums)?;
            let body = self.folder.join("request");
            fs::write(&body, keys.text())?;
            let (status, said) = post(&self.ours.network.link(asker.name)?, &asker.mac, &body)?;
            ensure!(status == 200, "{}: {status}: {said}", asker.name);
        }
        Ok(())
    }
}

/// Makes a folder that contains a secret, an installation tree, a mirror of that tree, and a file
/// with the board's token. Returns their paths.
fn folders(ours: &Provisioning, folder: &Path) -> Result<[PathBuf; 4]> {
    let [secret, tree, mirror, token] =
        ["outside", "tree", "mirror", "token"].map(|name| folder.join(name));
    fs::create_dir(&secret)?;
    fs::write(secret.join("secret"), SECRET)?;
    copy(&ours.www().join(TREE), &tree)?;
    fs::create_dir_all(mirror.join("repos"))?;
    copy(&tree, &mirror.join("tree"))?;
    copy(&tree, &mirror.join("repos/updates"))?;
    fs::write(mirror.join("mirror.json"), SECRET)?;
    fs::write(&token, TOKEN)?;
    process::check("chmod", &["600", &token.to_string_lossy()])?;
    Ok([secret, tree, mirror, token])
}

/// Returns the machines of two nodes, a stranger, and the server's own host. The server's host
/// occurs twice: once with the server's address, and once with the loopback address. The second
/// result contains all MAC addresses, including the MAC address of the third node, whose machine
/// sends no requests.
fn askers(ours: &Provisioning, keys: &[Keys]) -> Result<(Vec<Asker>, Vec<String>)> {
    let (address, _) = SERVER.split_once(':').context("the address has no port")?;
    let server: IpAddr = address.parse()?;
    let (mut askers, mut macs) = (Vec::new(), Vec::new());
    for (name, at) in [("etcd-1", 0), ("etcd-2", 1), ("etcd-3", 2), ("stranger", 3)] {
        let link = ours.network.add(name)?;
        macs.push(link.mac.clone());
        if name == "etcd-3" {
            continue;
        }
        askers.push(Asker {
            name,
            mac: link.mac,
            namespace: link.namespace,
            server,
            is_local: false,
            keys: keys.get(at).filter(|_| at < 2).cloned(),
        });
    }
    for (name, server, is_local) in [
        ("the-host", server, false),
        ("the-host-itself", Ipv4Addr::LOCALHOST.into(), true),
    ] {
        askers.push(Asker {
            name,
            mac: macs[0].clone(),
            namespace: ours.network.world().clone(),
            server,
            is_local,
            keys: None,
        });
    }
    Ok((askers, macs))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    process::check("cp", &["-a", &from, &to]).map(drop)
}

/// Returns all regular files below a folder.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let about = path.symlink_metadata()?;
        if about.is_dir() {
            files.extend(walk(&path)?);
        } else if about.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the files that any client may receive, by size.
fn public(folders: &[PathBuf], out: &Path) -> Result<BTreeMap<usize, Vec<Vec<u8>>>> {
    let mut files: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    let release = fs::read(out.join("release.json"))?;
    files.entry(release.len()).or_default().push(release);
    for folder in folders {
        for path in walk(folder)? {
            let bytes = fs::read(path)?;
            files.entry(bytes.len()).or_default().push(bytes);
        }
    }
    Ok(files)
}

/// Returns one line of each private key of the cluster, and the planted secrets.
fn secrets(ours: &Provisioning) -> Result<Vec<Vec<u8>>> {
    let mut secrets = vec![SECRET.as_bytes().to_vec(), TOKEN.as_bytes().to_vec()];
    for path in walk(&ours.pki())? {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            let line = text.lines().nth(1).context("the key is empty")?;
            secrets.push(line.as_bytes().to_vec());
        }
    }
    ensure!(secrets.len() >= 4, "the PKI has no private keys");
    Ok(secrets)
}
