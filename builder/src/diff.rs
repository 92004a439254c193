//! `builder diff`: shows the differences between two images in readable form: settings line by
//! line, programs by version and digest. The output omits derived data (the file list, the
//! manifest, the overlay's own digest).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::console;
use crate::etcd_version_warning;
use crate::exit::{Exit, exit_error};
use crate::manifest::{self, Image, Kind, OverlayEntry};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The output of `builder build` that is installed on the nodes, or its image/ folder
    old: PathBuf,
    /// The new output, or its image/ folder
    new: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The name that the report gives to a change of etcd's version.
const ETCD: &str = "etcd";

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Difference {
    /// The path on the node, or the name of the thing that differs.
    what: String,
    /// The old state, or `None` for an addition or for the kickstart.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    /// The new state, or `None` for a removal or for the kickstart.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
    /// For a text file, the removed lines with the prefix `-`, and the added lines with the prefix
    /// `+`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    /// A warning about a change of etcd's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Compares two images, and prints the differences. The exit code shows whether anything differs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (old, new) = (manifest::open(&options.old)?, manifest::open(&options.new)?);
    let differences = differences(&old, &new);
    console::report(differences.as_slice(), options.json, |differences| {
        differences.iter().map(ToString::to_string).collect()
    })?;
    if differences.is_empty() {
        return Ok(());
    }
    Err(exit_error(
        Exit::Different,
        format!("number of differences: {}", differences.len()),
    ))
}

fn differences(old: &Image, new: &Image) -> Vec<Difference> {
    let pairs = [
        (
            ETCD,
            old.manifest.etcd.to_string(),
            new.manifest.etcd.to_string(),
        ),
        (
            "builder",
            old.manifest.builder.clone(),
            new.manifest.builder.clone(),
        ),
        (
            "the trusted key",
            old.manifest.trust.clone(),
            new.manifest.trust.clone(),
        ),
    ];
    let differ = pairs.into_iter().filter(|(_, old, new)| old != new);
    let mut out: Vec<Difference> = differ
        .map(|(what, old, new)| Difference {
            what: what.to_owned(),
            old: Some(old),
            new: Some(new),
            ..Difference::default()
        })
        .collect();
    if let Some(etcd) = out.iter_mut().find(|difference| difference.what == ETCD) {
        etcd.warning = etcd_version_warning::warning(old.manifest.etcd, new.manifest.etcd);
    }
    let lines = lines(&kickstart(old), &kickstart(new));
    if !lines.is_empty() {
        out.push(Difference {
            what: "centos7.ks".to_owned(),
            lines,
            ..Difference::default()
        });
    }
    out.extend(overlay_differences(old, new));
    out
}

/// Finds the differences between the overlays, file by file.
fn overlay_differences(old: &Image, new: &Image) -> Vec<Difference> {
    let (ours, theirs) = (entries(old), entries(new));
    let paths: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let (before, after) = (ours.get(path).copied(), theirs.get(path).copied());
            if before == after {
                return None;
            }
            let lines = match [old, new]
                .map(|image| image.contents.get(path).and_then(|bytes| text(bytes)))
            {
                [Some(before), Some(after)] => self::lines(&before, &after),
                _ => Vec::new(),
            };
            let describe =
                |entry: Option<&OverlayEntry>| entry.map(|entry| describe(entry, lines.is_empty()));
            let (old, new) = (describe(before), describe(after));
            Some(Difference {
                what: format!("/{path}"),
                old,
                new,
                lines,
                warning: None,
            })
        })
        .collect()
}

/// Returns the kickstart without the overlay's digest, which changes whenever the overlay changes.
fn kickstart(image: &Image) -> String {
    image
        .kickstart
        .replace(&image.overlay.to_string(), "(the overlay's digest)")
}

