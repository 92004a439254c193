//! A recipe from the disk, and what is to be said of it: `builder check`, and the first thing `builder build` does.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use recipes::{Diagnostic, Recipe, Severity};
use serde::Serialize;

use crate::exit::{Exit, stop};
use crate::say;

/// A recipe is written by hand; what is larger is something else.
const LIMIT: u64 = 1 << 20;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// Print the findings for programs
    #[arg(long)]
    json: bool,
}

/// A finding with its place, for programs.
#[derive(Debug, Serialize)]
struct Placed<'a> {
    file: &'a Path,
    line: usize,
    column: usize,
    #[serde(flatten)]
    finding: &'a Diagnostic,
}

/// Checks a recipe and says what it found.
pub(crate) fn check(options: &Options) -> Result<()> {
    let path = &options.recipe;
    let text = read(path)?;
    let findings = recipes::recipe::read(&text).findings;
    if options.json {
        let placed = |finding| {
            let (line, column) = Diagnostic::position(finding, &text);
            Placed { file: path, line, column, finding }
        };
        let placed: Vec<_> = findings.iter().map(placed).collect();
        say::result(serde_json::to_string_pretty(&placed)? + "\n")?;
    } else {
        show(path, &text, &findings);
    }
    verdict(path, &findings, options.strict)?;
    if !options.json {
        say::result(format_args!("{}: no errors\n", path.display()))?;
    }
    Ok(())
}

/// The recipe and its text; all that is wrong with it goes to standard error.
pub(crate) fn recipe(path: &Path, strict: bool) -> Result<(String, Recipe)> {
    let text = read(path)?;
    let reading = recipes::recipe::read(&text);
    show(path, &text, &reading.findings);
    verdict(path, &reading.findings, strict)?;
    let recipe = reading.recipe.context("a recipe without errors could not be read; this is a bug")?;
    Ok((text, recipe))
}

fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path).with_context(|| format!("cannot read the recipe {}", path.display()))?.len();
    if size > LIMIT {
        return Err(stop(Exit::Recipe, format!("{} has {size} bytes; it is no recipe", path.display())));
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read the recipe {}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        stop(Exit::Recipe, format!("{} is not UTF-8 at byte {place}; save it as UTF-8", path.display()))
    })
}

fn show(path: &Path, text: &str, findings: &[Diagnostic]) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for finding in findings {
        eprintln!("{}\n", finding.render(&path.display().to_string(), text, color));
    }
}

fn verdict(path: &Path, findings: &[Diagnostic], strict: bool) -> Result<()> {
    let errors = findings.iter().filter(|finding| strict || finding.severity == Severity::Error).count();
    if errors == 0 {
        return Ok(());
    }
    let plural = if errors == 1 { "" } else { "s" };
    Err(stop(Exit::Recipe, format!("{errors} error{plural} in {}; nothing was built", path.display())))
}
