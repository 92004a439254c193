//! The files that a user adds: the files of `[files]`, and key files of repositories. All are read
//! from the recipe's folder.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use recipes::recipe::{Files, LocalFile, Repo, RepoKey};
use recipes::{Diagnostic, Recipe, unit};

/// The folder on the node for the `post` scripts.
const POST: &str = "etc/firstboot/post";

/// The maximum size of a file. Larger files belong in a package or on a volume.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A file that the user adds, with its contents.
#[derive(Debug, Clone)]
pub(crate) struct UserFile {
    /// The path on the node, without a leading slash.
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// The numeric id of both the file's user and its group.
    pub(crate) owner: u32,
    /// The path from which the builder read the file.
    pub(crate) source: PathBuf,
    /// The position of the file's name in the recipe.
    pub(crate) span: std::ops::Range<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Returns each `post` script's path on the node. Each name starts with a number, so that the
/// scripts sort in the recipe's order, and so that scripts of the same name have different paths.
pub(crate) fn post_paths(files: &Files) -> impl Iterator<Item = String> {
    files.post.iter().enumerate().map(|(index, file)| {
        let name = file.source.rsplit('/').next().unwrap_or_default();
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        format!("{POST}/{:02}-{plain}", index + 1)
    })
}

/// Returns a repository key's path on the node, without the leading slash.
pub(crate) fn key_path(repo: &Repo) -> String {
    format!("etc/pki/rpm-gpg/RPM-GPG-KEY-{}", repo.name)
}

/// Returns the names of the units in the recipe's overlay files, without drop-ins and templates.
/// The kickstart applies the presets to these units.
pub(crate) fn units(files: &Files) -> impl Iterator<Item = &str> {
    files
        .overlay
        .iter()
        .filter_map(|file| unit::in_folder(&file.path))
        .filter(|name| !name.contains('/') && unit::can_start(name))
}

/// Reads the files. A problem with a file is reported at the position of the file's name in the
/// recipe.
pub(crate) fn read(recipe: &Recipe, folder: &Path) -> (Vec<UserFile>, Vec<Diagnostic>) {
    let overlay = recipe
        .files
        .overlay
        .iter()
        .map(|file| (file.path.clone(), file.mode, file.owner, &file.file));
    let post = post_paths(&recipe.files)
        .zip(&recipe.files.post)
        .map(|(path, file)| (path, 0o700, 0, file));
    let keys = recipe
        .install
        .repos
        .iter()
        .filter_map(|repo| match &repo.key {
            Some(RepoKey::File(file)) => Some((key_path(repo), 0o644, 0, file)),
            _ => None,
        });
    let (mut user_files, mut wrong) = (Vec::new(), Vec::new());
    for (path, mode, owner, file) in overlay.chain(post).chain(keys) {
        match read_single(folder, file) {
            Ok(bytes) => {
                let source = folder.join(&file.source);
                user_files.push(UserFile {
                    path,
                    mode,
                    owner,
                    source,
                    span: file.span.clone(),
                    bytes,
                });
            }
            Err(message) => wrong.push(Diagnostic::error(file.span.clone(), message)),
        }
    }
    (user_files, wrong)
}

/// Reads one file. The file must be inside the folder even after all links are followed.
fn read_single(folder: &Path, file: &LocalFile) -> Result<Vec<u8>, String> {
    let path = folder.join(&file.source);
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (real, root) = (
        path.canonicalize().map_err(cannot)?,
        here.canonicalize().map_err(cannot)?,
    );
    if !real.starts_with(&root) {
        return Err(format!(
            "the path {} contains a link that leads out of the recipe's folder, to {}",
            path.display(),
            real.display()
        ));
    }
    let about = fs::metadata(&real).map_err(cannot)?;
    if !about.is_file() {
        return Err(format!(
            "{} is not a file; name each file in a folder separately",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(&real)
        .map_err(cannot)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "{} is larger than {} MiB; install such a file from a package",
            path.display(),
            MAX_FILE_BYTES >> 20
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(more: &str) -> Recipe {
        let text = format!(
            "{}\n{more}\n",
            include_str!("../../recipes/three-node.toml")
        );
        recipes::recipe::read(&text).recipe.unwrap()
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused_and_a_link_within_it_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, outer) = (folder.path().join("recipe"), folder.path().join("secret"));
        fs::create_dir_all(inner.join("folder")).unwrap();
        fs::write(&outer, "secret").unwrap();
        fs::write(inner.join("own"), "own").unwrap();
        std::os::unix::fs::symlink(&outer, inner.join("out")).unwrap();
        std::os::unix::fs::symlink("own", inner.join("in")).unwrap();
        std::os::unix::fs::symlink(folder.path(), inner.join("above")).unwrap();
        let try_with = |source: &str| {
            let recipe = recipe(&format!("[files.overlay]\n\"/etc/a\" = \"{source}\""));
            let (user_files, wrong) = read(&recipe, &inner);
            wrong.first().map_or_else(
                || Ok(user_files[0].bytes.clone()),
                |finding| Err(finding.message.clone()),
            )
        };
        assert_eq!(try_with("own").unwrap(), b"own");
        assert_eq!(try_with("in").unwrap(), b"own");
        for (source, expected) in [
            ("out", "leads out of the recipe's folder"),
            ("above/secret", "leads out of the recipe's folder"),
            ("folder", "is not a file"),
            ("gone", "cannot read"),
        ] {
            assert!(try_with(source).unwrap_err().contains(expected), "{source}");
        }
    }

    #[test]
    fn scripts_keep_their_order_and_drop_ins_are_not_preset() {
        let recipe = recipe(
            "[files]\npost = [\"z/a b.sh\", \"a.sh\"]\n[files.overlay]\n\"/etc/systemd/system/a.timer\" = \"a\"\n\
             \"/etc/systemd/system/etcd.service.d/a.conf\" = \"a\"\n\"/usr/lib/systemd/system/b@.service\" = \"a\"\n\
             \"/etc/systemd/system/srv.automount\" = \"a\"\n",
        );
        let post: Vec<_> = post_paths(&recipe.files).collect();
        assert_eq!(
            post,
            ["etc/firstboot/post/01-a_b.sh", "etc/firstboot/post/02-a.sh"]
        );
        let units: Vec<_> = units(&recipe.files).collect();
        assert_eq!(units, ["a.timer", "srv.automount"]);
    }
}
