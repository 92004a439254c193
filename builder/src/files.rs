//! The files that a user adds: the files of `[files]`, and key files of repositories. All are read
//! from the recipe's folder.

use std::fs;
use std::io::Read as _;
use std::ops::Range;
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
    pub(crate) span: Range<usize>,
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
    // The prefix distinguishes the file from the keys of the distribution.
    format!("etc/pki/rpm-gpg/RPM-GPG-KEY-etcd-image-{}", repo.name)
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
/// recipe, and a path that is too long is reported at the position of the path.
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
    let (mut user_files, mut wrong) = (Vec::new(), too_long(&recipe.files));
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

/// Returns a finding for each path on the node that does not fit into the header of a tar archive.
/// The path of a repository's key always fits, because the repository's name is short.
fn too_long(files: &Files) -> Vec<Diagnostic> {
    let fits = |path: &str| tar::Header::new_ustar().set_path(path).is_ok();
    let overlay = files
        .overlay
        .iter()
        .map(|file| (file.path.clone(), &file.span));
    let post = post_paths(files).zip(files.post.iter().map(|file| &file.span));
    overlay
        .chain(post)
        .filter(|(path, _)| {
            // The archive also contains the folders above the file. Their paths end with a slash.
            let mut folders = path.match_indices('/').map(|(at, _)| &path[..=at]);
            !fits(path) || !folders.all(fits)
        })
        .map(|(path, span)| {
            let message = format!("/{path} is too long for the header of a tar archive");
            Diagnostic::error(span.clone(), message)
                .label(
                    "expected at most 100 bytes, or a part of at most 155 bytes, a slash, and a \
                     part of at most 100 bytes",
                )
                .help("shorten the name of the file or of a folder in its path")
        })
        .collect()
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
    fn a_path_that_does_not_fit_into_a_tar_header_is_reported_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let start = include_str!("../../recipes/three-node.toml");
        let found = |more: &str, source: &str| {
            fs::write(folder.path().join(source), "a").unwrap();
            let text = format!("{start}\n{more}\n");
            let recipe = recipes::recipe::read(&text).recipe.unwrap();
            let (_, wrong) = read(&recipe, folder.path());
            let shown = |finding: Diagnostic| (finding.message, text[finding.span].to_owned());
            wrong.into_iter().map(shown).collect::<Vec<_>>()
        };
        let name = |length: usize| "a".repeat(length);
        for (path, fits) in [
            (name(100), true),
            (name(101), false),
            (format!("{}/{}", name(99), name(100)), true),
            (format!("{}/b", name(100)), false),
            (format!("{}/{}/{}", name(77), name(77), name(100)), true),
            (format!("{}/{}/{}", name(77), name(78), name(100)), false),
        ] {
            let more = format!("[files.overlay]\n\"/{path}\" = \"own\"");
            let message = format!("/{path} is too long for the header of a tar archive");
            let expected = (message, format!("\"/{path}\""));
            let expected: Vec<_> = std::iter::once(expected).filter(|_| !fits).collect();
            assert_eq!(found(&more, "own"), expected);
        }
        let script = name(98);
        let post = found(&format!("[files]\npost = [\"{script}\"]"), &script);
        assert_eq!(post.len(), 1, "{post:?}");
        assert_eq!(post[0].1, format!("\"{script}\""));
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
