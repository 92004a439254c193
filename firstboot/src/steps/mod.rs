//! Defines the steps of a first boot. Each step compares the node with its document and returns the
//! missing changes. A node that matches its document needs no changes.

pub(crate) mod etcd_conf;
mod host;
pub(crate) mod network;
pub(crate) mod selinux;
pub(crate) mod tls;

use std::path::Path;

use anyhow::Result;
use recipes::NodeDocument;
#[cfg(test)]
pub(crate) use tls::tests::{
    test_certificates, test_identity, test_identity_from, test_identity_until,
};

use crate::change::{self, Change, folder};
use crate::files::{self, DesiredDir, DesiredFile, ETCD, ROOT};
use crate::identity::Identity;
use crate::paths;

/// Returns the changes that `run` makes before it configures etcd, in order. `run` assigns the
/// address before these changes, because the address shows whether this machine is the right one.
pub(crate) fn plan(identity: &Identity) -> Result<Vec<Change>> {
    tls::check(identity, &identity.document_tls)?;
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

/// Returns the change that writes the object store's keys, if the document contains them. If the
/// document does not contain keys, the node keeps the keys that an operator copied to the disk.
fn store_keys(node: &NodeDocument) -> Result<Option<Change>> {
    let Some(keys) = &node.store_keys else {
        return Ok(None);
    };
    change::file(DesiredFile::new(paths::S3_KEYS, keys.to_file()).mode(0o600, ROOT))
}

/// Returns the changes to the owners and modes of etcd's volume and of the archive. The volume
/// belongs to root, and etcd may read it. Only root can access the archive. In earlier versions,
/// both folders belonged to etcd, which could replace any entry in them with a link. firstboot
/// refuses to follow a link that etcd may have created.
fn volume() -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = folder(DesiredDir::new(paths::VOLUME, 0o750, (0, ETCD.1)))?
        .into_iter()
        .collect();
    let archive = Path::new(paths::ARCHIVE);
    if files::exists(archive)? {
        changes.extend(folder(DesiredDir::new(archive, 0o700, ROOT))?);
    }
    Ok(changes)
}

/// Returns the changes that install the certificates that the node must use from now on
/// (`identity.tls`).
pub(crate) fn certificates(identity: &Identity) -> Result<Vec<Change>> {
    let mut changes = tls::install(&identity.tls)?;
    let labels = selinux::plan(&changes);
    changes.extend(labels);
    Ok(changes)
}
