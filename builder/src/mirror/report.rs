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
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(super) out: PathBuf,
    #[serde(flatten)]
    pub(super) record: Record,
    pub(super) downloaded: Count,
    /// The number of files that already existed. Each of these files was read and verified.
    pub(super) present: usize,
    /// The lines that make the site's recipe use this mirror.
    pub(super) recipe: String,
    /// The recipe that the operator named. The printed commands contain this path.
    #[serde(skip)]
    pub(super) recipe_path: PathBuf,
}

/// The URL that the printed lines contain if the recipe names no server. The builder refuses a
/// recipe that contains this host.
const PLACEHOLDER: &str = "http://SERVER:8080/";

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
/// Returns a placeholder if the recipe does not name a server. At the site, `builder serve` serves
/// both the image and the mirror from this URL.
fn server(recipe: &Recipe) -> String {
    let image = recipe.install.servers.first();
    image
        .and_then(|base| Some(base.url().as_str().strip_suffix("image/")?.to_owned()))
        .unwrap_or_else(|| PLACEHOLDER.to_owned())
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
            "If the recipe already contains one of these sections, write the keys into that section. The \
             [[install.repo]] sections replace the recipe's own."
        )?;
        if self.recipe.contains(PLACEHOLDER) {
            writeln!(
                f,
                "Replace SERVER with the address of the machine that runs `builder serve` at the site."
            )?;
        }
        writeln!(
            f,
            "\nAt the site, without Internet access:\n\n  builder build {} --release {out}/{}\n  builder serve out --mirror {out}",
            self.recipe_path.display(),
            etcd.path
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};
    use crate::mirror::etcd::MirroredRelease;

    /// Returns the report about a mirror for a recipe, as text and as JSON.
    fn report(more: &str) -> (String, serde_json::Value) {
        let single = include_str!("../../../recipes/single-node.toml");
        let recipe = recipes::recipe::read(&format!("{single}\n[install]\n{more}\n"));
        let recipe = recipe.recipe.expect("no errors");
        let sha256 = recipe.etcd.sha256;
        let repository = |name: Option<&str>, path: &str| RecordedRepository {
            name: name.map(str::to_owned),
            path: path.to_owned(),
            repomd_sha256: sha256,
            pinned: false,
            treeinfo_sha256: None,
            images: std::collections::BTreeMap::new(),
            packages: 1,
            bytes: 1,
        };
        let record = Record {
            etcd: MirroredRelease {
                version: recipe.etcd.settings.version.to_string(),
                path: "etcd/v3.6.14/etcd.tar.gz".to_owned(),
                sha256,
            },
            tree: repository(None, "tree"),
            repos: vec![repository(Some("updates"), "repos/updates")],
        };
        let report = Report {
            out: PathBuf::from("mirror"),
            recipe: recipe_lines(&recipe, &record),
            recipe_path: PathBuf::from("sites/m.toml"),
            record,
            downloaded: Count::default(),
            present: 3,
        };
        (report.to_string(), serde_json::to_value(&report).unwrap())
    }

    #[test]
    fn the_advice_names_the_operators_recipe_and_explains_the_placeholder() {
        let (without, json) = report("");
        assert!(
            without.contains("builder build sites/m.toml --release"),
            "{without}"
        );
        assert!(
            without.contains("write the keys into that section"),
            "{without}"
        );
        assert!(
            without.contains("http://SERVER:8080/mirror/tree/"),
            "{without}"
        );
        assert!(without.contains("Replace SERVER"), "{without}");
        assert!(json.get("recipe-path").is_none(), "{json}");
        let (with, _) = report("servers = [\"http://10.0.0.5:8080/image/\"]");
        assert!(with.contains("http://10.0.0.5:8080/mirror/tree/"), "{with}");
        assert!(!with.contains("SERVER"), "{with}");
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_mirror() {
        let (_, json) = report("");
        assert_eq!(documented("json.md", "builder mirror"), keys(&json));
        let sha256 = recipes::Sha256::of(b"");
        let repository = RecordedRepository {
            name: Some("updates".to_owned()),
            path: "repos/updates".to_owned(),
            repomd_sha256: sha256,
            pinned: false,
            treeinfo_sha256: Some(sha256),
            images: [("images/boot.iso".to_owned(), sha256)].into(),
            packages: 1,
            bytes: 1,
        };
        assert_eq!(documented("json.md", "A repository"), keys(&repository));
    }

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
