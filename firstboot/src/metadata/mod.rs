//! Where a node learns who it is. One file for each kind of source; each gives a signed node document, or says that
//! it has none, or fails. Nothing that comes from here is believed before identity.rs has checked it.

mod cmdline;
mod document;
mod file;
mod fw_cfg;
mod nocloud;
mod place;
mod smbios;
mod url;

pub(crate) use self::url::client as http_client;
use anyhow::Result;
pub(crate) use document::Found;
pub(crate) use nocloud::print as print_seed;
use recipes::cluster::{MetadataPolicy, MetadataSource};

use crate::exit::{Exit, code_of, not_ready, refused};
use crate::machine::Machine;
use crate::{files, paths};

/// The document of the first source that has one. A source that has none is passed over; one that has something
/// wrong is an error, since the next source's answer might then be a stranger's.
pub(crate) fn find(policy: &MetadataPolicy, machine: &Machine) -> Result<Found> {
    // What a source holds does not get better by reading it again.
    ask(policy, machine).map_err(|error| match code_of(&error) {
        Exit::Failed => refused(format!("{error:#}")),
        _ => error,
    })
}

fn ask(policy: &MetadataPolicy, machine: &Machine) -> Result<Found> {
    // The network is asked only by a node that does not know yet who it is: a set-up member starts without it.
    let known = files::read_if_there(paths::ACCEPTED)?.is_some();
    let mut asked = Vec::new();
    for source in &policy.sources {
        let found = match source {
            MetadataSource::File => file::find(paths::NODE_FILE)?,
            MetadataSource::Cmdline => cmdline::find("/proc/cmdline", known)?,
            MetadataSource::Smbios => smbios::find("/sys/firmware/dmi/entries", known)?,
            MetadataSource::FwCfg => fw_cfg::find(paths::FW_CFG)?,
            MetadataSource::Nocloud => nocloud::find()?,
            MetadataSource::Url => match &policy.url {
                Some(url) if !known => url::find(url, machine)?,
                _ => None,
            },
        };
        if let Some(found) = found {
            return Ok(found);
        }
        asked.push(match source {
            MetadataSource::File => paths::NODE_FILE.to_owned(),
            MetadataSource::Cmdline => "firstboot.node= and ds=nocloud on the kernel's command line".to_owned(),
            MetadataSource::Smbios => "the same in an OEM string of the firmware".to_owned(),
            MetadataSource::FwCfg => "opt/etcd-image/node.json of its configuration".to_owned(),
            MetadataSource::Nocloud => "a disk labelled cidata and /var/lib/cloud/seed/nocloud/".to_owned(),
            MetadataSource::Url => policy.url.as_ref().map_or_else(String::new, ToString::to_string),
        });
    }
    // What was accepted in an earlier boot.
    if let Some(bytes) = files::read_if_there(paths::ACCEPTED)? {
        return Found::parse(paths::ACCEPTED, &bytes);
    }
    Err(not_ready(format!(
        "no node document for this machine ({machine}); looked for: {}. Give it its nodes/NAME/ of the build",
        asked.join("; ")
    )))
}
