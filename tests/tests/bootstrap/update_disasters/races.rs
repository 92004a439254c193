//! Tests a deadline that passes while the node is off, and a build during a node's download.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use recipes::image_release::RELEASE_OVERLAY;
use tests::cluster::wait_healthy;
use tests::server::Fault;

use super::orders::{STATE, order, publish, wait_end};
use crate::bed::{Bed, CONVERGENCE_TIMEOUT};
use crate::update::{ends, is_at_rest, update};

/// A node loses power while its order waits, and boots after the order's deadline. Although no node
/// has the turn at that time, the node does not begin the update.
pub(super) fn deadline_passes_while_off(bed: &mut Bed) -> Result<()> {
    ends(&update(&bed.hosts[2], "--halt 'wait for Monday'")?, 0, &[])?;
    let host = &mut bed.hosts[1];
    host.sh("nohup firstboot update --deadline 10 > /dev/null 2>&1 &")?
        .ok()?;
    let waits = "grep -F Monday /run/firstboot/update.log";
    host.wait_for(&format!("test -e {STATE} && {waits}"), CONVERGENCE_TIMEOUT)?;
    let state: serde_json::Value = serde_json::from_str(&host.read(STATE)?)?;
    let until = state["order"]["until"]
        .as_u64()
        .with_context(|| format!("the order has no deadline: {state}"))?;
    host.cut_power()?;
    ends(&update(&bed.hosts[2], "--resume")?, 0, &[])?;
    // The updater compares whole seconds, so wait until the second after the deadline.
    let passed = SystemTime::UNIX_EPOCH + Duration::from_secs(until + 1);
    std::thread::sleep(passed.duration_since(SystemTime::now()).unwrap_or_default());

    let host = &mut bed.hosts[1];
    host.boot()?;
    wait_healthy(host, 3, CONVERGENCE_TIMEOUT)?;
    wait_end(host, "given-up")?;
    ensure!(
        host.read("/etc/chrony.conf")? != "# 2\n",
        "the update began after its deadline"
    );
    let status = host.check(&["firstboot", "status"])?;
    ensure!(
        status.contains("dropped the order to install image 2")
            && status.contains("[update-deadline]"),
        "{status}"
    );
    is_at_rest(host)
}

/// A build replaces the release while a node downloads its overlay. The node installs the newer
/// release.
pub(super) fn replaced_during_the_download(bed: &Bed) -> Result<()> {
    let (host, server) = (&bed.hosts[0], &bed.provisioning.server);
    publish(bed, 8)?;
    let older = bed.provisioning.copy_output()?;
    publish(bed, 9)?;
    let newer = bed.provisioning.copy_output()?;
    bed.provisioning.restore_output(&older)?;
    let requests = || server.requests_for(RELEASE_OVERLAY).len();
    let before = requests();
    // The node tries again two seconds later.
    server.fault(RELEASE_OVERLAY, Fault::StatusTimes(503, 3));
    order(host)?;
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    while requests() == before {
        ensure!(
            Instant::now() < end,
            "the node does not request the overlay"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    bed.provisioning.restore_output(&newer)?;
    wait_end(host, "updated")?;
    ensure!(
        host.read("/etc/chrony.conf")? == "# 9\n",
        "the node did not install the newer image"
    );
    for host in &bed.hosts[1..] {
        ends(&update(host, "")?, 0, &["has image 9"])?;
    }
    Ok(())
}
