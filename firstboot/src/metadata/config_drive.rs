//! Reads OpenStack's config drive, which is a FAT or ISO 9660 disk with the label `config-2`.

use anyhow::{Context as _, Result};
use recipes::cluster::MetadataSource;

use super::openstack::MetaData;
use super::source::{Source, SourceResult, shorten};
use super::{disk, seed};

pub(super) const SOURCE: Source = Source {
    name: MetadataSource::ConfigDrive,
    find: |_| find(),
};

const LABEL: &str = "config-2";

fn find() -> Result<SourceResult> {
    let disks = disk::labelled(LABEL)?;
    if disks.is_empty() {
        return Ok(SourceResult::Nothing(format!(
            "no disk is labelled {LABEL}"
        )));
    }
    seed::read(&disks, "openstack/latest/user_data", |disk| {
        // Nova and Ironic write `meta_data.json`. Other tools that create a config drive may write
        // only the user data.
        let data = disk::read(disk, "openstack/latest/meta_data.json")
            .context("openstack/latest/meta_data.json")?;
        let data = data.and_then(|bytes| serde_json::from_slice::<MetaData>(&bytes).ok());
        Ok(match data {
            Some(data) => {
                format!(
                    "the config drive {} of instance {} has no user data",
                    disk.display(),
                    shorten(data.uuid)
                )
            }
            None => format!(
                "the disk {} does not contain openstack/latest/user_data",
                disk.display()
            ),
        })
    })
}
