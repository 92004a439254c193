//! Tests the corpus of faulty inputs. corpus/KIND/NAME.input contains files, each as a line `==>
//! PATH [MODE] <==` followed by the file's text. NAME.expected contains the findings.
//! UPDATE_CORPUS=1 rewrites NAME.expected, which must be reviewed before it is committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use recipes::Recipe;

use super::checker::{check, check_with_bash};
use super::file::{File, Kind};
use super::finding::Finding;
use super::*;
use crate::render;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/check/corpus");

/// Returns the files of an input, and whether its first line is `whole`. The line `whole` means
/// that the input contains all files that are added to a node.
fn files(input: &str) -> (Vec<File<'_>>, bool) {
    let is_complete_set = input.starts_with("whole\n");
    let mut files = Vec::new();
    for part in input.split("==> ").skip(1) {
        let (header, text) = part.split_once(" <==\n").unwrap();
        let (path, mode) = header
            .split_once(' ')
            .map_or((header, None), |(path, mode)| {
                (path, u32::from_str_radix(mode, 8).ok())
            });
        files.push(File {
            shown: path.to_owned(),
            path: path.to_owned(),
            text,
            mode,
        });
    }
    (files, is_complete_set)
}

fn inputs() -> Vec<PathBuf> {
    let folder = |path: &str| {
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let mut inputs: Vec<_> = folder(CORPUS)
        .flat_map(|kind| folder(kind.to_str().unwrap()))
        .collect();
    inputs.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "input")
    });
    inputs.sort();
    inputs
}

