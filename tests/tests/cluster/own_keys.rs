//! Tests nodes that generate their own private keys. The keys never leave the node, and an operator
//! transfers requests and documents as text.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::etcd;
use tests::harness::{tail, trial};
use tests::host::Host;
use tests::process::{self, Output};
use tests::programs;

use crate::lifecycle::{NAMES, REQUIREMENTS};

const TIMEOUT: Duration = Duration::from_secs(180);
/// The path to which an operator copies a document.
const DOCUMENT: &str = "/etc/firstboot/node.json";
const OWN_KEYS: &str = "/var/lib/firstboot/keys.pem";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "nodes_whose_keys_never_leave_them_become_a_cluster_renew_and_are_reinstalled",
        REQUIREMENTS,
        whole,
    )]
}

struct Operator {
    provisioning: Provisioning,
    /// The folder with the recipe, and with the requests that the operator fetched.
    workstation: tempfile::TempDir,
}

impl Operator {
    fn new() -> Result<Self> {
        etcd::release("3.5.1")?;
        let this = Self {
            provisioning: Provisioning::new()?,
            workstation: tempfile::tempdir()?,
        };
        let recipe = fs::read_to_string(programs::recipe("demo"))?;
        fs::write(this.recipe(), recipe + "\n[tls]\nkeys = \"node\"\n")?;
        let said = this.provisioning.build(&this.recipe())?;
        ensure!(
            said.contains("no certificates yet for etcd-1, etcd-2, etcd-3"),
            "{said}"
        );
        Ok(this)
    }

    fn recipe(&self) -> PathBuf {
        self.workstation.path().join("recipe.toml")
    }

    /// Fetches a node's request, which contains no private key, and lets the CA answer it.
    fn sign(&self, host: &Host, options: &[&str]) -> Result<Output> {
        let request = host.check(&[&["firstboot", "csr"], options].concat())?;
        ensure!(!request.contains("PRIVATE"), "{request}");
        let path = self.workstation.path().join(format!("{}.csr", host.name()));
        fs::write(&path, request)?;
        let (recipe, pki) = (self.recipe(), self.provisioning.pki());
        let paths = [&recipe, &path, &pki].map(|path| path.to_string_lossy().into_owned());
        let [recipe, path, pki] = &paths;
        programs::run_builder(&["pki", "sign", recipe, host.name(), path, "--pki", pki])
    }

    /// Lets the CA answer a node's request, and writes the resulting document to the node.
    fn answer(&self, host: &Host, options: &[&str]) -> Result<()> {
        let document = self.sign(host, options)?.ok()?;
        host.write(DOCUMENT, document, 0o644)
    }

    /// Checks that the CA refuses the request until the operator approves the key that the node
    /// shows.
    fn approve(&self, host: &Host, options: &[&str]) -> Result<()> {
        let refused = self.sign(host, options)?;
        ensure!(
            refused.code() == 1 && refused.stderr.contains("[key-not-approved]"),
            "{}",
            refused.stderr
        );
        let shown = host.check(&["firstboot", "csr"])?;
        let key = shown.lines().find_map(|line| line.strip_prefix("# key "));
        let key = key.context("the request does not show its key")?;
        ensure!(refused.stderr.contains(key), "{}", refused.stderr);
        let pki = self.provisioning.pki();
        let pki = pki.to_string_lossy();
        programs::run_builder(&["pki", "approve", &pki, host.name(), key])?.ok()?;
        Ok(())
    }

    /// Returns the fingerprint of the certificate that etcd presents at a port.
    fn presented(&self, host: &Host, port: u16) -> Result<String> {
        let place = format!("{}:{port}", host.address());
        let script = format!(
            "openssl s_client -connect {place} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
        );
        let mut shell = self.provisioning.network.world().command("sh");
        process::run(shell.args(["-c", &script]))?.ok()
    }
}

fn waits(host: &Host, id: &str) -> Result<()> {
    let journal = format!("journalctl --no-pager -u firstboot | grep -qF '[{id}]'");
    host.wait_for(&journal, TIMEOUT)
        .with_context(|| format!("{} does not report {id}", host.name()))
}

fn whole() -> Result<()> {
    let ours = Operator::new()?;
    let mut hosts = NAMES
        .iter()
        .map(|name| {
            let mut host = ours.provisioning.machine(name)?;
            ours.provisioning.install(&mut host)?;
            Ok(host)
        })
        .collect::<Result<Vec<Host>>>()?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        waits(host, "certificates-awaited")?;
        ours.answer(host, &[])?;
    }
    for host in &hosts {
        wait_healthy(host, 3, TIMEOUT)?;
    }
    let mut keys = private_keys(&hosts)?;
    new_key(&ours, &hosts[1])?;
    keys.extend(private_keys(&hosts)?);
    reinstalled(&ours, &mut hosts[2])?;
    wait_healthy(&hosts[2], 3, TIMEOUT)?;
    keys.extend(private_keys(&hosts)?);
    // Another build writes the certificates that the CA signed for each node.
    ours.provisioning.build(&ours.recipe())?;
    nothing_tells(&ours, &hosts, &keys)
}

