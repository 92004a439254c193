//! Tests that no text makes the reader panic, and that each finding marks a position within the
//! text.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// Together with recipes/three-node.toml, this text forms a recipe with every section except
/// `[update]`.
const MORE: &str = r#"
[[install.repo]]
name = "els"
urls = ["http://10.0.0.5/els/"]
key = "els.asc"
[install]
disk = "sda"
packages = ["vim-enhanced"]
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJ1c3R5a2V5cnVzdHlrZXlydXN0eWtleXJ1c3R5a2V5 me"]
[install.partitions]
etcd = "16 GiB"
[time]
servers = ["10.0.0.3"]
[tuning.sysctl]
"vm.swappiness" = 0
[files.overlay]
"/usr/local/bin/own" = { source = "files/own", mode = "0755", owner = "etcd" }
[selinux]
mode = "permissive"
[tls]
certificate-days = 365
[backup]
schedule = "Sun 02:30"
destination = "s3://backups/etcd/"
age = ["age15lp306z7aly3hwtvzc8mm90wjwkrf3slwk5nqpnxdjh293aae3esqjjpc0"]
[backup.keep]
hourly = 1
[backup.s3]
endpoint = "https://s3.example.com"
[metadata]
sources = ["nocloud", "url"]
url = "https://metadata.example.com/"
[image]
date = 2026-11-22
"#;

/// Pieces of text that are inserted to break a file.
const PIECES: [&str; 46] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "\\",
    "\\u00e9",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "\u{202e}",
    "é",
    "“",
    "🦀",
    "0x",
    "-",
    "9223372036854775808",
    "1e999",
    "nan",
    "1979-05-27",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[node]",
    "[[node]]",
    "[etcd]",
    "name",
    "version = 3.6",
    "a.b.c = 1",
    "dns = [10.0.0.1]",
    "- name: x",
];

/// The values that the test assigns to keys.
const VALUES: [&str; 23] = [
    "1",
    "-1",
    "\"\"",
    "[]",
    "[[]]",
    "{}",
    "true",
    "1979-05-27",
    "1979-05-27T25:00:00",
    "0x7fffffffffffffffff",
    "nan",
    "0.1",
    "\"é\u{202e}\"",
    "\"a\\nb\"",
    "\"\\u0000\"",
    "[1, \"a\", {}]",
    "\"10.101.15.101\"",
    "\"0.0.0.0/0\"",
    "\"etcd-1\"",
    "\"16777216 TiB\"",
    "\"s3://b12/\"",
    "'''\na'''",
    "[[node]]",
];

fn full() -> String {
    format!("{GOOD}{MORE}")
}

/// Reads a recipe's text, and inspects each finding.
#[track_caller]
fn check(text: &str) {
    let reading = read(text);
    for finding in &reading.findings {
        let span = finding.span.clone();
        assert!(
            text.get(span.clone()).is_some(),
            "{span:?} is not a position in {text:?}: {finding:?}"
        );
        let (line, column) = finding.position(text);
        assert!(
            line >= 1 && column >= 1 && line <= text.matches('\n').count() + 1,
            "{line}:{column} of {text:?}"
        );
        assert!(!finding.render("recipe.toml", text, false).is_empty());
    }
    let failed = reading
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    assert_eq!(
        reading.recipe.is_none(),
        failed,
        "{:?} of {text:?}",
        reading.findings
    );
}

#[test]
fn a_recipe_with_every_section_is_read() {
    assert_eq!(said(&full()), Vec::<String>::new());
    check(&full());
}

#[test]
fn deeply_nested_text_is_refused_without_a_crash() {
    for (before, one, middle, end) in [
        ("a = ", "[", "", "]"),
        ("a = ", "{a = ", "1", "}"),
        ("", "a.", "a = 1", ""),
        ("[", "a.", "a]", ""),
        ("[[", "a.", "a]]", ""),
        ("", "[", "", "]"),
        ("a = ", "\"", "", ""),
    ] {
        check(&format!(
            "{before}{}{middle}{}",
            one.repeat(5_000),
            end.repeat(5_000)
        ));
        check(&format!("{before}{}{middle}", one.repeat(5_000)));
    }
}

#[test]
fn only_the_first_syntax_errors_are_reported() {
    for line in ["[a]\n", "a = x\n", "- x\n", "= 1\n"] {
        let text = line.repeat(2_000);
        check(&text);
        assert!(
            (1..=21).contains(&read(&text).findings.len()),
            "{line:?}: {}",
            read(&text).findings.len()
        );
    }
}

#[test]
fn no_truncated_file_makes_the_reader_panic() {
    let text = full();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        check(&text[..end]);
    }
}

/// Returns the last character boundary at or before a position.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,300}") {
        check(&text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_pieces_of_toml_make_the_reader_panic(pieces in prop::collection::vec(select(&PIECES[..]), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn no_inserted_pieces_make_the_reader_panic(edits in prop::collection::vec((any::<Index>(), 0usize..12, select(&PIECES[..])), 1..5)) {
        let mut text = full();
        for (at, length, piece) in edits {
            let start = floor(&text, at.index(text.len() + 1));
            let end = floor(&text, start + length);
            text.replace_range(start..end, piece);
        }
        check(&text);
    }

    #[test]
    fn no_replaced_values_make_the_reader_panic(edits in prop::collection::vec((any::<Index>(), select(&VALUES[..])), 1..6)) {
        let text = full();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, value) in edits {
            let line = at.get_mut(&mut lines);
            if let Some((key, _)) = line.split_once('=') {
                *line = format!("{key}= {value}");
            }
        }
        check(&lines.join("\n"));
    }

    #[test]
    fn no_repeated_lines_make_the_reader_panic(moves in prop::collection::vec((any::<Index>(), any::<Index>()), 1..6)) {
        let text = full();
        let mut lines: Vec<&str> = text.lines().collect();
        for (from, to) in moves {
            let line = *from.get(&lines);
            lines.insert(to.index(lines.len() + 1), line);
        }
        check(&lines.join("\n"));
    }
}
