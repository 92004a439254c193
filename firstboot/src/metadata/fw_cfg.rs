//! Reads QEMU's firmware configuration. The hypervisor passes the document itself to the machine,
//! without a disk, a network or a boot loader, and only root can read the document. The driver is
//! built into the kernel of CentOS 7.9 (3.10.0-1160, CONFIG_FW_CFG_SYSFS=y).

use std::path::Path;

use anyhow::Result;
use recipes::cluster::MetadataSource;

use super::document::{FoundDocument, LIMIT};
use super::source::{Source, SourceResult};
use crate::{files, paths};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::FwCfg,
    find: |_| find(paths::FW_CFG),
};

fn find(path: &str) -> Result<SourceResult> {
    if !Path::new(path).exists() {
        return Ok(SourceResult::Nothing(
            "the firmware's configuration does not contain opt/etcd-image/node.json".to_owned(),
        ));
    }
    let origin = "opt/etcd-image/node.json of the firmware's configuration";
    Ok(FoundDocument::parse(origin, &files::read_bounded(path.as_ref(), LIMIT)?)?.into())
}
