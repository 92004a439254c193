//! Replaces the etcd of a node with an etcd that is not in the node's image. The builder refuses a
//! release whose digest differs from the known digest of upstream's release. The builder also
//! refuses programs that do not run on CentOS 7. A release that was built here or by Debian can
//! fail these checks. To use a release that the builder cannot pack, this module changes an
//! installed machine that is off, as if the machine had been installed from an image of that
//! release. The module replaces the machine's programs, the version in the cluster document, and
//! the entries of the changed files in the file list.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use recipes::{ImageFileList, Sha256};

use super::programs::{PROGRAMS, binaries};
use crate::host::Host;

const FILE_LIST: &str = "/etc/firstboot/image.json";
const CLUSTER: &str = "/etc/firstboot/cluster.json";

/// Installs the release of the given version on the machine, unless the machine already has that
/// version.
pub fn replace_etcd_binary(host: &Host, version: &str) -> Result<()> {
    let mut cluster: serde_json::Value =
        serde_json::from_str(&host.read(CLUSTER)?).context(CLUSTER)?;
    if cluster["etcd"]["version"] == version {
        return Ok(());
    }
    let mut file_list: ImageFileList =
        serde_json::from_str(&host.read(FILE_LIST)?).context(FILE_LIST)?;
    let release = binaries(version)?;
    for program in PROGRAMS {
        let (from, to) = (release.join(program), format!("/usr/local/bin/{program}"));
        if from.exists() {
            let bytes =
                fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            replace_listed(host, &mut file_list, &to, &bytes)?;
        } else {
            fs::remove_file(host.path(&to)).with_context(|| format!("cannot remove {to}"))?;
            file_list.files.retain(|file| file.path != to[1..]);
        }
    }
    cluster["etcd"]["version"] = version.into();
    replace_listed(
        host,
        &mut file_list,
        CLUSTER,
        &serde_json::to_vec(&cluster)?,
    )?;
    write_over(host, FILE_LIST, &serde_json::to_vec(&file_list)?)
}

fn replace_listed(
    host: &Host,
    file_list: &mut ImageFileList,
    path: &str,
    bytes: &[u8],
) -> Result<()> {
    let entry = file_list
        .files
        .iter_mut()
        .find(|entry| entry.path == path[1..]);
    let entry = entry.with_context(|| format!("the file list does not contain {path}"))?;
    (entry.size, entry.sha256) = (bytes.len() as u64, Sha256::of(bytes));
    write_over(host, path, bytes)
}

/// Overwrites a file and keeps its owner and its mode.
fn write_over(host: &Host, path: &str, bytes: &[u8]) -> Result<()> {
    let file = host.path(path);
    ensure!(file.is_file(), "{} has no {path}", host.name());
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
