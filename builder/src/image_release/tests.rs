use recipes::Recipe;

use super::base;
use crate::render::{self, OverlayDigests};

const THREE: &str = include_str!("../../../recipes/three-node.toml");

fn recipe(text: &str) -> Recipe {
    let reading = recipes::recipe::read(text);
    reading
        .recipe
        .unwrap_or_else(|| panic!("{:?}", reading.findings))
}

fn base_of(text: &str) -> recipes::ImageBase {
    let recipe = recipe(text);
    base(
        &recipe,
        &render::kickstart(&recipe, OverlayDigests::NONE).unwrap(),
        &[],
    )
    .unwrap()
}

/// Adds a line to a section, and creates the section if necessary.
fn with(section: &str, line: &str) -> String {
    match THREE.split_once(&format!("\n{section}\n")) {
        Some((before, after)) => format!("{before}\n{section}\n{line}\n{after}"),
        None => format!("{THREE}\n{section}\n{line}\n"),
    }
}

#[track_caller]
fn differs(text: &str, expected: &[&str]) {
    let said = base_of(THREE).differences(&base_of(text));
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
}

#[test]
fn settings_that_only_an_installation_can_change_are_in_the_base() {
    differs(
        &with("[install]", "packages = [\"tmux\"]"),
        &["packages: +`tmux`"],
    );
    differs(
        &with("[install]", "timezone = \"Europe/Berlin\""),
        &["installer: -`timezone UTC --isUtc` +`timezone Europe/Berlin"],
    );
    differs(
        &with("[install]", "console = \"ttyS0\""),
        &["kernel words: -`console=` +`console=ttyS0`"],
    );
    differs(
        &with("[install.partitions]", "root = \"20 GiB\""),
        &["partitions: -`/ 8 GiB` +`/ 20 GiB`"],
    );
    differs(
        &with("[install]", "trees = [\"http://mirror.example.com/7/\"]"),
        &["repositories: -`tree "],
    );
    differs(
        &with("[selinux]", "module = true"),
        &["SELinux module: +`etcd "],
    );
}

#[test]
fn settings_that_an_update_can_change_are_not_in_the_base() {
    differs(
        &with("[tuning]", "sysctl = { \"vm.swappiness\" = \"1\" }"),
        &[],
    );
    differs(&with("[update]", "soak-seconds = 20"), &[]);
    let auto = "mode = \"auto\"\nfrom = \"http://10.101.15.1/\"";
    differs(&with("[update]", auto), &[]);
    differs(&with("[backup]", "schedule = \"daily\""), &[]);
    differs(&with("[etcd]", "snapshot-count = 5000"), &[]);
}

#[test]
fn the_base_contains_only_a_digest_of_the_password_hash() {
    let hash = "$6$abcdefgh$BmWUI1wGYL4mUpSkJ1mQHYQiJ6E2p3IcFP5pLBMhVXjkJEhGgV9gLKTuYlbHFl0ukF7YTHjM0Upe2o8j.3m1z0";
    let base = base_of(&with("[install]", &format!("root-password = \"{hash}\"")));
    let text = serde_json::to_string(&base).unwrap();
    assert!(
        !text.contains("BmWUI1") && text.contains("rootpw, hash "),
        "{text}"
    );
}
