//! Finds the key of the recipe that a finding about a rendered file comes from.

use std::ops::Range;

use recipes::recipe::SysctlSetting;
use recipes::{Diagnostic, Recipe};

use super::file::{File, Kind};
use super::finding::Finding;
use crate::tuning::Place;

/// Returns the position in the recipe of the key or the value that a finding comes from. Returns
/// `None` if no key of the recipe causes the finding. `file` is a file that is rendered from the
/// recipe.
pub(super) fn in_recipe(
    recipe: &Recipe,
    file: &File<'_>,
    finding: &Finding,
) -> Option<Range<usize>> {
    let line = line_at(file.text, finding.diagnostic.span.start)?;
    if file.path == Place::Sysctl.file() {
        if finding.rule == "sysctl/tuned" {
            return package(recipe, "tuned");
        }
        return sysctl(&recipe.tuning.sysctl, &line, &finding.diagnostic);
    }
    if Kind::of(&file.path) == Some(Kind::Kickstart) {
        return package(recipe, line.text.trim());
    }
    None
}

/// A line, and the offset of a finding in the line.
struct LineAt<'a> {
    text: &'a str,
    column: usize,
}

fn line_at(text: &str, at: usize) -> Option<LineAt<'_>> {
    let (before, after) = text.split_at_checked(at)?;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = after.find('\n').map_or(text.len(), |end| at + end);
    Some(LineAt {
        text: &text[start..end],
        column: at - start,
    })
}

/// Returns the position of the recipe's setting that causes a finding. If the line of the finding
/// contains a setting of the recipe, the function returns the position of that setting. Otherwise,
/// the line comes from the tuning profile. The profile's settings alone have no findings, so the
/// finding also names a setting of the recipe. The function returns the position of the named
/// setting.
fn sysctl(
    settings: &[SysctlSetting],
    line: &LineAt<'_>,
    diagnostic: &Diagnostic,
) -> Option<Range<usize>> {
    let (key, _) = line.text.split_once('=')?;
    let on_line = |setting: &&SysctlSetting| setting.key.to_string() == key.trim();
    if let Some(setting) = settings.iter().find(on_line) {
        return Some(if line.column < key.len() {
            setting.key_span.clone()
        } else {
            setting.value_span.clone()
        });
    }
    let texts = [Some(&diagnostic.message), diagnostic.help.as_ref()];
    let is_named = |setting: &&SysctlSetting| {
        let key = setting.key.to_string();
        let names = |text: &String| text.split([' ', ',', '?']).any(|word| word == key);
        texts.into_iter().flatten().any(names)
    };
    let named = settings.iter().find(is_named)?;
    Some(named.value_span.clone())
}

fn package(recipe: &Recipe, name: &str) -> Option<Range<usize>> {
    let mut packages = recipe.install.packages.iter();
    let package = packages.find(|package| package.to_string() == name)?;
    Some(package.span.clone())
}
