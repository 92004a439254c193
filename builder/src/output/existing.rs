//! Inspects the file or folder at the path of the output, and checks whether an output may replace
//! it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use recipes::EtcdVersion;
use recipes::image_release::RELEASE_FILE;
use serde::Deserialize;

use super::error::{OutputError, io_error};
use crate::text_file;

/// The files that a build writes to `image/`.
const IMAGE_FILES: [&str; 5] = [
    "SHA256SUMS",
    "centos7.ks",
    "manifest.json",
    "manifest.json.sig",
    "overlay.tar.gz",
];
/// The files that a build writes to each node's folder in `nodes/`.
const NODE_FILES: [&str; 5] = [
    "identity.json",
    "meta-data",
    "node.json",
    "seed.img",
    "user-data",
];

/// Returns whether a build writes a file or folder with this path in the output. A folder that
/// contains any other path is not replaced, because a replacement deletes all files in the folder,
/// and a user may have put other files there, such as a recipe or a PKI folder.
fn is_ours(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["image" | "nodes" | RELEASE_FILE] | ["nodes", _] => true,
        ["image", file] => IMAGE_FILES.contains(file),
        ["nodes", _, file] => NODE_FILES.contains(file),
        _ => false,
    }
}

/// The path of an output's manifest.
const MANIFEST: &str = "image/manifest.json";

/// The earlier outputs that may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Replaceable {
    Any,
    /// Only an output whose nodes trust the key with this id. Such an output was built with the PKI
    /// folder of this build, so it belongs to the same cluster. If the id is `None`, no output may
    /// be replaced.
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
    /// A folder, with the paths in it, and its manifest if it has one.
    Folder(Vec<String>, Option<Manifest>),
    /// The path is inside this output of another build.
    Inside(PathBuf),
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
        ExistingOutput::Inside(outer) => Err((
            format!(
                "it is inside the output `{}`, which each build replaces completely",
                outer.display()
            ),
            "name a folder outside that output",
        )),
        ExistingOutput::Folder(paths, _) if paths.is_empty() => Ok(()),
        ExistingOutput::Folder(_, None) => Err((
            "it is not empty, and it is not the output of an earlier build (it has no \
             image/manifest.json)"
                .to_owned(),
            "name a new or empty folder",
        )),
        ExistingOutput::Folder(paths, Some(manifest)) => {
            match paths.iter().find(|path| !is_ours(path)) {
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
    if let Some(outer) = enclosing_output(target) {
        return Ok(ExistingOutput::Inside(outer));
    }
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ExistingOutput::Nothing),
        Err(error) => Err(io_error("inspect it", target)(error)),
        Ok(_) if target.parent().is_none() => Ok(ExistingOutput::Root),
        Ok(found) if !found.is_dir() => Ok(ExistingOutput::File),
        Ok(_) => {
            let mut paths = Vec::new();
            list(target, "", &mut paths)?;
            paths.sort();
            Ok(ExistingOutput::Folder(
                paths,
                manifest(&target.join(MANIFEST))?,
            ))
        }
    }
}

/// Adds the paths in a folder, relative to the output. Lists the contents of only the folders that
/// a build writes.
fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), OutputError> {
    let failed = || io_error("list it", folder);
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed())?.is_dir() && is_ours(&path) {
            list(&entry.path(), &format!("{path}/"), paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

/// Returns the output of another build that contains this path, or `None` if no output contains it.
pub(crate) fn enclosing_output(path: &Path) -> Option<PathBuf> {
    let real = path
        .canonicalize()
        .or_else(|_| std::path::absolute(path))
        .ok()?;
    let outer = real.ancestors().skip(1);
    outer
        .map(Path::to_owned)
        .find(|outer| outer.join(MANIFEST).exists())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a folder with an output in `out`, and the path of the output.
    fn output() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().canonicalize().unwrap().join("out");
        for file in ["image/manifest.json", "nodes/etcd-1/node.json"] {
            write(&out.join(file));
        }
        (folder, out)
    }

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
    }

    fn check(target: &Path) -> Result<(), String> {
        let checked = check_replaceable(&inspect(target).unwrap(), &Replaceable::Any);
        checked.map_err(|(found, _)| found)
    }

    #[test]
    fn files_that_a_user_put_inside_an_output_are_never_deleted() {
        for strange in [
            "pxe/menu",
            "image/recipe.toml",
            "image/tree/vmlinuz",
            "image/pki/ca.key",
            "nodes/etcd-1/note",
            "nodes/prod.pki/ca.key",
            "nodes/prod/image/manifest.json",
        ] {
            let (_folder, out) = output();
            assert_eq!(check(&out), Ok(()));
            write(&out.join(strange));
            let found = check(&out).unwrap_err();
            assert!(
                found.contains("which the builder did not create"),
                "{found}"
            );
        }
    }

    #[test]
    fn an_output_inside_another_output_is_refused() {
        let (_folder, out) = output();
        for inner in ["new", "image", "image/prod", "nodes/prod"] {
            let found = check(&out.join(inner)).unwrap_err();
            assert!(found.contains("it is inside the output"), "{found}");
        }
        assert_eq!(enclosing_output(&out), None);
        assert_eq!(enclosing_output(&out.join("image/prod.pki")), Some(out));
    }
}
