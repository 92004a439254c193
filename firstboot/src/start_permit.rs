//! Controls whether etcd may run. etcd.service does not start without the start permit, which is a
//! file.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::data::RecordedData;
use crate::files::{self, DesiredDir, DesiredFile};
use crate::systemd::ETCD_UNIT;
use crate::{paths, systemd};

/// Allows etcd to start on data that matches this description, and notifies systemd that
/// firstboot.service has started. Starts etcd.service, because systemd may have skipped the unit
/// before the permit existed.
pub(crate) fn grant(expected: &RecordedData) -> Result<()> {
    DesiredDir::new("/run/firstboot", 0o755, files::ROOT).make()?;
    replace(expected)?;
    systemd::notify_ready();
    systemd::start(ETCD_UNIT)
}

/// Writes the permit with the description of the data on which etcd may start.
pub(crate) fn replace(expected: &RecordedData) -> Result<()> {
    let permit = DesiredFile::new(paths::START_PERMIT, serde_json::to_vec(expected)?);
    if permit.is_current()? {
        Ok(())
    } else {
        permit.write()
    }
}

/// Returns the description of the data on which etcd may start in this boot, or `None` if etcd may
/// not start.
pub(crate) fn read() -> Result<Option<RecordedData>> {
    let Some(bytes) = files::read_if_there(paths::START_PERMIT)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .with_context(|| format!("{} cannot be parsed", paths::START_PERMIT))
}

/// Returns whether etcd is running. etcd can only start with a permit, but a refusal may have
/// revoked the permit since then.
pub(crate) fn etcd_runs() -> Result<bool> {
    Ok(systemd::main_process(ETCD_UNIT)?.is_some())
}

/// Returns whether firstboot has allowed etcd to start in this boot, and has not stopped etcd since
/// then.
pub(crate) fn was_granted() -> Result<bool> {
    Ok(is_granted() || etcd_runs()?)
}

pub(crate) fn is_granted() -> bool {
    Path::new(paths::START_PERMIT).exists()
}

/// Prevents etcd from starting in this boot. A running etcd keeps running.
pub(crate) fn revoke() -> Result<()> {
    files::remove(paths::START_PERMIT)
}

/// Stops etcd, and prevents it from starting in this boot.
pub(crate) fn revoke_and_stop_etcd() -> Result<()> {
    revoke()?;
    systemd::stop(ETCD_UNIT)
}

/// Revokes the permit and stops etcd, if firstboot has allowed etcd to start. If etcd has had the
/// permit in this boot but has not created any data, etcd may be restarting repeatedly. It must not
/// restart while firstboot decides how etcd starts.
pub(crate) fn revoke_if_granted() -> Result<()> {
    if !was_granted()? {
        return Ok(());
    }
    revoke_and_stop_etcd()
}
