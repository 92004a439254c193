//! Tests that the table agrees with the guide and with the behaviour of the programs.

use std::collections::BTreeSet;

use super::*;

const GOOD: &str = include_str!("../../../recipes/three-node.toml");

fn recipe(more: &str) -> Recipe {
    let reading = recipes::recipe::read(&format!("{GOOD}\n{more}"));
    reading
        .recipe
        .unwrap_or_else(|| panic!("{:?}", reading.findings))
}

fn of(settings: &[Setting], key: &str) -> Option<String> {
    settings
        .iter()
        .find(|setting| setting.key == key)
        .unwrap_or_else(|| panic!("no {key}"))
        .image
        .clone()
}

#[test]
fn the_guides_values_are_exact_and_each_key_is_listed_once() {
    let settings = for_profile(Profile::Guide).unwrap();
    let sysctl = settings
        .iter()
        .filter(|setting| setting.place == Place::Sysctl);
    let sysctl: Vec<_> = sysctl.filter(|setting| setting.image.is_some()).collect();
    assert_eq!(sysctl.len(), 51);
    assert!(sysctl.iter().all(|setting| setting.image == setting.guide));
    let keys: BTreeSet<&str> = settings
        .iter()
        .map(|setting| setting.key.as_str())
        .collect();
    assert_eq!(keys.len(), settings.len(), "the table has a key twice");
    assert_eq!(of(&settings, "vm.dirty_ratio").as_deref(), Some("60"));
    assert_eq!(
        value(&settings, Place::Mount, "options").unwrap(),
        "defaults,noatime,nodiratime,allocsize=64m"
    );
}

#[test]
fn every_choice_has_its_reason_and_its_source() {
    for setting in for_profile(Profile::Etcd).unwrap() {
        assert!(
            setting.why.len() > 15 && setting.source.len() > 5,
            "{setting:?}"
        );
    }
}

#[test]
fn a_recipe_may_replace_and_add_settings() {
    let recipe = recipe("[tuning.sysctl]\n\"vm.swappiness\" = 7\n\"kernel.threads-max\" = 9999\n");
    let settings = settings(&recipe).unwrap();
    let swappiness: Vec<_> = settings
        .iter()
        .filter(|setting| setting.key == "vm.swappiness")
        .collect();
    assert_eq!(swappiness.len(), 1);
    assert_eq!(
        (
            swappiness[0].image.as_deref(),
            swappiness[0].guide.as_deref()
        ),
        (Some("7"), Some("1"))
    );
    assert_eq!(settings.last().unwrap().key, "kernel.threads-max");
}

#[test]
fn every_setting_of_etcd_has_a_row_with_the_recipes_value() {
    let recipe = recipe("");
    let settings = settings(&recipe).unwrap();
    let own = serde_json::to_value(&recipe.etcd.settings).unwrap();
    for (key, value) in own
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| *key != "version")
    {
        assert_eq!(of(&settings, key), Some(value.to_string()));
    }
}

/// firstboot writes some values that do not come from the recipe. The table must contain the same
/// values.
#[test]
fn firstboot_writes_the_values_in_the_table() {
    let code = include_str!("../../../firstboot/src/steps/etcd_conf.rs");
    let settings = settings(&recipe("")).unwrap();
    let metrics = value(&settings, Place::Etcd, "listen-metrics-urls").unwrap();
    assert!(code.contains(&format!("(\"LISTEN_METRICS_URLS\", \"{metrics}\"")));
}

#[test]
fn a_file_explains_each_deviation_from_the_guide() {
    let settings = settings(&recipe("")).unwrap();
    let text = block(&settings, Place::Sysctl, "etcd", |key, value| {
        format!("{key} = {value}")
    });
    // Line breaks can occur anywhere in the text.
    assert!(
        text.replace("\n# ", " ")
            .contains("(Source: tuned 2.11, latency-performance;"),
        "{text}"
    );
    assert!(
        text.contains("# The guide has 60:\nvm.dirty_ratio = 10\n"),
        "{text}"
    );
    assert!(
        text.contains("# The guide has: net.ipv4.tcp_mem = 65536 25165824 262144\n"),
        "{text}"
    );
    assert!(
        text.contains("\nvm.swappiness = 1\n") && !text.contains("The guide has 1:"),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
}
