//! A server with all files that a recipe names, and a folder for a mirror of these files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::installer::{PACKAGES, write_repository, write_tree};
use tests::process::{self, Output};
use tests::programs;
use tests::server::FileServer;

use crate::fake_release::FOLDER;
use crate::fixtures::{Fixture, check_output, snapshot};

pub(super) const TREE: &str = "centos/os/x86_64";
/// The path of the tree's updates on the server.
pub(super) const UPDATES: &str = "centos/updates/x86_64";

/// The address of the server at the site.
pub(super) const SITE: &str = "10.101.15.1:8099";

/// The server, and the folders that the builder uses.
pub(super) struct Upstream {
    pub(super) fixture: Fixture,
    repomd_sha256: String,
}

impl Upstream {
    pub(super) fn new() -> Result<Self> {
        let fixture = Fixture::new()?;
        let folder = fixture.path("mirror");
        let repomd_sha256 = write_tree(&folder.join(TREE), &PACKAGES)?;
        write_repository(&folder.join(UPDATES), &["kernel"])?;
        let upstream = Self {
            fixture,
            repomd_sha256,
        };
        upstream.write_recipe("")?;
        Ok(upstream)
    }

    /// Writes the recipe with additional lines in `[install]`.
    pub(super) fn write_recipe(&self, more: &str) -> Result<()> {
        let path = self.fixture.path("recipe.toml");
        let text = fs::read_to_string(&path)?;
        let line = |line: &str| match line.split_once(" = ") {
            Some(("repomd-sha256", _)) => String::new(),
            Some(("trees", _)) => {
                format!(
                    "trees = [\"{}\"]\n{more}",
                    self.server().url(&format!("{TREE}/"))
                )
            }
            Some(("servers", _)) => format!("servers = [\"http://{SITE}/image/\"]\n"),
            _ => format!("{line}\n"),
        };
        let text: String = text.lines().map(line).collect();
        fs::write(path, text).context("cannot write the recipe")
    }

    pub(super) fn server(&self) -> &FileServer {
        &self.fixture.server
    }

    /// Returns the digest of the tree's repomd.xml.
    pub(super) fn repomd_sha256(&self) -> &str {
        &self.repomd_sha256
    }

    /// Returns a path in the server's folder.
    pub(super) fn source(&self, path: &str) -> PathBuf {
        self.fixture.path("mirror").join(path)
    }

    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.fixture.path("copy").join(path)
    }

    /// Adds the arguments of `builder mirror` to a command that runs the builder. The mirror is
    /// written to the folder `out`.
    pub(super) fn mirror_to<'c>(&self, command: &'c mut Command, out: &Path) -> &'c mut Command {
        command.arg("mirror").arg(self.fixture.path("recipe.toml"));
        command.arg("--out").arg(out);
        command.arg("--cache").arg(self.fixture.cache())
    }

    /// Runs `builder mirror` with additional arguments.
    pub(super) fn run(&self, more: &[&str]) -> Result<Output> {
        let mut command = Command::new(programs::builder()?);
        process::run(self.mirror_to(&mut command, &self.file("")).args(more))
    }

    /// Runs `builder mirror`, and fails if the command does not succeed. Returns the output if it
    /// is JSON.
    pub(super) fn mirrored(&self, more: &[&str]) -> Result<Value> {
        let said = self.run(more)?.ok()?;
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }

    /// Runs `builder mirror`, and checks that the command fails, prints these words, and does not
    /// complete the mirror.
    pub(super) fn refused(&self, words: &[&str]) -> Result<()> {
        check_output(&self.run(&[])?, 1, words)?;
        ensure!(!self.file("mirror.json").exists(), "the mirror is complete");
        Ok(())
    }

    /// Returns all files of the server, with their paths in the mirror.
    pub(super) fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for (path, (_, content)) in snapshot(&self.source(""))? {
            let Some(content) = content else { continue };
            let path = if let Some(rest) = path.strip_prefix(TREE) {
                format!("tree{rest}")
            } else if let Some(rest) = path.strip_prefix(UPDATES) {
                format!("repos/updates{rest}")
            } else {
                ensure!(path.starts_with(FOLDER), "{path} is not expected");
                // Omit SHA256SUMS, because the test counts SHA256SUMS and the tarball as one file.
                if path.ends_with("SHA256SUMS") {
                    continue;
                }
                format!("etcd/{path}")
            };
            files.insert(path, content);
        }
        Ok(files)
    }

    /// Checks that the mirror contains all files of the server and no partial files.
    pub(super) fn compare(&self) -> Result<()> {
        for (path, content) in self.files()? {
            let found = fs::read(self.file(&path));
            let found = found.with_context(|| format!("{path} is not in the mirror"))?;
            ensure!(found == content, "{path} differs");
        }
        for path in snapshot(&self.file(""))?.keys() {
            ensure!(
                !path.contains(".part") && !path.contains(".tmp"),
                "{path} is left"
            );
        }
        Ok(())
    }
}
