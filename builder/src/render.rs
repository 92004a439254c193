//! Renders the files under kickstart/ with the recipe's values. A value can enter a file in only
//! four ways: as a word that never needs quoting, through a filter that quotes or checks the value,
//! in a form that is escaped for XML, or as complete lines that the builder has assembled
//! (`|lines`). Any other use of a value stops the build.

mod context;
mod packages;
mod quote;

use anyhow::{Context as _, Result, anyhow};
use include_dir::{Dir, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use recipes::Recipe;

pub(crate) use self::context::OverlayDigests;
use self::context::Rendering;
pub(crate) use self::packages::contradictions;

/// The files under kickstart/overlay/ at the time when the builder was compiled.
static OVERLAY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../kickstart/overlay");
const KICKSTART: &str = include_str!("../../kickstart/centos7.ks");
/// The files that the kickstart's scripts include.
static SCRIPTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../kickstart/scripts");
const MODES: &str = include_str!("../../kickstart/modes");

/// A rendered file of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The path on the node, without a leading slash.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: String,
}

/// Renders the files of the overlay that the recipe needs, in path order.
pub(crate) fn overlay(recipe: &Recipe) -> Result<Vec<Rendered>> {
    let context = Value::from(Serde(Rendering::new(recipe, None)?));
    let mut files = Vec::new();
    let mut folders = vec![&OVERLAY];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files() {
            let path = file
                .path()
                .to_str()
                .context("a path under kickstart/overlay is not UTF-8")?;
            let template = file
                .contents_utf8()
                .with_context(|| format!("kickstart/overlay/{path} is not UTF-8"))?;
            let rendered = render(path, template, &context)
                .with_context(|| format!("kickstart/overlay/{path}"))?;
            // A file that the recipe does not need is empty after rendering, and the image does not
            // include this file.
            if rendered.trim().is_empty() {
                continue;
            }
            files.push(Rendered {
                path: path.to_owned(),
                mode: mode_of(path),
                content: rendered,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Renders the kickstart, which contains the digests of its overlay.
pub(crate) fn kickstart(recipe: &Recipe, overlay: OverlayDigests) -> Result<String> {
    let context = Value::from(Serde(Rendering::new(recipe, Some(overlay))?));
    render("centos7.ks", KICKSTART, &context).context("kickstart/centos7.ks")
}

/// Returns the folders and files that kickstart/modes lists, each with its mode.
pub(crate) fn modes() -> impl Iterator<Item = (u32, &'static str)> {
    MODES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mode = u32::from_str_radix(words.next()?, 8).ok()?;
            Some((mode, words.nth(2)?))
        })
}

/// Quotes a string as one word of a kickstart, for a test that parses the quoted word.
#[cfg(test)]
pub(crate) fn quoted(text: &str) -> String {
    quote::shell(text).unwrap_or_default()
}

fn mode_of(path: &str) -> u32 {
    modes()
        .find(|(_, named)| *named == path)
        .map_or(0o644, |(mode, _)| mode)
}

fn render(name: &str, template: &str, context: &Value) -> Result<String, anyhow::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(|name| {
        let xml = std::path::Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "xml");
        if xml {
            AutoEscape::Html
        } else {
            AutoEscape::Custom("word".into())
        }
    });
    environment.set_formatter(|out, state, value| {
        if !matches!(state.auto_escape(), AutoEscape::Custom(_)) {
            return minijinja::escape_formatter(out, state, value);
        }
        let text = value.to_string();
        if value.is_safe() || quote::is_word(&text) {
            return out.write_str(&text).map_err(Error::from);
        }
        let message =
            format!("{text:?} needs quoting, but the template uses it without |sh or |ks");
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("sh", |text: String| {
        quote::shell(&text).map(Value::from_safe_string)
    });
    environment.add_filter("ks", |text: String| {
        quote::shell(&text).map(Value::from_safe_string)
    });
    environment.add_filter("calendar", |text: String| {
        quote::calendar(&text).map(Value::from_safe_string)
    });
    environment.add_filter("lines", |text: String| Value::from_safe_string(text));
    for script in SCRIPTS.files() {
        let name = script
            .path()
            .to_str()
            .context("a path under kickstart/scripts is not UTF-8")?;
        let text = script
            .contents_utf8()
            .with_context(|| format!("kickstart/scripts/{name} is not UTF-8"))?;
        environment.add_template(name, text)?;
    }
    environment.add_template(name, template)?;
    let rendered = environment.get_template(name)?.render(context);
    rendered.map_err(|error| anyhow!("{error:#}"))
}

#[cfg(test)]
mod tests;
