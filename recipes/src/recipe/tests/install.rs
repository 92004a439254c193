//! Tests of `[install]`: its repositories and its packages.

use super::*;
use crate::cluster::InstallData;

fn installed(install: &str) -> Install {
    let text = format!("{GOOD}\n[install]\n{install}");
    read(&text)
        .recipe
        .unwrap_or_else(|| panic!("{:?}", said(&text)))
        .install
}

#[test]
fn only_the_word_keep_keeps_the_data() {
    assert_eq!(installed("").data, InstallData::Wipe);
    assert_eq!(installed("data = \"wipe\"").data, InstallData::Wipe);
    assert_eq!(installed("data = \"keep\"").data, InstallData::Keep);
    let recipe = read(&format!("{GOOD}\n[install]\ndata = \"keep\"\n")).recipe;
    let document = recipe.unwrap().cluster_document();
    assert_eq!(document.data, InstallData::Keep);
    for wrong in ["\"Keep\"", "\"kep\"", "true"] {
        let said = said(&format!("{GOOD}\n[install]\ndata = {wrong}\n"));
        assert!(said.len() == 1 && said[0].contains("data"), "{said:?}");
    }
}

/// Returns each repository as `name: addresses`.
fn repos(install: &str) -> Vec<String> {
    let text = |repo: &Repo| {
        let urls: Vec<&str> = repo.urls.iter().map(|url| url.url().as_str()).collect();
        format!("{}: {}", repo.name, urls.join(" "))
    };
    installed(install).repos.iter().map(text).collect()
}

#[test]
fn nodes_get_the_updates_that_belong_to_the_trees() {
    assert!(
        repos("")[0]
            .starts_with("updates: https://vault.centos.org/7.9.2009/updates/x86_64/ https://")
    );
    let local = "trees = [\"http://10.0.0.5/centos/7.9.2009/os/x86_64\", \"http://10.0.0.6/dvd/\"]";
    assert_eq!(
        repos(local),
        ["updates: http://10.0.0.5/centos/7.9.2009/updates/x86_64/"]
    );
    assert!(repos("family = \"oracle\"")[0].starts_with("ol7_latest: https://yum.oracle.com/"));
    let own = "[[install.repo]]\nname = \"els\"\nurls = [\"http://a/els\", \"http://b/els\"]\nkey = \"els.asc\"\n";
    assert_eq!(repos(own), ["els: http://a/els/ http://b/els/"]);
    assert!(
        matches!(&installed(own).repos[0].key, Some(RepoKey::File(file)) if file.source == "els.asc")
    );
}

#[test]
fn a_recipe_without_updates_is_warned_about() {
    for install in ["trees = [\"http://10.0.0.6/dvd/\"]", "repo = []"] {
        let said = said(&format!("{GOOD}\n[install]\n{install}"));
        assert!(
            said.len() == 1 && said[0].contains("no update repository"),
            "{said:?}"
        );
        assert!(repos(install).is_empty());
    }
    // The repositories in `[[install.repo]]` replace the default repository.
    let one = |name: &str, url: &str| {
        format!("{GOOD}\n[[install.repo]]\nname = \"{name}\"\nurls = [\"{url}\"]")
    };
    let without = said(&one("epel", "http://a/models/7/"));
    assert!(
        without.len() == 1 && without[0].contains("[[install.repo]] replaces the default"),
        "{without:?}"
    );
    for (name, url) in [
        ("updates", "http://a/7/"),
        ("ol7_latest", "http://a/"),
        ("own", "http://a/centos7-ELS/x86_64/"),
    ] {
        assert!(said(&one(name, url)).is_empty(), "{name} {url}");
    }
    let text = format!("{GOOD}\n[install]\nfamily = \"rhel\"");
    refused(
        &text,
        "RHEL 7.9 has no public tree | `trees` is missing | serve the contents of the family's DVD",
    );
}

#[test]
fn an_invalid_repository_is_reported_with_the_reason() {
    let refused = |more: &str, expected: &str| {
        refused(&format!("{GOOD}\n[[install.repo]]\n{more}"), expected);
    };
    refused(
        "urls = [\"http://a/\"]",
        "`name` is missing in [[install.repo]]",
    );
    refused("name = \"els\"", "`urls` is missing in [[install.repo]]");
    refused("name = \"els\"\nurls = []", "`urls` is empty");
    refused(
        "name = \"els\"\nurls = [\"http://a/\"]\nkey = \"../els\"",
        "is not a path inside the recipe's folder",
    );
    let twice = "name = \"els\"\nurls = [\"http://a/\"]\n[[install.repo]]\nname = \"els\"\nurls = [\"http://b/\"]";
    refused(twice, "two repositories are named `els`");
}

#[test]
fn a_name_that_the_installer_would_replace_is_refused() {
    let refused =
        |line: &str, expected: &str| refused(&format!("{GOOD}\n[install]\n{line}"), expected);
    refused(
        "timezone = \"Europe/Berln\"",
        "would use America/New_York; did you mean \"Europe/Berlin\"?",
    );
    refused("lang = \"en\"", "did you mean \"en_US.UTF-8\"?");
    refused(
        "keyboard = \"nokb\"",
        "the installer does not have the keymap `nokb` and would use us",
    );
    refused(
        "disk = \"/dev/sda1\"",
        "this is a partition; name its disk: \"sda\"",
    );
    refused(
        "packages = [\"vim-enhanced htop\"]",
        "write each package as a separate string",
    );
}
