//! Checks that the folders that the server publishes to every client contain no secret.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Refuses a published folder that contains a secret file or folder, or is inside a secret folder.
/// `published` contains each option that names a published folder, with this folder. For example,
/// `--loaders .` would publish the CA's key in `out.pki`.
pub(super) fn check<'a>(
    published: impl IntoIterator<Item = (&'a str, &'a Path)>,
    secrets: &[&Path],
) -> Result<()> {
    let secrets: Vec<PathBuf> = secrets.iter().map(|path| resolved(path)).collect();
    for (option, folder) in published {
        let folder = resolved(folder);
        let overlaps =
            |secret: &&PathBuf| secret.starts_with(&folder) || folder.starts_with(secret);
        if let Some(secret) = secrets.iter().find(overlaps) {
            bail!(
                "{option} {} would publish {}, which every client could then read; name another \
                 folder",
                folder.display(),
                secret.display()
            );
        }
    }
    Ok(())
}

/// Returns the absolute path without links. A folder of records may not exist yet.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_with_a_secret_is_never_published() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for folder in ["out/nodes/etcd-1", "out.pki", "tftp/x", "tls"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("tls/key.pem"), "key").unwrap();
        std::os::unix::fs::symlink(&dir, dir.join("tftp/link")).unwrap();
        let secrets = ["out/nodes", "out.pki", "out.state", "tls/key.pem"];
        let secrets = secrets.map(|secret| dir.join(secret));
        let result = |folder: &str| {
            let secrets: Vec<&Path> = secrets.iter().map(PathBuf::as_path).collect();
            check([("--loaders", &*dir.join(folder))], &secrets)
        };
        for (folder, secret) in [
            ("", "out/nodes"),
            ("out", "out/nodes"),
            ("out/nodes/etcd-1", "out/nodes"),
            ("out.pki", "out.pki"),
            ("out.state", "out.state"),
            ("tftp/link", "out/nodes"),
            ("tls", "tls/key.pem"),
        ] {
            let error = result(folder).unwrap_err().to_string();
            let expected = format!("would publish {}", dir.join(secret).display());
            assert!(error.contains(&expected), "{folder}: {error}");
        }
        result("tftp").unwrap();
    }
}
