//! A user's unit that finishes its start only after etcd answers. If an update waited for the
//! restart of this unit, the update would never start etcd.

use anyhow::Result;

use crate::bed::{Bed, CONVERGENCE_TIMEOUT};

/// The lines in `[files.overlay]` for the unit and its preset.
pub(super) const SECTIONS: &str = "\"/etc/systemd/system/own.service\" = \"own.service\"\n\
    \"/etc/systemd/system-preset/05-own.preset\" = \"own.preset\"\n";

/// The name and the content of the preset's file.
pub(super) const PRESET: (&str, &str) = ("own.preset", "enable own.service\n");

/// Returns the content of the unit's file.
pub(super) fn text(description: &str) -> String {
    format!(
        "[Unit]\nDescription={description}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/bash -c 'until : < /dev/tcp/127.0.0.1/2381; do sleep 1; done'\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// Waits until the unit is active with this description on all hosts.
pub(super) fn is_active(bed: &Bed, description: &str) -> Result<()> {
    let shown = format!("systemctl show -p Description own | grep -qx Description={description}");
    let active = format!("systemctl is-active --quiet own && {shown}");
    for host in &bed.hosts {
        host.wait_for(&active, CONVERGENCE_TIMEOUT)?;
    }
    Ok(())
}
