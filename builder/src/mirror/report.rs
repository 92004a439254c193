//! The result of a run: the contents of the mirror, and the lines for the site's recipe.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use recipes::Recipe;
use recipes::recipe::RepoKey;
use serde::Serialize;

use super::record::{Record, RecordedRepository};
use crate::console::counted;

/// The result of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    pub(super) out: PathBuf,
    #[serde(flatten)]
    pub(super) record: Record,
    pub(super) downloaded: Count,
    /// The number of files that already existed. Each of these files was read and verified.
    pub(super) present: usize,
    /// The lines that make the site's recipe use this mirror.
    pub(super) recipe: String,
}

/// The number of files and their total size.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Count {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

impl Count {
    /// Adds one file to the count.
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Formats a size in a readable unit.
pub(super) fn size(bytes: u64) -> String {
    let unit = |shift: u32| {
        let tenths = bytes.saturating_mul(10) >> shift;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..=0xf_ffff => format!("{} KiB", unit(10)),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", unit(20)),
        _ => format!("{} GiB", unit(30)),
    }
}

/// Returns the URL, with a trailing slash, of the server that the recipe names for the image.
/// Returns a placeholder if the recipe does not name a server. `builder serve` at the site also
/// serves the mirror.
fn server(recipe: &Recipe) -> String {
    let image = recipe.install.servers.first();
    image
        .and_then(|base| Some(base.url().as_str().strip_suffix("image/")?.to_owned()))
        .unwrap_or_else(|| "http://SERVER:8080/".to_owned())
}

/// Returns the lines that make the site's recipe use this mirror.
pub(super) fn recipe_lines(recipe: &Recipe, record: &Record) -> String {
    let server = server(recipe);
    let mut text = format!(
        "[etcd]\nmirrors = [\"{server}mirror/etcd/\"]\n\n[install]\ntrees = [\"{server}mirror/{}/\"]\nrepomd-sha256 = \"{}\"\n",
        record.tree.path, record.tree.repomd_sha256
    );
    if record.repos.is_empty() {
        text.push_str("repo = []\n");
    }
    for (repo, recorded) in recipe.install.repos.iter().zip(&record.repos) {
        let _ = write!(
            text,
            "\n[[install.repo]]\nname = \"{}\"\nurls = [\"{server}mirror/{}/\"]\nrepomd-sha256 = \"{}\"\n",
            repo.name, recorded.path, recorded.repomd_sha256
        );
        let key = match &repo.key {
            None => continue,
            Some(RepoKey::OnNode(path)) => path,
            Some(RepoKey::File(file)) => &file.source,
        };
        let _ = writeln!(text, "key = {}", serde_json::Value::from(key.as_str()));
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = self.out.display();
        let etcd = &self.record.etcd;
        writeln!(f, "{out}/{}: etcd {}", etcd.path, etcd.version)?;
        for repository in std::iter::once(&self.record.tree).chain(&self.record.repos) {
            let RecordedRepository {
                path,
                repomd_sha256,
                pinned,
                packages,
                bytes,
                ..
            } = repository;
            let pin = if *pinned { "as pinned" } else { "not pinned" };
            writeln!(
                f,
                "{out}/{path}/: {}, {}; repomd.xml has sha256 {repomd_sha256}, {pin}",
                counted(*packages, "package"),
                size(*bytes)
            )?;
        }
        if let Some(sha256) = self.record.tree.treeinfo_sha256 {
            writeln!(f, "{out}/tree/.treeinfo has sha256 {sha256}")?;
        }
        let Count { files, bytes } = self.downloaded;
        if files == 0 {
            writeln!(
                f,
                "nothing to download: {} match the lists",
                counted(self.present, "file")
            )?;
        } else {
            writeln!(
                f,
                "downloaded {}, {}; {} already existed",
                counted(files, "file"),
                size(bytes),
                counted(self.present, "file")
            )?;
        }
        writeln!(f, "\nThe site's recipe needs:\n\n{}", self.recipe)?;
        writeln!(
            f,
            "At the site, without Internet access:\n\n  builder build recipe.toml --release {out}/{}\n  builder serve out --mirror {out}",
            etcd.path
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_one_decimal_place() {
        for (bytes, text) in [
            (0, "0.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 29, "1.5 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
