//! Publishes releases, and orders updates without waiting for their end.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tests::host::Host;
use tests::repack::Repack;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT};

pub(super) const STATE: &str = "/var/lib/firstboot/update/state.json";
pub(super) const OUTCOME: &str = "/var/lib/firstboot/update/outcome.json";

/// Publishes an image with another chrony.conf.
pub(super) fn publish(bed: &Bed, serial: u64) -> Result<()> {
    let image = Repack::of(&bed.provisioning.out())?;
    fs::write(image.path("etc/chrony.conf"), format!("# {serial}\n"))?;
    image.pack(serial, &bed.provisioning.signing_key()?)
}

/// Orders an update without waiting for it.
pub(super) fn order(host: &Host) -> Result<()> {
    host.sh(
        "rm -f /var/lib/firstboot/update/outcome.json; nohup firstboot update > /dev/null 2>&1 &",
    )?
    .ok()
    .map(drop)
}

pub(super) fn wait_phase(host: &Host, phase: &str) -> Result<()> {
    let end = Instant::now() + CONVERGENCE_TIMEOUT;
    let path = host.path(STATE);
    while !fs::read_to_string(&path)
        .unwrap_or_default()
        .contains(&format!("\"phase\":\"{phase}\""))
    {
        ensure!(
            Instant::now() < end,
            "the update did not reach the phase {phase}: {}",
            host.journal("firstboot-update")?
        );
    }
    Ok(())
}

/// Waits until the order has ended with this result.
pub(super) fn wait_end(host: &Host, end: &str) -> Result<()> {
    let ended = format!("! test -e {STATE} && grep -F '\"end\":\"{end}\"' {OUTCOME}");
    host.wait_for(&ended, CONVERGENCE_TIMEOUT)
        .with_context(|| host.journal("firstboot-update").unwrap_or_default())
}
