//! Each place where a node may learn who it is. The seed folder is the main path's; the seed disk is with the refusals.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::Provisioning;
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::programs::recipe;
use tests::server::Fault;

use crate::path::{ACCEPTED, NEEDS};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_node_learns_who_it_is_from_a_file", NEEDS, file),
        trial("a_node_learns_who_it_is_from_the_kernels_command_line", NEEDS, cmdline),
        trial("a_node_learns_who_it_is_from_a_server_that_is_late", NEEDS, server),
    ]
}

/// The demo's recipe with a server to ask.
fn provisioned() -> Result<Provisioning> {
    etcd::release("3.5.1")?;
    let provisioning = Provisioning::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("recipe.toml");
    let metadata = "\n[metadata]\nurl = \"http://10.101.15.1:8080/metadata/\"\n";
    fs::write(&path, fs::read_to_string(recipe("demo"))? + metadata)?;
    provisioning.build(&path)?;
    Ok(provisioning)
}

fn becomes_the_node(host: &mut Host) -> Result<()> {
    host.boot()?;
    host.wait_for(ACCEPTED, Duration::from_secs(60))
}

fn file() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&host)?;
    host.write("/etc/firstboot/node.json", fs::read(ours.out().join("nodes/etcd-1/node.json"))?, 0o600)?;
    becomes_the_node(&mut host)
}

fn cmdline() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&host)?;
    let folder = ours.www().join("cmdline");
    fs::create_dir(&folder)?;
    fs::copy(ours.out().join("nodes/etcd-1/user-data"), folder.join("user-data"))?;
    // A container's /proc/cmdline is its machine's; nspawn cannot lay another over it before systemd is there.
    host.write("/root/cmdline", "ro quiet \"ds=nocloud;s=http://10.101.15.1:8080/cmdline/\"\n", 0o644)?;
    host.boot()?;
    host.wait_for("journalctl -u firstboot | grep -q 'waiting for http'", Duration::from_secs(30))?;
    host.check(&["mount", "--bind", "/root/cmdline", "/proc/cmdline"])?;
    host.check(&["systemctl", "restart", "--no-block", "firstboot"])?;
    host.wait_for(ACCEPTED, Duration::from_secs(30))?;
    ensure!(ours.server.requests_for("cmdline/user-data").len() == 1);
    Ok(())
}

fn server() -> Result<()> {
    let ours = provisioned()?;
    let mut host = ours.machine("etcd-1")?;
    ours.install(&host)?;
    let folder = ours.www().join("metadata");
    fs::create_dir(&folder)?;
    fs::copy(ours.out().join("nodes/etcd-1/node.json"), folder.join("node.json"))?;
    ours.server.fault("metadata/node.json", Fault::StatusTimes(503, 2));
    becomes_the_node(&mut host)?;
    let asked = ours.server.requests_for("metadata/node.json");
    ensure!(asked.len() == 3, "{asked:?}");
    let query = asked[0].query.as_deref().unwrap_or_default();
    ensure!(query.contains("mac=52%3A54%3A0a%3A65%3A0f%3A65"), "it is not said who asks: {query}");

    // A second boot asks nobody: it knows who it is.
    host.pull_the_plug()?;
    becomes_the_node(&mut host)?;
    ensure!(ours.server.requests_for("metadata/node.json").len() == 3);
    Ok(())
}
