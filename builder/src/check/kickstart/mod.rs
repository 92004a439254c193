//! Kickstarts, as anaconda 21.48.22.159 and its pykickstart (rhel7-branch) take them.
//!
//! `split`, `lines` and `options` read a line, `document` the whole, `table` has the commands and sections, `command` and `own` say what pykickstart
//! refuses, `special`, `disk`, `script`, `whole` and `together` what anaconda then does with what pykickstart takes.

mod command;
mod disk;
mod document;
mod line;
mod lines;
mod options;
mod own;
mod packages;
mod realm;
mod script;
mod section;
mod special;
mod split;
mod table;
mod together;
mod whole;

use self::document::read;
use super::finding::Finding;
pub(super) use script::bash_says;
pub(super) use split::shell_words;
pub(super) use together::{installs, together};

/// What is wrong with a kickstart.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let kickstart = read(text, &mut out);
    for line in &kickstart.commands {
        special::check(line, &mut out);
    }
    whole::check(&kickstart, &mut out);
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
            Finding::error("kickstart/secret", at..at + found.len(), "a private key in a kickstart")
                .does("the installer keeps the kickstart in /root and its output in logs; any client can fetch it")
                .instead("hand it to the node with its document"),
        );
    }
    out
}

/// What bash says of the scripts.
pub(super) fn bash(text: &str) -> Vec<Finding> {
    let kickstart = read(text, &mut Vec::new());
    kickstart.sections.iter().filter(|section| section.is_script()).filter_map(script::bash).collect()
}
