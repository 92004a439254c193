//! The command `builder check`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use super::checker::check_with_bash;
use super::file::{File, Kind};
use super::report::{Report, Told};
use super::{image, sarif};
use crate::exit::{Exit, stop};
use crate::{reading, say};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A recipe (.toml), which is checked with all that it renders; or files of a node, each by its kind
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where on the node the one file is, if its name does not say what it is
    #[arg(long = "as", value_name = "PATH_ON_NODE")]
    as_path: Option<String>,
    /// How to say what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people, on standard error
    #[default]
    Text,
    /// A list of findings
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

/// Checks, and says what it found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (recipes, loose): (Vec<&PathBuf>, Vec<_>) = options
        .files
        .iter()
        .partition(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")));
    if options.as_path.is_some() && (options.files.len() != 1 || !recipes.is_empty()) {
        return Err(stop(Exit::Failed, "--as says where one file is; give that file alone"));
    }
    let mut report = Report(Vec::new());
    for path in recipes {
        report.0.extend(image::look(path)?.0.0);
    }
    report.0.extend(self::loose(&loose, options.as_path.as_deref())?);
    match options.format {
        Format::Text => report.show(),
        Format::Json => say::result(report.json()?)?,
        Format::Sarif => say::result(serde_json::to_string_pretty(&sarif::log(&report))? + "\n")?,
    }
    report.verdict(options.strict, "see above")?;
    if matches!(options.format, Format::Text) {
        let names: Vec<_> = options.files.iter().map(|path| path.display().to_string()).collect();
        say::result(format_args!("{}: no errors\n", names.join(", ")))?;
    }
    Ok(())
}

/// Files of a node, checked together.
fn loose(paths: &[&PathBuf], as_path: Option<&str>) -> Result<Vec<Told>> {
    let texts: Vec<String> = paths.iter().map(|path| reading::text(path)).collect::<Result<_>>()?;
    let mut files = Vec::new();
    for (path, text) in paths.iter().zip(&texts) {
        let shown = path.display().to_string();
        let place = as_path.map_or_else(|| on_node(path), str::to_owned);
        if Kind::of(&place).is_none() {
            let message = format!(
                "{shown}: its name does not say what it is. The name of a recipe ends with .toml; for a file of a node, say by --as \
                 where it is on the node, as in --as /etc/sysctl.d/{}",
                path.file_name().unwrap_or_default().display()
            );
            return Err(stop(Exit::Failed, message));
        }
        files.push(File { shown, path: place, text, mode: None });
    }
    let findings = check_with_bash(&files, false);
    let told = files.into_iter().zip(findings);
    Ok(told.map(|(file, findings)| Told { shown: file.shown, text: file.text.to_owned(), findings }).collect())
}

/// Where a file is, told by its own path: from the last folder in it on that a root has as well.
fn on_node(path: &Path) -> String {
    let text = path.to_string_lossy();
    let at = ["/etc/", "/usr/lib/", "/usr/local/"].iter().filter_map(|folder| text.rfind(folder)).max();
    match at {
        Some(at) => text[at..].to_owned(),
        None => text.into_owned(),
    }
}
