//! Checks the `realm` command, which parses its line itself (pykickstart rhel7-branch,
//! commands/realm.py; getopt of Python 2.7).

use super::line::{EarlierLines, Line, stops_anaconda};
use super::split::split;
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// The options of `realm join`. `true` marks an option with a value.
const OPTIONS: [(&str, bool); 6] = [
    ("client-software", true),
    ("server-software", true),
    ("membership-software", true),
    ("one-time-password", true),
    ("no-password", false),
    ("computer-ou", true),
];

/// Returns the fault that makes pykickstart refuse the line.
pub(super) fn check(line: &Line<'_>, earlier: &mut EarlierLines) -> Option<Finding> {
    let refuse = |message: &str, instead: &str| {
        Some(stops_anaconda("kickstart/words", line, message, instead))
    };
    if !earlier.names.is_empty() && earlier.names.contains(&("realm", String::new())) {
        return refuse(
            "the kickstart contains a second `realm join`",
            "keep only one",
        );
    }
    // pykickstart removes as many characters from the start of the line as the command's name has,
    // even if the line is indented. pykickstart does not recognise comments in this line.
    let raw = line
        .text
        .text
        .get(line.name.value.len()..)
        .unwrap_or_default()
        .trim();
    let quoted = split(TextSpan::whole(raw), false);
    let Ok((words, _)) = quoted else {
        return refuse(
            "a quote in the `realm` command is not closed",
            "close the quote",
        );
    };
    let words: Vec<&str> = words.iter().map(|word| word.value.as_str()).collect();
    match words.split_first() {
        None => refuse("`realm` needs a command", "write realm join REALM"),
        Some((&"join", rest)) => {
            if let Err(message) = join(rest) {
                return refuse(&message, "write realm join REALM");
            }
            earlier.names.insert(("realm", String::new()));
            None
        }
        Some((other, _)) => {
            let message = format!(
                "kickstart in CentOS 7 supports only `realm join`, at the beginning of a line, and not `realm {other}`"
            );
            refuse(&message, "write realm join REALM")
        }
    }
}

/// Parses the words as getopt does: options up to the first word that is not an option, then one
/// realm.
fn join(mut words: &[&str]) -> Result<(), String> {
    while let Some((word, rest)) = words.split_first() {
        if *word == "--" {
            words = rest;
            break;
        }
        let Some(option) = word.strip_prefix("--") else {
            if word.starts_with('-') && word.len() > 1 {
                return Err(format!("`realm` has no option {word}"));
            }
            break;
        };
        let (name, value) = option
            .split_once('=')
            .map_or((option, None), |(name, value)| (name, Some(value)));
        let begins: Vec<_> = OPTIONS
            .iter()
            .filter(|(known, _)| known.starts_with(name))
            .collect();
        let exact = OPTIONS.iter().find(|(known, _)| *known == name);
        let takes = match (exact, &begins[..]) {
            (Some((_, takes)), _) | (None, [(_, takes)]) => *takes,
            _ => return Err(format!("`realm` has no option {word}")),
        };
        words = rest;
        match (takes, value) {
            (false, Some(_)) => return Err(format!("--{name} accepts no value")),
            (true, None) => {
                words = words
                    .split_first()
                    .ok_or(format!("--{name} has no value"))?
                    .1;
            }
            _ => {}
        }
    }
    if words.len() == 1 {
        Ok(())
    } else {
        Err("`realm join` requires exactly one realm".to_owned())
    }
}
