//! Manual pages and shell completions, generated from a program's own command-line parser.

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::tree::Tree;

/// The package and version that each page names as its source.
const SOURCE: &str = concat!("etcd-image ", env!("CARGO_PKG_VERSION"));

/// Writes one page for the program, one page for each of its commands, and completions for three
/// shells.
pub(crate) fn write(tree: &Tree, command: Command, section: &str, date: &str) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    for (shell, path) in [
        (
            Shell::Bash,
            format!("usr/share/bash-completion/completions/{name}"),
        ),
        (Shell::Zsh, format!("usr/share/zsh/site-functions/_{name}")),
        (
            Shell::Fish,
            format!("usr/share/fish/vendor_completions.d/{name}.fish"),
        ),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        tree.put(&path, &script, 0o644)?;
    }
    pages(tree, &command, section, date)
}

/// Writes the pages. Commands that `--help` hides do not get a page. The date must not be empty,
/// because roff would use the next field in place of an empty date.
fn pages(tree: &Tree, command: &Command, section: &str, date: &str) -> Result<()> {
    for command in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        pages(tree, command, section, date)?;
    }
    let page = Man::new(command.clone())
        .section(section)
        .date(date)
        .source(SOURCE)
        .manual("etcd-image");
    let mut text = Vec::new();
    page.render(&mut text)?;
    tree.put(
        &format!("usr/share/man/man{section}/{}", page.get_filename()),
        &text,
        0o644,
    )
}
