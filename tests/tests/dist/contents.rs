//! Tests the contents of the packages. The packages contain a licence for each linked crate and a
//! page for each command, and no path of the build machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::requirement::Requirement;
use tests::{process, programs, run};

use crate::packages::package;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "every_crate_in_the_programs_has_its_licence_in_the_package",
            &[Requirement::Packaging],
            licences,
        ),
        trial(
            "every_command_has_a_readable_manual_page",
            &[Requirement::Packaging, Requirement::Mandoc],
            manual,
        ),
    ]
}

/// Unpacks the tarball, and returns its top-level folder.
pub(crate) fn unpacked() -> Result<PathBuf> {
    let folder = run::current()?.folder("unpacked")?;
    process::run(
        Command::new("tar")
            .arg("-xzf")
            .arg(package(".tar.gz")?)
            .arg("-C")
            .arg(&folder),
    )?
    .ok()?;
    Ok(folder.join(concat!("etcd-image-", env!("CARGO_PKG_VERSION"))))
}

/// Checks that the list of licences is complete. The test finds the crates of a program in the
/// program's panic messages, which name source files such as `/crates/ring-0.17.14/src/…`.
fn licences() -> Result<()> {
    let text = fs::read_to_string(unpacked()?.join("share/doc/etcd-image/licences/crates.txt"))?;
    let listed: BTreeSet<String> = text
        .lines()
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join("-")
        })
        .collect();
    for program in [programs::builder()?, programs::firstboot()?] {
        let bytes = fs::read(&program)?;
        let linked = crates_in(&bytes);
        ensure!(
            linked.len() > 30,
            "{} names only the crates {linked:?}",
            program.display()
        );
        let missing: Vec<_> = linked.difference(&listed).collect();
        ensure!(
            missing.is_empty(),
            "{} has {missing:?}, whose licences are not in the package",
            program.display()
        );
        let text = String::from_utf8_lossy(&bytes);
        ensure!(
            !text.contains("/registry/src/"),
            "{} contains a path of this machine",
            program.display()
        );
    }
    for name in ["zstd-sys", "ring", "rustls", "tonic-prost"] {
        ensure!(
            listed
                .iter()
                .any(|line| line.starts_with(&format!("{name}-"))),
            "{name} is not listed"
        );
    }
    for text in [
        "BoringSSL",
        "Meta Platforms",
        "GNU LESSER GENERAL PUBLIC LICENSE",
        "Rust Standard Library",
    ] {
        let folder = unpacked()?.join("share/doc/etcd-image/licences");
        let found = fs::read_dir(&folder)?.flatten().any(|file| {
            fs::read_to_string(file.path()).is_ok_and(|content| content.contains(text))
        });
        ensure!(
            found,
            "no file of {} has the words {text:?}",
            folder.display()
        );
    }
    Ok(())
}

fn crates_in(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let names = text
        .split("/crates/")
        .skip(1)
        .filter_map(|rest| rest.split_once('/'));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn manual() -> Result<()> {
    let share = unpacked()?.join("share/man");
    for (program, path, section) in [
        ("builder", programs::builder()?, 1),
        ("firstboot", programs::firstboot()?, 8),
    ] {
        let pages = share.join(format!("man{section}"));
        let commands = commands(&path, &[])?;
        ensure!(
            commands.len() >= 8,
            "{program} has only the commands {commands:?}"
        );
        for command in commands {
            let page = pages.join(format!(
                "{}.{section}.gz",
                [program, &command].join("-").trim_end_matches('-')
            ));
            let shown = shown(&page)?;
            let synopsis = format!("{program} {}", command.replace('-', " "));
            ensure!(
                shown.contains(synopsis.trim_end()),
                "{} shows no synopsis:\n{shown}",
                page.display()
            );
            process::check(
                "mandoc",
                &["-T", "lint", "-W", "error", &page.to_string_lossy()],
            )?;
        }
    }
    Ok(())
}

/// Returns a manual page as a terminal shows it, without overstrikes for bold and underlined text.
pub(crate) fn shown(page: &Path) -> Result<String> {
    let text = process::check("mandoc", &["-T", "utf8", &page.to_string_lossy()])?;
    let mut shown = String::new();
    for char in text.chars() {
        if char == '\u{8}' {
            shown.pop();
        } else {
            shown.push(char);
        }
    }
    Ok(shown)
}

/// Returns the commands in a program's help, including subcommands, in the form `pki-show`. The
/// empty string denotes the program itself.
fn commands(program: &Path, above: &[&str]) -> Result<Vec<String>> {
    let mut arguments = above.to_vec();
    arguments.push("--help");
    let help = process::check(&program.to_string_lossy(), &arguments)?;
    let mut found = vec![above.join("-")];
    let Some((_, list)) = help.split_once("\nCommands:\n") else {
        return Ok(found);
    };
    for line in list.lines().take_while(|line| !line.is_empty()) {
        // A longer description continues on lines that are indented further.
        let Some(line) = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
        else {
            continue;
        };
        let name = line
            .split_whitespace()
            .next()
            .context("a command has no name")?;
        if name != "help" {
            found.extend(commands(program, &[above, &[name]].concat())?);
        }
    }
    Ok(found)
}
