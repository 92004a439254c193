//! Inspects the file or folder at the path of the output, and checks whether an output may replace
//! it.

use std::fs;
use std::io;
use std::path::Path;

use recipes::EtcdVersion;
use recipes::image_release::RELEASE_FILE;
use serde::Deserialize;

use super::error::{OutputError, io_error};
use crate::text_file;

/// The names at the top level of an output. A folder that contains any other name is not replaced,
/// because a replacement deletes all files in the folder, and a user may have put other files
/// there, such as a PKI folder.
const OURS: [&str; 4] = ["image", "nodes", "pxe", RELEASE_FILE];

/// The earlier outputs that may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replaceable {
    Any,
    /// An output whose nodes trust the key with this id. An output that trusts the same key was
    /// built with the same PKI folder, so it belongs to the same cluster. If the id is `None`, no
    /// output may be replaced.
    SignedBy(Option<String>),
}

impl Replaceable {
    /// Refuses the output with this manifest unless it may be replaced.
    fn check_manifest(&self, manifest: &Manifest) -> Result<(), (String, &'static str)> {
        let Self::SignedBy(own) = self else {
            return Ok(());
        };
        if manifest.trust.is_some() && manifest.trust == *own {
            return Ok(());
        }
        let recipe = manifest
            .recipe
            .as_ref()
            .map_or_else(String::new, |recipe| format!(", from {}", recipe.name));
        let trust = manifest.trust.as_deref().unwrap_or("(unreadable)");
        let own = own
            .as_ref()
            .map_or_else(|| "has none yet".to_owned(), |own| format!("has {own}"));
        Err((
            format!(
                "it was built with another PKI folder{recipe}: its nodes trust the signing key {trust}, but the PKI folder \
                 of this build {own}"
            ),
            "name another --out, or use --replace to discard that output with its node documents",
        ))
    }
}

/// The part of an output's manifest that identifies its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Manifest {
    trust: Option<String>,
    etcd: Option<EtcdVersion>,
    recipe: Option<RecipeName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RecipeName {
    name: String,
}

/// The file or folder that exists at the path of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExistingOutput {
    Nothing,
    Root,
    File,
    /// A folder, with the names in it, and its manifest if it has one.
    Folder(Vec<String>, Option<Manifest>),
}

impl ExistingOutput {
    pub(super) fn etcd(&self) -> Option<EtcdVersion> {
        match self {
            Self::Folder(_, Some(manifest)) => manifest.etcd,
            _ => None,
        }
    }
}

/// Returns an error with a remedy if the existing file or folder must not be replaced.
pub(super) fn check_replaceable(
    found: &ExistingOutput,
    replaceable: &Replaceable,
) -> Result<(), (String, &'static str)> {
    match found {
        ExistingOutput::Nothing => Ok(()),
        ExistingOutput::Root => Err((
            "the output cannot be the root of the file system".to_owned(),
            "name a folder",
        )),
        ExistingOutput::File => Err((
            "it is a file, but a folder is expected".to_owned(),
            "name another folder, or remove it",
        )),
        ExistingOutput::Folder(names, _) if names.is_empty() => Ok(()),
        ExistingOutput::Folder(_, None) => Err((
            "it is not empty, and it is not the output of an earlier build (it has no \
             image/manifest.json)"
                .to_owned(),
            "name a new or empty folder",
        )),
        ExistingOutput::Folder(names, Some(manifest)) => {
            match names.iter().find(|name| !OURS.contains(&name.as_str())) {
                None => replaceable.check_manifest(manifest),
                Some(strange) => Err((
                    format!(
                        "it contains `{strange}`, which the builder did not create, and a build replaces the whole folder"
                    ),
                    "move it to another location, or name another folder",
                )),
            }
        }
    }
}

pub(super) fn inspect(target: &Path) -> Result<ExistingOutput, OutputError> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ExistingOutput::Nothing),
        Err(error) => Err(io_error("inspect it", target)(error)),
        Ok(_) if target.parent().is_none() => Ok(ExistingOutput::Root),
        Ok(found) if !found.is_dir() => Ok(ExistingOutput::File),
        Ok(_) => {
            let entries = fs::read_dir(target).map_err(io_error("list it", target))?;
            let names: Result<Vec<_>, _> = entries
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect();
            let mut names = names.map_err(io_error("list it", target))?;
            names.sort();
            Ok(ExistingOutput::Folder(
                names,
                manifest(&target.join("image/manifest.json"))?,
            ))
        }
    }
}

/// Reads the manifest of an output. Returns `None` if the output contains no manifest. A manifest
/// that cannot be parsed counts as a manifest that does not identify a cluster.
fn manifest(path: &Path) -> Result<Option<Manifest>, OutputError> {
    if !text_file::is_file(path).map_err(io_error("read it", path))? {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(io_error("read it", path))?;
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default()))
}