#[test]
fn every_faulty_input_has_the_expected_findings() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for path in inputs() {
        let input = fs::read_to_string(&path).unwrap();
        let (files, is_complete_set) = files(&input);
        assert!(!files.is_empty(), "{}", path.display());
        let mut said = String::new();
        for (file, findings) in files.iter().zip(check_with_bash(&files, is_complete_set)) {
            for finding in findings {
                used.insert(finding.rule);
                let shown = finding.diagnostic.render(&file.shown, file.text, false);
                said.extend([finding.rule, "\n", &shown, "\n\n"]);
            }
        }
        let expected = path.with_extension("expected");
        assert!(
            !said.is_empty(),
            "{}: the checker reported nothing",
            path.display()
        );
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(said.as_str()) {
            wrong.push(format!("{}: the checker reported\n{said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Every rule except `recipe` has at least one faulty input in the corpus.
    let known: BTreeSet<&str> = rules::RULES
        .iter()
        .map(|rule| rule.name)
        .filter(|name| *name != "recipe")
        .collect();
    assert_eq!(used, known);
    assert!(rules::RULES.is_sorted_by_key(|rule| rule.name));
}

#[test]
fn every_later_directive_is_reported_in_every_file() {
    for (name, later) in tables::LATER.iter() {
        let text = format!("[Service]\nExecStart=/bin/true\n{name}=x\n");
        let file = File {
            shown: "a.service".into(),
            path: "/etc/systemd/system/a.service".into(),
            text: &text,
            mode: None,
        };
        let findings = check(&[file], false).remove(0);
        let found = findings
            .iter()
            .find(|finding| finding.rule == "unit/unknown-directive");
        assert_eq!(
            found.unwrap().diagnostic.help.as_deref(),
            Some(later.instead),
            "{name}"
        );
    }
}

/// Checks that the builder's SARIF log meets the requirements of SARIF 2.1.0 (OASIS, 3.13 to 3.30).
#[test]
fn a_sarif_log_names_every_rule_and_every_place() {
    let input = "==> /etc/b.service <==\n[Service]\nStateDirectory=ä\nMemoryMax=ü\nExecStart=x\n";
    let files = files(input).0;
    let findings = check(&files, false).remove(0);
    let checked = report::CheckedFile {
        shown: "/etc/a b.service".into(),
        text: files[0].text.into(),
        findings,
    };
    let log = sarif::log(&report::Report(vec![checked]));
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(run["tool"]["driver"]["name"], "builder check");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(
            rules[index]["properties"]["kind"],
            result["properties"]["kind"]
        );
        assert_eq!(result["level"], "error");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let location = &result["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "/etc/a%20b.service");
        let at = |name: &str| location["region"][name].as_u64().unwrap();
        assert!(at("startLine") >= 1 && at("startColumn") >= 1);
        assert!((at("endLine"), at("endColumn")) > (at("startLine"), at("startColumn")));
    }
}

/// A program that reads the findings must be able to distinguish text that CentOS 7.9 refuses from
/// text that this project advises against.
#[test]
fn json_distinguishes_refusals_from_advice() {
    let input = "==> /etc/fstab <==\nUUID=1 /a xfs allocsie=64m 0 0\n/dev/sdb1 /b xfs defaults 0 0\nUUID=2 / xfs allocsize=64m 0 0\n";
    let files = files(input).0;
    let findings = check(&files, false).remove(0);
    let checked = report::CheckedFile {
        shown: "fstab".into(),
        text: files[0].text.into(),
        findings,
    };
    let list: serde_json::Value =
        serde_json::from_str(&report::Report(vec![checked]).json().unwrap()).unwrap();
    let kinds: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["rule"].as_str(), f["kind"].as_str()))
        .collect();
    let expected = [
        ("fstab/option", "parser"),
        ("fstab/device-name", "advice"),
        ("fstab/only-at-first-mount", "effect"),
    ];
    assert_eq!(kinds, expected.map(|(rule, kind)| (Some(rule), Some(kind))));
}

/// These inputs look wrong or incomplete, but on CentOS 7.9 they have exactly the stated effect.
#[test]
fn text_that_works_as_written_on_7_9_has_no_finding() {
    let minimal = "cmdline\ntimezone UTC\nrootpw --lock\nauthconfig --own=1 word\nzerombr\nclearpart --all\n\
                   part / --fstype=ext4 --size=1 --grow\npoweroff\n%packages\n@core\n%end\n\
                   %post --interpreter /bin/bash --log /root/post.log\ntrue\n%end\n";
    let cases = [
        // `lang`, `keyboard` and `bootloader` have defaults. anaconda passes the words after
        // `authconfig` to the program of that name.
        ("a.ks", minimal),
        // The kickstarts of CentOS's own images lock root in this way.
        ("a.ks", "rootpw --lock --iscrypted locked\n"),
        // This drop-in extends a unit that a package installs.
        (
            "/etc/systemd/system/chronyd.service.d/10-own.conf",
            "[Service]\nRestart=always\n",
        ),
        // basic.target waits for the units that it wants, except for units ordered after it
        // (unit.c, unit_add_default_target_dependency).
        (
            "/etc/systemd/system/own.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=basic.target\n",
        ),
        // `sysctl -a` does not show these keys, because they can only be written.
        (
            "/etc/sysctl.d/95-own.conf",
            "vm.compact_memory = 1\nnet.ipv4.route.flush = 1\n",
        ),
    ];
    let found = |(path, text): &(&str, &str)| {
        let file = File {
            shown: (*path).into(),
            path: (*path).into(),
            text,
            mode: None,
        };
        let findings = check(&[file], false).remove(0);
        (!findings.is_empty()).then(|| format!("{path}: {findings:?}"))
    };
    let wrong: Vec<String> = cases.iter().filter_map(found).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns a recipe for a distribution other than CentOS. `more` continues the recipe's `[install]`
/// section.
fn in_family(family: &str, more: &str) -> String {
    let single = include_str!("../../../recipes/single-node.toml");
    format!("{single}\n[install]\nfamily = \"{family}\"\n{more}")
}

fn ready() -> impl Iterator<Item = Recipe> {
    let three = include_str!("../../../recipes/three-node.toml");
    let auto = "[update]\nmode = \"auto\"\nfrom = \"http://10.101.15.1/\"\n";
    let texts = [
        three.to_owned(),
        include_str!("../../../recipes/single-node.toml").to_owned(),
        include_str!("../../../recipes/demo.toml").to_owned(),
        // No other recipe in this list renders the units for `[update]`.
        format!("{three}\n{auto}"),
        in_family("oracle", ""),
        in_family(
            "rhel",
            "trees = [\"http://10.101.15.1/rhel/\"]\n[[install.repo]]\nname = \"els\"\n\
             urls = [\"http://10.101.15.1/rhel-7-server-els-rpms/\"]\n",
        ),
    ];
    texts
        .into_iter()
        .map(|text| recipes::recipe::read(&text).recipe.unwrap())
}

/// Returns every file that is rendered from a recipe, with its path and mode.
fn rendered(recipe: &Recipe) -> Vec<(String, u32, String)> {
    let mut all: Vec<_> = render::overlay(recipe)
        .unwrap()
        .into_iter()
        .map(|file| (format!("/{}", file.path), file.mode, file.content))
        .collect();
    all.push((
        "centos7.ks".into(),
        0,
        render::kickstart(recipe, render::OverlayDigests::NONE).unwrap(),
    ));
    all
}

fn as_files(all: &[(String, u32, String)]) -> Vec<File<'_>> {
    all.iter()
        .map(|(path, mode, text)| File {
            shown: path.clone(),
            path: path.clone(),
            text,
            mode: Some(*mode),
        })
        .collect()
}

#[test]
fn all_files_that_the_ready_recipes_render_have_no_finding() {
    for recipe in ready() {
        let all = rendered(&recipe);
        let files = as_files(&all);
        let kinds = files
            .iter()
            .filter(|file| Kind::of(&file.path).is_some())
            .count();
        assert!(kinds >= 10, "only {kinds} files have a known kind");
        let findings: Vec<Finding> = check_with_bash(&files, true)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(findings, Vec::new());
    }
}

/// Asserts that nothing panics, that every position is within the text, and that every finding can
/// be shown.
pub(super) fn check_robustly(path: &str, text: &str) {
    let files = [File {
        shown: path.into(),
        path: path.into(),
        text,
        mode: Some(0o644),
    }];
    for finding in check(&files, true).remove(0) {
        let span = &finding.diagnostic.span;
        assert!(
            span.start <= span.end && span.end <= text.len().max(9),
            "{finding:?} in {text:?}"
        );
        assert!(!finding.diagnostic.render("x", text, false).is_empty());
        assert!(rules::index(finding.rule).is_some(), "{}", finding.rule);
    }
}

const PATHS: [&str; 12] = [
    "a.ks",
    "/etc/systemd/system/a.service",
    "/etc/systemd/system/a.timer",
    "/etc/systemd/system/a.service.d/b.conf",
    "/etc/systemd/journald.conf",
    "/etc/sysctl.d/95-a.conf",
    "/etc/chrony.conf",
    "/etc/firewalld/zones/a.xml",
    "/etc/firewalld/firewalld.conf",
    "/etc/fstab",
    "/usr/lib/systemd/system-preset/10-a.preset",
    "/usr/lib/tmpfiles.d/a.conf",
];

proptest! {
    #[test]
    fn no_text_makes_a_checker_panic(path in prop::sample::select(&PATHS[..]), text in "(?s)[\\[\\]=%@~\\\\'\"#;<>/&a-zA-Z0-9 .:,\\n\\r\\té\u{202e}-]{0,200}") {
        check_robustly(path, &text);
    }

    /// Inserts, removes or replaces a piece of a real file.
    #[test]
    fn no_change_of_a_real_file_makes_a_checker_panic(
        which in any::<prop::sample::Index>(),
        start in any::<prop::sample::Index>(),
        length in 0usize..60,
        piece in prop::sample::select(&["", "\\", "\n", "\"", "'", "%", "%end\n", "[", "]", "<", "\u{0}", "é", "=", "#", "--", "{", "<<EOF\n"][..]),
    ) {
        static ALL: LazyLock<Vec<(String, u32, String)>> = LazyLock::new(|| rendered(&ready().next().unwrap()));
        let all = &*ALL;
        let (path, _, text) = &all[which.index(all.len())];
        let mut bytes = text.clone().into_bytes();
        let start = start.index(bytes.len());
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, piece.bytes());
        check_robustly(path, &String::from_utf8_lossy(&bytes));
    }

    /// Inserts the lines of one faulty input into another faulty input.
    #[test]
    fn no_mixture_of_wrong_inputs_makes_a_checker_panic(which in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        static ALL: LazyLock<Vec<String>> =
            LazyLock::new(|| inputs().iter().map(|path| fs::read_to_string(path).unwrap()).collect());
        let (one, two) = (which.get(&ALL), other.get(&ALL));
        let (one, two) = (files(one).0, files(two).0);
        let mut lines: Vec<&str> = one[0].text.lines().collect();
        let at = at.index(lines.len() + 1);
        lines.splice(at..at, two[0].text.lines());
        check_robustly(&one[0].path, &lines.join("\n"));
    }
}
