//! Checks kickstarts as anaconda 21.48.22.159 and its pykickstart (rhel7-branch) read them.
//!
//! `split`, `lines` and `options` read a line, and `document` reads the whole kickstart. `table`
//! contains the commands and sections. `command`, `parse_rules`, `realm`, `section` and `packages`
//! report the text that pykickstart refuses. `command_rules`, `network`, `disk`, `script`,
//! `completeness`, `storage` and `cross_checks` report unwanted effects of the text that
//! pykickstart accepts. `commands` finds the commands of a script.

mod command;
mod command_rules;
mod commands;
mod completeness;
mod cross_checks;
mod disk;
mod document;
mod line;
mod lines;
mod network;
mod options;
mod packages;
mod parse_rules;
mod realm;
mod script;
mod section;
mod split;
mod storage;
mod table;

use self::document::read;
use super::finding::Finding;
pub(super) use cross_checks::{cross_check, installs};
pub(super) use script::bash_says;
pub(super) use split::{SplitError, shell_words};

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let kickstart = read(text, &mut out);
    for line in &kickstart.commands {
        command_rules::check(line, &mut out);
    }
    completeness::check(&kickstart, &mut out);
    for section in &kickstart.sections {
        match section.name() {
            "%packages" => packages::check(section, &mut out),
            "%anaconda" => section::anaconda(section, &mut out),
            "%addon" => section::addon(section, &mut out),
            _ => script::check(section, &mut out),
        }
    }
    for (at, found) in text.match_indices("PRIVATE KEY-----") {
        out.push(
            Finding::error("kickstart/secret", at..at + found.len(), "the kickstart contains a private key")
                .effect("any client can fetch the kickstart, and the installer keeps a copy in /root and writes the output of scripts to logs")
                .fix("deliver the key in the node document"),
        );
    }
    out
}

/// Checks the scripts with bash.
pub(super) fn bash(text: &str) -> Vec<Finding> {
    let kickstart = read(text, &mut Vec::new());
    kickstart
        .sections
        .iter()
        .filter(|section| section.is_script())
        .filter_map(script::bash)
        .collect()
}
