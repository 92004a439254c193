//! Tests the board during the installation of real machines, a failed installation, a rebuild, and
//! updates.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::etcd;
use tests::host::Host;
use tests::installer::Outcome;
use tests::programs;
use tests::repack::Repack;

use super::page::{LIVE_TIMEOUT, Page};
use crate::bed::{SERVER, START_TIMEOUT, Server, allow, by_card, recipe_with};
use crate::board::token;
use crate::installation::{install, words};

/// The time within which the page must show a change to the members. The server queries the members
/// every 10 s.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(60);
const STATE: &str = "/var/lib/firstboot/update/state.json";
const OUTCOME: &str = "/var/lib/firstboot/update/outcome.json";

pub(super) fn whole_life() -> Result<()> {
    let ours = built()?;
    let (token, pki) = (token()?, ours.pki().to_string_lossy().into_owned());
    programs::run_builder(&["pki", "client", "alice", "--pki", &pki])?.ok()?;
    let (tree, client) = (
        format!("http://{SERVER}/none/"),
        format!("{pki}/clients/alice"),
    );
    let options = [
        "--tree",
        &tree,
        "--board-token",
        &token,
        "--client",
        &client,
    ];
    let _server = Server::start(&ours, &options)?;
    let page = Page::open(ours.network.world(), "cluster", true)?;
    page.becomes_live()?;

    let mut hosts = provisioned(&ours, &page)?;
    rebuilt(&ours, &page, &mut hosts[2])?;
    updated(&ours, &page, &hosts[0])?;
    taken_back(&ours, &page, &hosts[1])?;
    page.stays_at_home()
}

/// Builds the demo's cluster, whose nodes look for releases on the builder's server.
fn built() -> Result<Provisioning> {
    etcd::release(etcd::DEMO)?;
    let ours = Provisioning::new()?;
    let path = recipe_with(by_card)?;
    let text = fs::read_to_string(&path)?;
    let update = format!("[update]\nfrom = \"http://{SERVER}/\"\nsoak-seconds = 10\n");
    fs::write(&path, format!("{text}\n{update}"))?;
    ours.build(&path)?;
    allow(&ours, &["--all", "--install"])?;
    Ok(ours)
}

/// Installs the machines. The first attempt to install the first machine fails.
fn provisioned(ours: &Provisioning, page: &Page) -> Result<Vec<Host>> {
    page.follows(&["✕ NO QUORUM"], MEMBERS_TIMEOUT)?;
    page.check("waiting", &["3 allowed", "0 of 3 members are healthy"])?;
    let mut hosts = Vec::new();
    for name in ["etcd-1", "etcd-2", "etcd-3"] {
        hosts.push(ours.machine(name)?);
    }
    let overlay = ours.out().join("image/overlay.tar.gz");
    let kept = fs::read(&overlay)?;
    fs::write(&overlay, "another")?;
    let ended = install(&hosts[0], &words(&hosts[0])?)?;
    ensure!(
        matches!(ended.outcome, Outcome::PoweredOff(_)),
        "{:?}",
        ended.outcome
    );
    page.follows(&["! failed", "no server has the overlay"], LIVE_TIMEOUT)?;
    page.check("failed", &["1 failed", "2 allowed"])?;
    fs::write(&overlay, kept)?;
    for host in &mut hosts {
        let words = words(host)?;
        page.follows(&["◐ installing", "sent the installer"], LIVE_TIMEOUT)?;
        install(host, &words)?.installed()?;
    }
    page.follows(&["3 installed"], LIVE_TIMEOUT)?;
    page.check("installed", &["◐ installed"])?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        wait_healthy(host, 3, START_TIMEOUT)?;
    }
    let words = ["3 healthy", "3 of 3 members are healthy", "leader"];
    page.follows(&words, MEMBERS_TIMEOUT)?;
    page.check("healthy", &["✓ healthy", "follower", "client port"])?;
    Ok(hosts)
}

/// Cuts a machine's power, replaces the machine's disk, and installs the node again.
fn rebuilt(ours: &Provisioning, page: &Page, lost: &mut Host) -> Result<()> {
    lost.cut_power()?;
    let down = ["! DEGRADED", "2 of 3 members are healthy", "✕ UNHEALTHY"];
    page.follows(&down, MEMBERS_TIMEOUT)?;
    page.check("lost", &["leader"])?;
    allow(ours, &["etcd-3", "--install"])?;
    page.follows(&["1 allowed", "2 healthy"], LIVE_TIMEOUT)?;
    lost.wipe()?;
    let words = words(lost)?;
    install(lost, &words)?.installed()?;
    page.follows(&["1 installed"], LIVE_TIMEOUT)?;
    lost.boot()?;
    wait_healthy(lost, 3, START_TIMEOUT)?;
    let words = ["3 healthy", "3 of 3 members are healthy"];
    page.follows(&words, MEMBERS_TIMEOUT)?;
    page.check("rebuilt", &["✓ healthy"])
}

/// Starts an update without waiting for its end.
fn order(host: &Host) -> Result<()> {
    host.sh(&format!(
        "rm -f {OUTCOME}; nohup firstboot update > /dev/null 2>&1 &"
    ))?
    .ok()
    .map(drop)
}

/// Waits until the update has ended with this result.
fn wait_end(host: &Host, end: &str) -> Result<()> {
    let ended = format!("! test -e {STATE} && grep -F '\"end\":\"{end}\"' {OUTCOME}");
    host.wait_for(&ended, START_TIMEOUT)
        .with_context(|| host.journal("firstboot-update").unwrap_or_default())
}

/// Updates a node to a newer image.
fn updated(ours: &Provisioning, page: &Page, host: &Host) -> Result<()> {
    let image = Repack::of(&ours.out())?;
    fs::write(image.path("etc/chrony.conf"), "# 2\n")?;
    image.pack(2, &ours.signing_key()?)?;
    order(host)?;
    let turn = ["◐ updating", "etcd-1 has been installing image 2 since"];
    page.follows(&turn, MEMBERS_TIMEOUT)?;
    page.check("turn", &["Turn"])?;
    wait_end(host, "updated")?;
    let serials = "Newest image built here\n2\nNewest image that an update has begun to install\n2";
    page.follows(&[serials, "3 of 3 members are healthy"], MEMBERS_TIMEOUT)?;
    page.check("updated", &["✓ healthy"])
}

/// Updates a node to an image whose etcd exits, and waits until the node reverts the image.
fn taken_back(ours: &Provisioning, page: &Page, host: &Host) -> Result<()> {
    let image = Repack::of(&ours.out())?;
    fs::write(image.path("usr/local/bin/etcd"), "#!/bin/sh\nexit 1\n")?;
    image.pack(3, &ours.signing_key()?)?;
    order(host)?;
    let down = ["◐ updating", "etcd-2 has been installing image 3 since"];
    page.follows(&down, MEMBERS_TIMEOUT)?;
    page.follows(&["2 of 3 members are healthy"], MEMBERS_TIMEOUT)?;
    page.check("down-in-its-turn", &["✕ UNHEALTHY"])?;
    wait_end(host, "taken-back")?;
    wait_healthy(host, 3, START_TIMEOUT)?;
    let failed = ["✕ failed", "image 3 failed on etcd-2", "3 of 3 members"];
    page.follows(&failed, MEMBERS_TIMEOUT)?;
    page.check("taken-back", &["firstboot update --retry"])
}
