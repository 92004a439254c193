//! The command `builder check`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use super::checker::check_with_bash;
use super::file::{File, Kind};
use super::report::{CheckedFile, Report};
use super::{image, sarif};
use crate::exit::{Exit, exit_error};
use crate::{console, text_file};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A recipe (.toml) or files of a node. A recipe is checked together with all files rendered
    /// from it
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The path on the node of a single file, if the name of the file does not show its kind
    #[arg(long = "as", value_name = "PATH_ON_NODE")]
    as_path: Option<String>,
    /// The format of the findings
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// Text on standard error
    #[default]
    Text,
    /// A list of findings as JSON
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

/// Checks the files, and reports the findings.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (recipes, loose): (Vec<&PathBuf>, Vec<_>) = options.files.iter().partition(|path| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
    });
    if options.as_path.is_some() && (options.files.len() != 1 || !recipes.is_empty()) {
        return Err(exit_error(
            Exit::CommandLine,
            "--as applies to a single file that is not a recipe; pass only that file",
        ));
    }
    let mut report = Report(Vec::new());
    for path in recipes {
        report.0.extend(image::check_recipe(path)?.0.0);
    }
    report
        .0
        .extend(self::check_files(&loose, options.as_path.as_deref())?);
    let format = if options.json {
        Format::Json
    } else {
        options.format
    };
    match format {
        Format::Text => report.show(),
        Format::Json => console::result(report.json()?)?,
        Format::Sarif => {
            console::result(serde_json::to_string_pretty(&sarif::log(&report))? + "\n")?;
        }
    }
    report.verdict(options.strict, "see above")?;
    if matches!(format, Format::Text) {
        let names: Vec<_> = options
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        console::result(format_args!("{}: no errors\n", names.join(", ")))?;
    }
    Ok(())
}

/// Checks files of a node together.
fn check_files(paths: &[&PathBuf], as_path: Option<&str>) -> Result<Vec<CheckedFile>> {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| text_file::read(path, "a configuration file for a node"))
        .collect::<Result<_>>()?;
    let mut files = Vec::new();
    for (path, text) in paths.iter().zip(&texts) {
        let shown = path.display().to_string();
        let node_path = as_path.map_or_else(|| path_on_node(path), str::to_owned);
        if Kind::of(&node_path).is_none() {
            return Err(exit_error(Exit::Failed, unknown_kind(path, as_path)));
        }
        files.push(File {
            shown,
            path: node_path,
            text,
            mode: None,
        });
    }
    let findings = check_with_bash(&files, false);
    let checked = files.into_iter().zip(findings);
    Ok(checked
        .map(|(file, findings)| CheckedFile {
            shown: file.shown,
            text: file.text.to_owned(),
            findings,
        })
        .collect())
}

/// Returns the message for a file of an unknown kind.
fn unknown_kind(path: &Path, as_path: Option<&str>) -> String {
    let shown = path.display();
    match as_path {
        Some(as_path) => format!(
            "{shown}: {as_path}, which is given with --as, is not the path of a kind of file that \
             `builder check` knows. docs/centos7.md lists the kinds"
        ),
        None => format!(
            "{shown}: the name does not show what kind of file this is. The name of a recipe must \
             end with .toml. For a node's file, give its path on the node, as in --as /etc/sysctl.d/{}",
            path.file_name().unwrap_or_default().display()
        ),
    }
}

/// Guesses the path on the node from the file's own path. The guess starts at the last /etc/,
/// /usr/lib/ or /usr/local/ in that path. If that path contains none of these folders, the guess is
/// a relative path, because the file's folder on this machine says nothing about the node.
fn path_on_node(path: &Path) -> String {
    let text = path.to_string_lossy();
    let at = ["/etc/", "/usr/lib/", "/usr/local/"]
        .iter()
        .filter_map(|folder| text.rfind(folder))
        .max();
    match at {
        Some(at) => text[at..].to_owned(),
        None => text.trim_start_matches('/').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_a_node_is_part_of_the_guess() {
        for (path, expected) in [
            ("/home/a/etc/sysctl.d/a.conf", "/etc/sysctl.d/a.conf"),
            ("/etc/fstab", "/etc/fstab"),
            ("/tmp/a.service", "tmp/a.service"),
            (
                "/run/user/0/a.service.d/b.conf",
                "run/user/0/a.service.d/b.conf",
            ),
            ("a.ks", "a.ks"),
        ] {
            assert_eq!(path_on_node(Path::new(path)), expected);
        }
    }

    #[test]
    fn a_path_of_an_unknown_kind_is_reported_as_the_path_that_as_gives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own");
        std::fs::write(&path, "a\n").unwrap();
        let message = |as_path| check_files(&[&path], as_path).unwrap_err().to_string();
        let given = message(Some("/etc/nothing"));
        assert!(
            given.contains("/etc/nothing, which is given with --as, is not the path of a kind"),
            "{given}"
        );
        assert!(!given.contains("the name does not show"), "{given}");
        let guessed = message(None);
        assert!(
            guessed.contains("the name does not show")
                && guessed.contains("--as /etc/sysctl.d/own"),
            "{guessed}"
        );
    }

    #[test]
    fn a_wrong_combination_of_arguments_is_a_wrong_command_line() {
        for files in [vec!["c.toml"], vec!["a.conf", "b.conf"]] {
            let options = Options {
                files: files.into_iter().map(PathBuf::from).collect(),
                as_path: Some("/etc/foo".to_owned()),
                format: Format::Text,
                json: false,
                strict: false,
            };
            assert_eq!(crate::exit::code_of(&run(&options).unwrap_err()), 2);
        }
    }
}
