//! Formats settings as the lines of a file. Each group of settings has comments that state the
//! reason, the source, and the values in the other profile.

use std::fmt::Write as _;

use super::setting::{Place, Setting};

/// The maximum width of a comment.
const WIDTH: usize = 116;

/// Formats the settings that belong in `place`. `line` formats one setting from its key and value.
/// `profile` is the name of the recipe's profile.
pub(crate) fn block(
    settings: &[Setting],
    place: Place,
    profile: &str,
    line: fn(&str, &str) -> String,
) -> String {
    let settings: Vec<&Setting> = settings
        .iter()
        .filter(|setting| setting.place == place)
        .collect();
    let other = if profile == "guide" {
        "The profile \"etcd\""
    } else {
        "The guide"
    };
    let mut groups = Vec::new();
    for group in settings.chunk_by(|a, b| a.why == b.why) {
        let mut text = String::new();
        let words = format!("{} (Source: {}.)", group[0].why, group[0].source);
        for part in wrapped(&words, WIDTH) {
            let _ = writeln!(text, "# {part}");
        }
        for setting in group {
            match (&setting.image, &setting.other) {
                (Some(value), theirs) => {
                    if let Some(theirs) = theirs.as_ref().filter(|theirs| *theirs != value) {
                        let _ = writeln!(text, "# {other} has {theirs}:");
                    }
                    let _ = writeln!(text, "{}", line(&setting.key, value));
                }
                (None, Some(theirs)) => {
                    let _ = writeln!(text, "# {other} has: {}", line(&setting.key, theirs));
                }
                (None, None) => {}
            }
        }
        groups.push(text);
    }
    groups.join("\n").trim_end().to_owned()
}

/// Breaks text between words into lines. A line is longer than `width` only if it is a single word.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