/// Checks that a node gets certificates for new keys, and that etcd presents them without a
/// restart.
fn new_key(ours: &Operator, host: &Host) -> Result<()> {
    let process = || host.check(&["systemctl", "show", "--property=MainPID", "etcd.service"]);
    let (before, etcd) = (ours.presented(host, 2379)?, process()?);
    ensure!(before.contains("Fingerprint"), "{before}");
    ours.approve(host, &["--new-key"])?;
    ours.answer(host, &["--new-key"])?;
    host.check(&["firstboot", "run"])?;
    for port in [2379, 2380] {
        let now = ours.presented(host, port)?;
        ensure!(
            now.contains("Fingerprint") && now != before,
            "{port}: {now}"
        );
    }
    ensure!(process()? == etcd, "etcd was restarted");
    let left = host.sh("ls /var/lib/firstboot/next-keys.pem")?;
    ensure!(!left.success(), "the new keys are not the current keys");
    Ok(())
}

/// Reinstalls a node whose keys were lost with its disk. The node cannot use the old document, and
/// the CA signs the new keys after an operator has approved them.
fn reinstalled(ours: &Operator, host: &mut Host) -> Result<()> {
    let old = host.read(DOCUMENT)?;
    host.cut_power()?;
    host.wipe()?;
    ours.provisioning.install(host)?;
    host.write(DOCUMENT, old, 0o644)?;
    host.boot()?;
    waits(host, "document-other-key")?;
    ours.approve(host, &[])?;
    ours.answer(host, &[])?;
    host.check(&["systemctl", "restart", "--no-block", "firstboot.service"])?;
    Ok(())
}

/// Returns one secret line of each private key in PEM.
fn private_keys(hosts: &[Host]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for host in hosts {
        let text = host.read(OWN_KEYS)?;
        let mode = host.check(&["stat", "-c", "%a %U", OWN_KEYS])?;
        ensure!(mode.trim() == "600 root", "{mode}");
        // The first base64 line of a key contains the fixed PKCS #8 header. The second line
        // contains secret bytes.
        let blocks = text.split("-----BEGIN").skip(1);
        let second = blocks.filter_map(|block| block.lines().nth(2).map(str::to_owned));
        let second: Vec<String> = second.collect();
        ensure!(second.len() == 3, "{} has {second:?}", host.name());
        lines.extend(second);
    }
    Ok(lines)
}

/// Checks that the builder's and the operator's files contain no private key of a node. On a node,
/// only firstboot's key file and the files in /etc/etcd/tls may contain private keys.
fn nothing_tells(ours: &Operator, hosts: &[Host], keys: &[String]) -> Result<()> {
    let own = ["var/lib/firstboot/keys.pem", "etc/etcd/tls/"];
    let mut folders = vec![
        ours.workstation.path().to_owned(),
        ours.provisioning.out(),
        ours.provisioning.pki(),
    ];
    for host in hosts {
        // Copy the content of /run, a tmpfs that is visible only inside the host.
        let copy = ours.workstation.path().join(format!("{}-run", host.name()));
        fs::create_dir(&copy)?;
        fs::write(
            copy.join("journal"),
            host.check(&["journalctl", "--no-pager"])?,
        )?;
        let run = host.check(&[
            "sh",
            "-c",
            "grep -raF '' /run --exclude-dir=lock 2>/dev/null || true",
        ])?;
        fs::write(copy.join("run"), run)?;
        for place in ["etc", "var", "root", "tmp", "boot"] {
            folders.push(host.path(place));
        }
    }
    let patterns = ours
        .workstation
        .path()
        .join("..")
        .join(format!("keys-{}", std::process::id()));
    fs::write(&patterns, keys.join("\n") + "\n")?;
    let found = grep(&patterns, &folders);
    fs::remove_file(&patterns)?;
    let found = found?;
    let exposed: Vec<&str> = found
        .lines()
        .filter(|line| !own.iter().any(|place| line.contains(place)))
        .collect();
    ensure!(exposed.is_empty(), "private keys are in {exposed:?}");
    ensure!(
        found.lines().count() >= 3 * 4,
        "the search did not even find the keys in their own files:\n{}",
        tail(&found, 20)
    );
    Ok(())
}

/// Returns the files that contain one of the patterns.
fn grep(patterns: &Path, folders: &[PathBuf]) -> Result<String> {
    let mut grep = std::process::Command::new("grep");
    grep.args(["-rlaF", "-f"]).arg(patterns).args(folders);
    let ran = process::run(&mut grep)?;
    ensure!(ran.code() == 0, "{}: {}", ran.command, ran.stderr);
    Ok(ran.stdout)
}
