//! Tests docs/recipe.md. The page must list exactly the keys that the reader requests, the examples
//! must be valid, and the example of findings must be what the builder prints.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PAGE: &str = include_str!("../../../../docs/recipe.md");

/// The common prefix of all ed25519 keys, which is the only part of a key that docs/recipe.md
/// shows.
const SHORT: &str = "AAAAC3NzaC1lZDI1NTE5AAAA";

/// Every section.
const SECTIONS: [&str; 20] = [
    "[cluster]",
    "[[node]]",
    "[network]",
    "[etcd]",
    "[install]",
    "[[install.repo]]",
    "[install.partitions]",
    "[time]",
    "[tuning]",
    "[firewall]",
    "[files]",
    "[files.overlay.\"/etc/x\"]",
    "[selinux]",
    "[tls]",
    "[backup]",
    "[backup.keep]",
    "[backup.s3]",
    "[update]",
    "[metadata]",
    "[image]",
];

/// Returns the keys of each section, as the reader lists them when it encounters an unknown key.
fn asked() -> BTreeMap<String, BTreeSet<String>> {
    let sections = SECTIONS.map(|section| format!("{section}\nzzz = 1\n"));
    let text = format!("zzz = 1\n{}", sections.concat());
    let unknown = |finding: Diagnostic| {
        let place = finding
            .message
            .strip_prefix("unknown key `zzz` in ")?
            .replace("\"/etc/x\"", "[files.overlay]");
        let keys = finding
            .help
            .unwrap()
            .split_once(" has the keys: ")?
            .1
            .split(", ")
            .map(str::to_owned)
            .collect();
        Some((place, keys))
    };
    read(&text)
        .findings
        .into_iter()
        .filter_map(unknown)
        .collect()
}

/// Returns the keys of each section of docs/recipe.md: the names in the first column of the
/// section's tables, and its subsections.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut section, mut in_table) = (String::new(), false);
    for line in PAGE.lines() {
        if let Some(title) = line
            .strip_prefix('#')
            .map(|title| title.trim_start_matches(['#', ' ']))
        {
            section = if title.starts_with('[') {
                title.to_owned()
            } else {
                String::new()
            };
            if let Some(name) = title
                .strip_prefix('[')
                .map(|_| title.trim_matches(['[', ']']))
            {
                let (parent, key) = name.rsplit_once('.').unwrap_or(("", name));
                let parent = if parent.is_empty() {
                    "a recipe".to_owned()
                } else {
                    format!("[{parent}]")
                };
                sections.entry(parent).or_default().insert(key.to_owned());
            }
        }
        in_table = line.starts_with("| Key ") || in_table && line.starts_with('|');
        if let (false, true, Some(cell)) = (section.is_empty(), in_table, line.split('|').nth(1)) {
            let names = cell
                .split(", ")
                .filter_map(|name| name.trim().strip_prefix('`')?.strip_suffix('`'));
            sections
                .entry(section.clone())
                .or_default()
                .extend(names.map(str::to_owned));
        }
    }
    sections
}

#[test]
fn the_manual_lists_exactly_the_keys_that_the_reader_requests() {
    let (asked, documented) = (asked(), documented());
    assert_eq!(asked.len(), SECTIONS.len() + 1, "{:?}", asked.keys());
    for name in asked.keys().chain(documented.keys()) {
        assert_eq!(
            asked.get(name),
            documented.get(name),
            "the keys of {name}: the reader's, and docs/recipe.md's"
        );
    }
}

/// Reads each example in docs/recipe.md, with the missing sections added.
#[test]
fn each_example_in_the_manual_is_valid() {
    let examples: Vec<&str> = PAGE
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() > 12, "{}", examples.len());
    for example in examples {
        let needed = [
            (
                "[cluster]",
                "[cluster]\nname = \"a\"\ndomain = \"b\"\n".to_owned(),
            ),
            (
                "[[node]]",
                "[[node]]\nname = \"etcd-1\"\naddress = \"10.0.0.11\"\n".to_owned(),
            ),
            (
                "[etcd]",
                format!(
                    "[etcd]\nversion = \"3.6.14\"\nsha256 = \"{}\"\n",
                    "7".repeat(64)
                ),
            ),
        ];
        // Complete the key, which docs/recipe.md shortens.
        let key = format!("{SHORT}IHJ1c3R5a2V5cnVzdHlrZXlydXN0eWtleXJ1c3R5a2V5");
        let mut text = example.replace(&format!("{SHORT}…"), &key);
        for (section, lines) in needed {
            if !text.contains(section) {
                text += &lines;
            }
        }
        assert!(read(&text).recipe.is_some(), "{:#?}\n{text}", said(&text));
    }
}

/// The page shows a faulty recipe, and the findings as `builder check` prints them.
#[test]
fn the_example_of_findings_in_the_manual_is_what_the_builder_prints() {
    let (_, example) = PAGE.split_once("$ cat bad.toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let (recipe, shown) = example
        .split_once("$ builder check bad.toml; echo \"exit $?\"\n")
        .unwrap();
    let findings = read(recipe).findings;
    let render = |finding: &Diagnostic| finding.render("bad.toml", recipe, false) + "\n\n";
    let printed: String = findings.iter().map(render).collect();
    let count = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let expected = format!("{printed}builder: {count} errors in bad.toml; see above\nexit 3\n");
    assert_eq!(shown, expected, "the program prints:\n{expected}");
}
