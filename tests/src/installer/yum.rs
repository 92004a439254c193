//! Models yum in an installation under anaconda: its requests, their order, and the content of its
//! cache.
//!
//! The order of the requests is the order in which a server received them from anaconda's own
//! YumPayload with yum 3.4.3.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use super::anaconda::{Data, Selection};
use crate::base::hex;
use crate::network::Namespace;
use crate::process;

/// The value of BASE_REPO_NAME (constants.py).
const BASE: &str = "anaconda";
/// The first bytes of a gzip file (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The content of the repositories.
#[derive(Debug, Default)]
pub(super) struct Available {
    packages: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// The names of a repository's packages and of its groups, or the reason why yum cannot use the
/// repository.
type Metadata = Result<(Vec<String>, Vec<String>), String>;

/// yum in an installer: the network that it uses, and the root that contains its cache and log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yum<'a> {
    pub(super) namespace: Option<&'a Namespace>,
    /// The installer's own root.
    pub(super) root: &'a Path,
}

impl Yum<'_> {
    /// Models `updateBaseRepo`, `postSetup` and `gatherRepoMetadata` in yumpayload.py. If yum
    /// cannot use the tree's repomd.xml, anaconda ends, and this function returns the inner error.
    /// After any other failure of a repository, anaconda only logs the failure and omits the
    /// repository.
    pub(super) fn gather(&self, data: &Data) -> Result<Result<Available, String>> {
        let Some(url) = &data.url else {
            return Ok(Ok(Available::default()));
        };
        self.get(&format!("{url}/.treeinfo"))?;
        let mut repositories = Vec::new();
        // _addYumRepo fetches repomd.xml, then anaconda looks for the tree's add-ons.
        if !self.repomd(BASE, url)? {
            return Ok(Err(
                "CmdlineError: The following mandatory spokes are not completed:\nInstallation source".into()
            ));
        }
        repositories.push((BASE.to_owned(), url.clone()));
        self.get(&format!("{url}/.treeinfo"))?;
        for (name, url) in &data.repos {
            if self.repomd(name, url)? {
                repositories.push((name.clone(), url.clone()));
            } else {
                self.log(&format!(
                    "repo {name} setup failed: Cannot retrieve repository metadata (repomd.xml)"
                ))?;
            }
            if self.get(&format!("{url}/.treeinfo"))?.is_none() {
                self.get(&format!("{url}/treeinfo"))?;
            }
        }
        for (_, url) in &repositories {
            // RepoMDMetaHash: anaconda downloads repomd.xml again, and compares the new digest only
            // with an earlier digest of the same file.
            self.get(&format!(
                "{}//repodata/repomd.xml",
                url.trim_end_matches('/')
            ))?;
        }
        let mut available = Available::default();
        for (name, url) in &repositories {
            match self.metadata(name, url)? {
                Ok((packages, groups)) => {
                    available.packages.extend(packages);
                    available.groups.extend(groups);
                }
                Err(error) => {
                    self.log(&format!("failed to grab repo metadata for {name}: {error}"))?;
                    self.log(&format!(
                        "metadata download for repo {name} failed after 10 retries"
                    ))?;
                }
            }
        }
        Ok(Ok(available))
    }

    /// Models `doInstall` in install.py: anaconda moves the cache to the new system for the
    /// transaction, and then deletes the cache (yumpayload.py, install).
    pub(super) fn install(&self) -> Result<()> {
        let cache = self.cache();
        if cache.exists() {
            fs::remove_dir_all(&cache)
                .with_context(|| format!("cannot remove {}", cache.display()))?;
        }
        Ok(())
    }

    fn cache(&self) -> PathBuf {
        self.root.join("tmp/yum.cache")
    }

    fn repomd(&self, name: &str, url: &str) -> Result<bool> {
        let Some(text) = self.get(&format!(
            "{}/repodata/repomd.xml",
            url.trim_end_matches('/')
        ))?
        else {
            return Ok(false);
        };
        self.keep(name, "repomd.xml", &text)?;
        self.keep(name, "cachecookie", b"")?;
        Ok(text.starts_with(b"<"))
    }

    /// Returns the names in the repository's metadata files `primary` and `group`.
    fn metadata(&self, name: &str, url: &str) -> Result<Metadata> {
        let repomd = fs::read_to_string(self.cache().join(name).join("repomd.xml"))?;
        let mut found = Vec::new();
        for (kind, element) in [("primary", "<name>"), ("group", "<id>")] {
            let start = format!("<data type=\"{kind}\">");
            let Some(data) = between(&repomd, &start, "</data>").next() else {
                found.push(Vec::new());
                continue;
            };
            let href = between(data, "href=\"", "\"").next().unwrap_or_default();
            let digest = between(data, "<checksum type=\"sha256\">", "<")
                .next()
                .unwrap_or_default();
            let Some(bytes) = self.get(&format!("{}/{href}", url.trim_end_matches('/')))? else {
                return Ok(Err(format!("failure: {href} from {name}: 404")));
            };
            if hex(&Sha256::digest(&bytes)) != digest {
                return Ok(Err(format!(
                    "failure: {href} from {name}: Metadata file does not match checksum"
                )));
            }
            self.keep(name, href.rsplit('/').next().unwrap_or(kind), &bytes)?;
            let mut text = String::new();
            let read = if bytes.starts_with(GZIP) {
                GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
            } else {
                bytes.as_slice().read_to_string(&mut text)
            };
            read.with_context(|| format!("cannot read {href}"))?;
            // Only a group's own id is an `<id>`; the group's packages are elements with a
            // different name.
            found.push(between(&text, element, "<").map(str::to_owned).collect());
        }
        let groups = found.pop().unwrap_or_default();
        Ok(Ok((found.pop().unwrap_or_default(), groups)))
    }

    fn keep(&self, name: &str, file: &str, content: &[u8]) -> Result<()> {
        let folder = self.cache().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join(file), content)
            .with_context(|| format!("cannot write {file} into {}", folder.display()))
    }

    /// Returns the body of the answer, or `None` if the request fails.
    fn get(&self, url: &str) -> Result<Option<Vec<u8>>> {
        let mut curl = self.namespace.map_or_else(
            || Command::new("curl"),
            |namespace| namespace.command("curl"),
        );
        let body = tempfile::NamedTempFile::new()?;
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--location",
            "--noproxy",
            "*",
            "--max-time",
            "60",
        ]);
        // yum's own user agent, by which a server can distinguish yum from curl.
        curl.args(["--user-agent", "CentOS (anaconda)/7", "--output"])
            .arg(body.path())
            .arg(url);
        let ran = process::run(&mut curl)?;
        if ran.success() {
            Ok(Some(fs::read(body.path())?))
        } else {
            Ok(None)
        }
    }

    fn log(&self, message: &str) -> Result<()> {
        super::log::write(self.root, "packaging.log", message)
    }
}

