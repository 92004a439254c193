//! Reads the image's settings back from an installed machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use flate2::read::MultiGzDecoder;
use tests::cluster::Provisioning;
use tests::process;

use super::node::Node;

/// The address of a host outside the cluster's network.
const STRANGER: &str = "10.99.0.1";

/// Checks the settings of a node against its image, and reports all differences.
pub(super) fn check(ours: &Provisioning, node: &Node) -> Result<()> {
    let files = overlay(ours)?;
    let results = [
        sysctls(ours, node, &files),
        mounts(ours, node, &files),
        modes(ours, node, &files),
        time(ours, node),
        firewall(ours, node),
    ];
    let errors: Vec<String> = results
        .into_iter()
        .filter_map(|result| result.err().map(|error| format!("{error:#}")))
        .collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(())
}

/// Checks that chronyd uses the recipe's server.
fn time(ours: &Provisioning, node: &Node) -> Result<()> {
    let sources = node.shell(ours, "chronyc -n sources")?;
    ensure!(sources.contains(" 10.101.15.1 "), "{sources}");
    Ok(())
}

struct Entry {
    mode: String,
    text: String,
}

/// Returns the files of the image's overlay, by path.
fn overlay(ours: &Provisioning) -> Result<BTreeMap<String, Entry>> {
    let file = File::open(ours.out().join("image/overlay.tar.gz"))?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let header = entry.header();
        let mode = format!(
            "{:o} {}:{}",
            header.mode()? & 0o7777,
            header.uid()?,
            header.gid()?
        );
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        files.insert(path, Entry { mode, text });
    }
    Ok(files)
}

fn text<'a>(files: &'a BTreeMap<String, Entry>, path: &str) -> Result<&'a str> {
    let entry = files.get(path);
    Ok(&entry
        .with_context(|| format!("the overlay has no {path}"))?
        .text)
}

/// Checks that each key in the image's sysctl file has its value in the kernel. Ignores a key that
/// this kernel does not have.
fn sysctls(ours: &Provisioning, node: &Node, files: &BTreeMap<String, Entry>) -> Result<()> {
    let said = node.shell(ours, "sysctl -a 2>/dev/null")?;
    let found: BTreeMap<&str, Vec<&str>> = said
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key, value.split_whitespace().collect()))
        .collect();
    let mut checked = 0;
    for line in text(files, "etc/sysctl.d/95-etcd.conf")?.lines() {
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let Some(found) = found.get(key.trim()) else {
            eprintln!("this kernel does not have {key}");
            continue;
        };
        let wanted: Vec<&str> = value.split_whitespace().collect();
        ensure!(
            *found == wanted,
            "{key} is {found:?}, but the image sets {wanted:?}"
        );
        checked += 1;
    }
    ensure!(checked > 10, "only {checked} keys were found");
    Ok(())
}

/// Checks that each XFS file system is mounted with the options in fstab.
fn mounts(ours: &Provisioning, node: &Node, files: &BTreeMap<String, Entry>) -> Result<()> {
    let said = node.shell(ours, "cat /proc/mounts")?;
    let mut checked = 0;
    for line in text(files, "etc/fstab")?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, mount, "xfs", options, ..] = fields.as_slice() else {
            continue;
        };
        let found = said
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|found| found.get(1) == Some(mount) && found.get(2) == Some(&"xfs"))
            .with_context(|| format!("{mount} is not mounted:\n{said}"))?;
        let found: Vec<&str> = found[3].split(',').collect();
        for option in options.split(',').filter(|option| *option != "defaults") {
            // The kernel prints sizes in KiB.
            let option = option.replace("allocsize=64m", "allocsize=65536k");
            ensure!(
                found.contains(&option.as_str()),
                "{mount} has the options {found:?}, but fstab sets {option}"
            );
            checked += 1;
        }
    }
    ensure!(checked >= 3, "only {checked} options were found");
    Ok(())
}

/// Checks the mode and the owner of each file of the overlay.
fn modes(ours: &Provisioning, node: &Node, files: &BTreeMap<String, Entry>) -> Result<()> {
    let paths: Vec<String> = files.keys().map(|path| format!("/{path}")).collect();
    let said = node.shell(ours, &format!("stat -c '%a %u:%g %n' {}", paths.join(" ")))?;
    let found: Vec<&str> = said.lines().collect();
    ensure!(found.len() == files.len(), "{said}");
    for (found, (path, entry)) in found.iter().zip(files) {
        let wanted = format!("{} /{path}", entry.mode);
        ensure!(
            *found == wanted,
            "found `{found}`, but the overlay has `{wanted}`"
        );
    }
    Ok(())
}

/// Checks which ports another host can reach: from the cluster's network, the ports for SSH,
/// clients and peers; from elsewhere, no port.
fn firewall(ours: &Provisioning, node: &Node) -> Result<()> {
    ours.network.add_address(&format!("{STRANGER}/32"))?;
    // Start a service on a port that the firewall does not open.
    node.shell(
        ours,
        "/usr/sbin/sshd -p 2022 && ss -Hltn 'sport = :2022' | grep -q 2022",
    )?;
    let ports = [
        ("10.101.15.1", 22, true),
        ("10.101.15.1", 2379, true),
        ("10.101.15.1", 2380, true),
        ("10.101.15.1", 2022, false),
        (STRANGER, 22, false),
        (STRANGER, 2379, false),
        (STRANGER, 2380, false),
    ];
    // The firewall drops packets, so an attempt to connect to a closed port takes the whole time
    // limit.
    thread::scope(|scope| {
        let checks = ports.map(|(from, port, open)| {
            scope.spawn(move || port_is_open(ours, node, from, port, open))
        });
        checks
            .into_iter()
            .try_for_each(|check| check.join().map_err(|_| anyhow!("a check panicked"))?)
    })
}

/// Checks that a host with the address `from` can connect to a port of the node if `open` is true,
/// and that it cannot connect if `open` is false.
fn port_is_open(ours: &Provisioning, node: &Node, from: &str, port: u16, open: bool) -> Result<()> {
    let mut curl = ours.network.world().command("curl");
    curl.args(["--silent", "--verbose", "--max-time", "10"]);
    curl.args(["--interface", from]);
    let ran = process::run(curl.arg(format!("telnet://{}:{port}", node.address)))?;
    ensure!(
        ran.stderr.contains(") port ") == open,
        "{port} from {from}: expected open: {open}\n{}",
        ran.stderr
    );
    Ok(())
}
