//! Whether etcd may run: the file that etcd.service starts by, and the unit itself.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::data::Expected;
use crate::files::{self, DesiredDir, DesiredFile};
use crate::{paths, systemd};

const UNIT: &str = "etcd.service";

/// Says that etcd may start on data like this. It is started by hand too, for the case that systemd passed it over in an
/// earlier try.
pub(crate) fn release(expected: &Expected) -> Result<()> {
    DesiredDir::new("/run/firstboot", 0o755, files::ROOT).make()?;
    renew(expected)?;
    systemd::ready();
    systemd::start(UNIT)
}

/// Says on what data etcd may start from now on.
pub(crate) fn renew(expected: &Expected) -> Result<()> {
    let permit = DesiredFile::new(paths::READY, serde_json::to_vec(expected)?);
    if permit.is_current()? { Ok(()) } else { permit.write() }
}

/// On what data etcd may start in this boot; `None` where it may not.
pub(crate) fn permit() -> Result<Option<Expected>> {
    let Some(bytes) = files::read_if_there(paths::READY)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} cannot be read", paths::READY))
}

/// Whether etcd runs.
pub(crate) fn runs() -> Result<bool> {
    Ok(is_given() && systemd::main_process(UNIT)?.is_some())
}

/// Whether it was said in this boot that etcd may start.
pub(crate) fn is_given() -> bool {
    Path::new(paths::READY).exists()
}

/// From now on etcd does not start in this boot; one that runs goes on.
pub(crate) fn forbid() -> Result<()> {
    files::remove(paths::READY)
}

/// etcd is down and stays down in this boot.
pub(crate) fn halt() -> Result<()> {
    forbid()?;
    systemd::stop(UNIT)
}

/// Takes that back: an etcd that was let go earlier in this boot, and has made no data since, may be starting over and
/// over. It must not do so while firstboot finds out what it is to begin as.
pub(crate) fn withdraw() -> Result<()> {
    if !is_given() {
        return Ok(());
    }
    halt()
}
