//! The steps of a first boot. Each looks at the node and says what is missing for it to be who its document says; on
//! a node that is set up each says nothing.

pub(crate) mod etcd_conf;
mod host;
pub(crate) mod network;
pub(crate) mod selinux;
pub(crate) mod tls;

use std::path::Path;

use anyhow::Result;
use recipes::NodeDocument;
#[cfg(test)]
pub(crate) use tls::tests::{issued, issued_in};

use crate::change::{self, Change, folder};
use crate::files::{self, DesiredDir, DesiredFile, ETCD, ROOT};
use crate::identity::Identity;
use crate::paths;

/// All that is missing before etcd can be configured, in the order in which it is to be done. The address, which tells
/// whether this is the machine at all, goes before: see run.rs.
pub(crate) fn plan(identity: &Identity) -> Result<Vec<Change>> {
    tls::check(identity, &identity.node.tls)?;
    let mut changes = Vec::new();
    changes.extend(host::name(identity)?);
    changes.extend(host::hosts(identity)?);
    changes.extend(folder(DesiredDir::new("/etc/etcd", 0o755, ROOT))?);
    changes.extend(tls::install(&identity.tls)?);
    changes.extend(store_keys(&identity.node)?);
    changes.extend(volume()?);
    let labels = selinux::plan(&changes);
    changes.extend(labels);
    Ok(changes)
}

/// The object store's keys, where the document has any. Where it has none, those that an operator put there stay.
fn store_keys(node: &NodeDocument) -> Result<Option<Change>> {
    let Some(keys) = &node.store_keys else { return Ok(None) };
    change::file(DesiredFile::new(paths::S3_KEYS, keys.to_file()).mode(0o600, ROOT))
}

/// The volume of etcd is root's, and etcd may look into it; what was put aside is root's alone. In earlier versions both were
/// etcd's, and etcd could put a link in the place of anything there: that is refused, and never followed.
fn volume() -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = folder(DesiredDir::new(paths::VOLUME, 0o750, (0, ETCD.1)))?.into_iter().collect();
    let aside = Path::new(paths::ASIDE);
    if files::exists(aside)? {
        changes.extend(folder(DesiredDir::new(aside, 0o700, ROOT))?);
    }
    Ok(changes)
}

/// What is missing of the certificates that the node is to live by now.
pub(crate) fn certificates(identity: &Identity) -> Result<Vec<Change>> {
    let mut changes = tls::install(&identity.tls)?;
    let labels = selinux::plan(&changes);
    changes.extend(labels);
    Ok(changes)
}
