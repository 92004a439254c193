//! `[[install.repo]]`: repositories in addition to the tree, for the installation and for yum on
//! the node.

use std::fmt;
use std::str::FromStr;

use super::super::files::{self, LocalFile};
use super::super::values::Base;
use super::Family;
use crate::Sha256;
use crate::diagnostic::Diagnostic;
use crate::reader::{Located, Table};

/// A repository of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// The repository's id, for anaconda and for yum.
    pub name: RepoName,
    /// The repository's addresses, in the order in which they are tried.
    pub urls: Vec<Base>,
    /// The digest of the repository's `repodata/repomd.xml`.
    pub repomd_sha256: Option<Sha256>,
    /// The key that signs the repository's packages. `None` means that yum on the node does not
    /// check the signatures of the packages.
    pub key: Option<RepoKey>,
}

impl Repo {
    /// Returns whether the repository's name or one of its addresses contains a word that
    /// distributions and vendors use for updates.
    pub(super) fn has_updates(&self) -> bool {
        let name = self.name.to_string();
        let texts =
            std::iter::once(name.as_str()).chain(self.urls.iter().map(|url| url.url().path()));
        let mut words = texts.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()));
        words.any(|word| {
            ["updates", "update", "latest", "els", "eus", "errata"]
                .contains(&&*word.to_ascii_lowercase())
        })
    }
}

/// The key that signs the packages of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoKey {
    /// A file that a package installs on the node, given by its absolute path.
    OnNode(String),
    /// A file in the recipe's folder, which becomes part of the overlay.
    File(LocalFile),
}

/// The id of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName(String);

impl FromStr for RepoName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric())
            || text.len() > 64
            || !text.chars().all(safe)
        {
            return Err(
                "expected letters, digits and any of _ . : -, as in \"updates\"".to_owned(),
            );
        }
        // anaconda uses the name "anaconda" for the tree. If anaconda cannot fetch the tree's
        // metadata, a repository with the product's name becomes the base repository in place of
        // the tree (yumpayload.py, _refreshBaseRepo). anaconda removes repositories that it
        // considers to contain sources or unfinished releases (updateBaseRepo). "main" is a section
        // of yum.conf, and "base" is a section of the node's etcd-image.repo.
        let taken = ["anaconda", "main", "base", "centos"];
        if taken.contains(&text) {
            return Err(format!(
                "`{text}` has a special meaning for the installer or for yum; choose another name"
            ));
        }
        if let Some(part) = ["-source", "-debuginfo", "rawhide", "development"]
            .iter()
            .find(|part| text.contains(*part))
        {
            return Err(format!(
                "the installer removes repositories that have `{part}` in their names; choose \
                 another name"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the repositories in `[[install.repo]]`. Without this section, returns the update
/// repository that belongs to the trees, if there is one.
pub(super) fn read(table: Option<&Table<'_>>, family: Family, trees: &[Base]) -> Vec<Repo> {
    let Some(table) = table.filter(|table| table.place("repo").is_some()) else {
        return update_repo(family, trees).into_iter().collect();
    };
    let mut repos: Vec<Repo> = Vec::new();
    for entry in table.tables("repo") {
        let name = entry.required::<RepoName>(
            "name",
            "yum and the installer identify a repository by its name",
        );
        let urls = entry.list::<Base>("urls");
        if urls.is_none() && entry.place("urls").is_none() {
            entry.report(
                Diagnostic::error(entry.header(), "`urls` is missing in [[install.repo]]")
                    .label("expected the addresses of the repository"),
            );
        }
        let repomd_sha256 = entry.value("repomd-sha256").map(|at| at.value);
        let key = read_key(&entry);
        entry.finish();
        let (Some(name), Some(urls)) = (name, urls) else {
            continue;
        };
        if urls.is_empty() {
            let place = entry.place("urls").unwrap_or(0..0);
            entry.report(
                Diagnostic::error(place, "`urls` is empty").label("expected at least one address"),
            );
        }
        if repos.iter().any(|repo| repo.name == name.value) {
            let message = format!("two repositories are named `{}`", name.value);
            entry.report(
                Diagnostic::error(name.span.clone(), message)
                    .label("an earlier repository already has this name"),
            );
        }
        let urls = urls.into_iter().map(|at| at.value).collect();
        repos.push(Repo {
            name: name.value,
            urls,
            repomd_sha256,
            key,
        });
    }
    repos
}

fn read_key(entry: &Table<'_>) -> Option<RepoKey> {
    let text: Located<String> = entry.text("key")?;
    if !text.value.starts_with('/') {
        return files::local(entry, text).map(RepoKey::File);
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
    if text.value.chars().all(safe) && !text.value.contains("/..") {
        return Some(RepoKey::OnNode(text.value));
    }
    let finding = Diagnostic::error(text.span, "bad value for `key`");
    entry.report(
        finding.label("expected a file in the recipe's folder, or an absolute path on the node"),
    );
    None
}

/// Returns the update repository that belongs to the trees: the family's own repository for the
/// family's own trees, or the `updates/x86_64/` that belongs to each `os/x86_64/` tree.
fn update_repo(family: Family, trees: &[Base]) -> Option<Repo> {
    let own = family
        .trees()
        .iter()
        .copied()
        .eq(trees.iter().map(|tree| tree.url().as_str()));
    let (name, urls): (&str, Vec<Base>) = match family.updates() {
        Some((name, urls)) if own => (
            name,
            urls.iter().filter_map(|url| url.parse().ok()).collect(),
        ),
        _ => {
            let updates = |tree: &Base| {
                tree.url()
                    .as_str()
                    .strip_suffix("/os/x86_64/")
                    .map(|start| format!("{start}/updates/x86_64/"))
            };
            (
                "updates",
                trees
                    .iter()
                    .filter_map(updates)
                    .filter_map(|url| url.parse().ok())
                    .collect(),
            )
        }
    };
    let key = Some(RepoKey::OnNode(family.key().to_owned()));
    (!urls.is_empty()).then_some(Repo {
        name: name.parse().ok()?,
        urls,
        repomd_sha256: None,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_installer_treats_specially_is_refused() {
        for good in ["updates", "els", "centos-7.9", "ol7_latest", "oracle"] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        for (bad, said) in [
            ("anaconda", "a special meaning"),
            ("centos", "a special meaning"),
            ("updates-source", "removes repositories"),
            ("development", "removes repositories"),
            ("a b", "letters, digits"),
            ("", "letters, digits"),
            ("-x", "letters, digits"),
        ] {
            assert!(
                bad.parse::<RepoName>().expect_err(bad).contains(said),
                "{bad}"
            );
        }
    }
}