/// Returns the overlay's entries by path, without the two files that list all other files.
fn entries(image: &Image) -> BTreeMap<&str, &OverlayEntry> {
    const LISTS: [&str; 2] = ["etc/firstboot/image.json", "etc/firstboot/SHA256SUMS"];
    let all = image
        .manifest
        .overlay
        .iter()
        .map(|entry| (entry.path.as_str(), entry));
    all.filter(|(path, _)| !LISTS.contains(path)).collect()
}

/// Returns the text of a file for a comparison line by line, or `None` if the file is not UTF-8.
/// JSON is formatted with one line for each value.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    Some(
        value
            .and_then(|value| serde_json::to_string_pretty(&value).ok())
            .unwrap_or(text),
    )
}

fn lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let changes = diff.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => return None,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        Some(format!("{sign}{}", change.value().trim_end_matches('\n')))
    });
    changes.collect()
}

/// Describes an entry. If `content` is true, the description includes the size and the digest.
/// Callers set `content` if the report does not show the file's content line by line.
fn describe(entry: &OverlayEntry, content: bool) -> String {
    let kind = if entry.kind == Kind::Folder {
        "folder "
    } else {
        ""
    };
    let mut text = format!("{kind}{} {}:{}", entry.mode, entry.uid, entry.gid);
    if let (true, Some(size), Some(sha256)) = (content, entry.size, entry.sha256) {
        let _ = write!(text, " {size} bytes, sha256 {}", &sha256.to_string()[..16]);
    }
    text
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old != new => writeln!(f, ": {old} -> {new}")?,
            (None, Some(new)) => writeln!(f, ": new, {new}")?,
            (Some(old), None) => writeln!(f, ": removed, was {old}")?,
            _ => writeln!(f)?,
        }
        if let Some(warning) = &self.warning {
            writeln!(f, "  warning: {warning}")?;
        }
        self.lines
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_difference() {
        let difference = Difference {
            what: "/x".to_owned(),
            old: Some("0644 0:0".to_owned()),
            new: Some("0644 0:0".to_owned()),
            lines: vec!["-a".to_owned()],
            warning: Some("w".to_owned()),
        };
        assert_eq!(documented("json.md", "builder diff"), keys(&difference));
    }

    #[test]
    fn only_removed_and_added_lines_are_shown() {
        assert_eq!(
            lines("a = 1\nb = 2\nc\n", "a = 1\nb = 3\nc\n"),
            ["-b = 2", "+b = 3"]
        );
        assert!(lines("a\n", "a\n").is_empty());
        let json = |text: &str| text_of(text);
        assert_eq!(
            lines(&json("{\"a\":1,\"b\":[1]}"), &json("{\"a\":2,\"b\":[1]}")),
            ["-  \"a\": 1,", "+  \"a\": 2,"]
        );
    }

    fn text_of(json: &str) -> String {
        text(json.as_bytes()).unwrap()
    }

    #[test]
    fn each_kind_of_difference_has_its_own_format() {
        let shown = |old: Option<&str>, new: Option<&str>, lines: &[&str]| {
            let [old, new] = [old, new].map(|side| side.map(str::to_owned));
            let lines = lines.iter().map(ToString::to_string).collect();
            Difference {
                what: "/x".into(),
                old,
                new,
                lines,
                warning: None,
            }
            .to_string()
        };
        assert_eq!(
            shown(Some("0644 0:0"), Some("0600 0:0"), &[]),
            "/x: 0644 0:0 -> 0600 0:0\n"
        );
        assert_eq!(shown(None, Some("0644 0:0"), &[]), "/x: new, 0644 0:0\n");
        assert_eq!(
            shown(Some("0644 0:0"), None, &[]),
            "/x: removed, was 0644 0:0\n"
        );
        assert_eq!(
            shown(Some("0644 0:0"), Some("0644 0:0"), &["-a", "+b"]),
            "/x\n  -a\n  +b\n"
        );
        let warned = Difference {
            what: ETCD.into(),
            warning: Some("w".into()),
            ..Difference::default()
        };
        assert_eq!(warned.to_string(), "etcd\n  warning: w\n");
    }
}