impl Available {
    /// Models `_applyYumSelections` in yumpayload.py: in cmdline mode, anaconda ends if a package
    /// or group that the kickstart lists is missing (`_handleMissing`).
    pub(super) fn select(&self, selection: &Selection) -> Result<(), String> {
        if self.packages.is_empty() {
            // Without a tree, no package is missing, because the stand-in's base contains
            // everything that is required.
            return Ok(());
        }
        if selection.core && !self.groups.contains("core") {
            return Err("NoSuchGroup: core".into());
        }
        if let Some((group, _)) = selection
            .groups
            .iter()
            .find(|(group, _)| !self.groups.contains(group))
        {
            return Err(format!(
                "CmdlineError: Missing package: No such group: {group}"
            ));
        }
        self.all(&selection.packages)
    }

    /// Returns an error if a package that anaconda itself needs is missing. anaconda determines
    /// these packages only in doInstall (yumpayload.py, selectRequiredPackages).
    pub(super) fn require(&self, selection: &Selection) -> Result<(), String> {
        if self.packages.is_empty() {
            Ok(())
        } else {
            self.all(&selection.required)
        }
    }

    fn all(&self, packages: &BTreeSet<String>) -> Result<(), String> {
        match packages.iter().find(|package| !self.has(package)) {
            Some(package) => Err(format!("CmdlineError: Missing package: {package}")),
            None => Ok(()),
        }
    }

    /// Returns whether the repositories have a package. yum accepts a name, a name with an
    /// architecture or a version, and a pattern.
    fn has(&self, package: &str) -> bool {
        if package.contains(['*', '?']) {
            return self.packages.iter().any(|name| matches(package, name));
        }
        self.packages.contains(package)
            || self.packages.iter().any(|name| {
                package
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with('.') || rest.starts_with('-'))
            })
    }
}

/// Returns whether a shell pattern matches.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.as_bytes(), name.as_bytes()) {
        ([], []) => true,
        ([b'*', ..], _) => {
            matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..]))
        }
        ([wanted, ..], [found, ..]) if *wanted == b'?' || wanted == found => {
            matches(&pattern[1..], &name[1..])
        }
        _ => false,
    }
}

/// Returns every part of the text that is between two delimiters.
fn between<'t>(text: &'t str, first: &'t str, last: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(first)
        .skip(1)
        .filter_map(move |rest| rest.split(last).next())
}
