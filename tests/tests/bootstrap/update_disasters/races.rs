//! Tests a deadline that passes while the node is off.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::cluster::wait_healthy;

use super::orders::{STATE, wait_end};
use crate::bed::{Bed, CONVERGENCE_TIMEOUT};
use crate::update::{ends, is_at_rest, update};

/// A node loses power while its order waits, and boots after the order's deadline. Although no node
/// has the turn then, the node does not begin the update.
pub(super) fn deadline_passes_while_off(bed: &mut Bed) -> Result<()> {
    ends(&update(&bed.hosts[2], "--halt 'wait for Monday'")?, 0, &[])?;
    let host = &mut bed.hosts[1];
    let ordered = Instant::now();
    host.sh("nohup firstboot update --deadline 10 > /dev/null 2>&1 &")?
        .ok()?;
    let waits = "grep -F Monday /run/firstboot/update.log";
    host.wait_for(&format!("test -e {STATE} && {waits}"), CONVERGENCE_TIMEOUT)?;
    host.cut_power()?;
    ends(&update(&bed.hosts[2], "--resume")?, 0, &[])?;
    let until = ordered + Duration::from_secs(12);
    std::thread::sleep(until.saturating_duration_since(Instant::now()));

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
        status.contains("dropped the order to install the image 2")
            && status.contains("[update-deadline]"),
        "{status}"
    );
    is_at_rest(host)
}
