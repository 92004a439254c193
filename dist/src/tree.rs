//! The folder tree of the packages: the paths on the installed system, and the sources of the
//! files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder in which the documents are installed.
pub(crate) const DOCUMENTS: &str = "usr/share/doc/etcd-image";

/// The operator's documents, except the manual pages. The documents keep their paths, so that the
/// links between them work.
const READ: [&str; 6] = [
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs",
    "recipes",
];

/// The extensions of the files that are copied from the folders in `READ`. The files are Markdown,
/// pictures and the ready recipes.
const READ_EXTENSIONS: [&str; 3] = ["md", "svg", "toml"];

/// A new folder tree. All users can read every file in the tree, even under a strict umask.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Creates the root folder of the tree, which must not exist yet.
    pub(crate) fn new(root: PathBuf) -> Result<Tree> {
        fs::create_dir(&root)
            .with_context(|| format!("cannot create the folder {}", root.display()))?;
        fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        Ok(Tree { root })
    }

    /// Copies both programs from the build's output folder.
    pub(crate) fn programs(&self, folder: &Path) -> Result<()> {
        for program in ["builder", "firstboot"] {
            let from = folder.join(program);
            let bytes = fs::read(&from).with_context(|| {
                format!("cannot read {}; run `make build` first", from.display())
            })?;
            self.put(&format!("usr/bin/{program}"), &bytes, 0o755)?;
        }
        Ok(())
    }

    /// Copies the documents and the ready recipes of the repository.
    pub(crate) fn documents(&self, workspace: &Path) -> Result<()> {
        for name in READ {
            let from = workspace.join(name);
            if !from.is_dir() {
                self.document(name, &read(&from)?)?;
                continue;
            }
            for entry in
                fs::read_dir(&from).with_context(|| format!("cannot list {}", from.display()))?
            {
                let path = entry
                    .with_context(|| format!("cannot list {}", from.display()))?
                    .path();
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let extension = path.extension().unwrap_or_default().to_string_lossy();
                if READ_EXTENSIONS.contains(&extension.as_ref()) && file != "Cargo.toml" {
                    self.document(&format!("{name}/{file}"), &read(&path)?)?;
                }
            }
        }
        Ok(())
    }

    /// Writes one document to a path below the folder of the documents.
    pub(crate) fn document(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(&format!("{DOCUMENTS}/{path}"), bytes, 0o644)
    }

    /// Writes one file to a path below the root, and creates the folders above it.
    pub(crate) fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = Path::new(path);
        let mut folder = self.root.clone();
        for part in path.parent().into_iter().flat_map(Path::iter) {
            folder.push(part);
            if !folder.is_dir() {
                fs::create_dir(&folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
                fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
            }
        }
        let file = self.root.join(path);
        fs::write(&file, bytes)
            .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
