//! `builder check`: what CentOS 7.9 will make of a file, before a node finds out.
//!
//! One file for each kind of file: a pure function from the text to its findings. `known` has the tables of what 7.9 knows.

mod chrony;
mod command;
mod finding;
mod firewalld;
mod fstab;
mod image;
mod kickstart;
mod known;
mod place;
mod preset;
mod python;
mod report;
mod rules;
mod sarif;
mod sysctl;
mod systemd;
#[cfg(test)]
mod tests;
mod text;
mod tmpfiles;
mod unit;
#[cfg(test)]
mod verdicts;

pub(crate) use command::{Options, run};
pub(crate) use image::{Ready, recipe};

use self::finding::Finding;

/// A file as it will lie on the node.
#[derive(Debug, Clone)]
pub(crate) struct File<'a> {
    /// Its name in findings.
    pub(crate) shown: String,
    /// Where it is on the node; a kickstart is nowhere, and has just its name.
    pub(crate) path: String,
    pub(crate) text: &'a str,
    /// Its permissions, where they are known.
    pub(crate) mode: Option<u32>,
}

/// The kinds of files that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kickstart,
    Unit,
    Daemon,
    Sysctl,
    Chrony,
    Firewalld,
    FirewalldConf,
    Fstab,
    Preset,
    Tmpfiles,
    Script,
}

impl Kind {
    /// The kind of a file, by its path on the node.
    fn of(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let within = |part: &str| folder.split('/').any(|name| name == part);
        Some(match (name, extension) {
            (_, "ks" | "cfg") if extension == "ks" || name.starts_with("ks") => Self::Kickstart,
            ("chrony.conf", _) => Self::Chrony,
            ("fstab", _) => Self::Fstab,
            ("sysctl.conf", _) => Self::Sysctl,
            ("firewalld.conf", _) => Self::FirewalldConf,
            (_, "preset") => Self::Preset,
            (_, "conf") if within("sysctl.d") => Self::Sysctl,
            (_, "conf") if within("tmpfiles.d") => Self::Tmpfiles,
            (_, "xml") if within("firewalld") || within("zones") || within("services") || within("ipsets") => {
                Self::Firewalld
            }
            (_, "sh") => Self::Script,
            _ if folder.ends_with("/etc/firstboot/post") => Self::Script,
            _ if unit::name_of(path).is_some() => Self::Unit,
            _ if unit::daemon::section_of(path).is_some() => Self::Daemon,
            _ => return None,
        })
    }
}

/// What is wrong with one file by itself, in the order of the places.
fn alone(file: &File<'_>) -> Vec<Finding> {
    let mut findings = match Kind::of(&file.path) {
        Some(Kind::Kickstart) => kickstart::check(file.text),
        Some(Kind::Unit) => unit::check(&file.path, file.text),
        Some(Kind::Daemon) => unit::daemon::check(&file.path, file.text),
        Some(Kind::Sysctl) => sysctl::check(file.text),
        Some(Kind::Chrony) => chrony::check(file.text),
        Some(Kind::Firewalld) => firewalld::check(&file.path, file.text),
        Some(Kind::FirewalldConf) => firewalld::conf(file.text),
        Some(Kind::Fstab) => fstab::check(file.text),
        Some(Kind::Preset) => preset::check(&file.path, file.text),
        Some(Kind::Tmpfiles) => tmpfiles::check(file.text),
        // Nothing but bash knows what is right in a script.
        Some(Kind::Script) | None => Vec::new(),
    };
    if Kind::of(&file.path) != Some(Kind::Kickstart) {
        findings.extend(place::check(file));
    }
    findings
}

/// What is wrong with each of `files`, by itself and beside the others. `whole`: they are all that is brought to a node.
fn check(files: &[File<'_>], whole: bool) -> Vec<Vec<Finding>> {
    let mut all: Vec<Vec<Finding>> = files.iter().map(alone).collect();
    let tuned = files
        .iter()
        .any(|file| Kind::of(&file.path) == Some(Kind::Kickstart) && kickstart::installs(file.text, "tuned"));
    let mut among = unit::together(files, whole);
    among.extend(sysctl::together(files, tuned));
    among.extend(kickstart::together(files));
    if whole {
        among.extend(preset::together(files));
    }
    for (index, finding) in among {
        all[index].push(finding);
    }
    for findings in &mut all {
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}

/// What bash says of a script for a shell.
fn script(text: &str) -> Option<Finding> {
    let shell = text.lines().next().is_none_or(|first| !first.starts_with("#!") || first.contains("sh"));
    let (line, message) = shell.then(|| kickstart::bash_says(text)).flatten()?;
    let place = text::Part::whole(text).lines().nth(line - 1).map_or(0..0, |line| line.trim().span());
    let finding = Finding::error("script/bash", place, format!("bash cannot read this: {message}"));
    Some(
        finding
            .does("the script stops here, with what stands above it done")
            .instead("correct it; `bash -n` says the same"),
    )
}

/// The same, and bash's word on scripts, where bash is there.
fn check_with_bash(files: &[File<'_>], whole: bool) -> Vec<Vec<Finding>> {
    let mut all = check(files, whole);
    for (file, findings) in files.iter().zip(&mut all) {
        match Kind::of(&file.path) {
            Some(Kind::Kickstart) => findings.extend(kickstart::bash(file.text)),
            Some(Kind::Script) => findings.extend(script(file.text)),
            _ => continue,
        }
        findings.sort_by_key(|finding| finding.diagnostic.span.start);
    }
    all
}
