//! Reads the tables in docs/, for the tests that compare these tables with the code.

use std::collections::BTreeSet;

use serde::Serialize;

/// The page with the exit codes and the ids.
pub(crate) const EXIT_CODES: &str = include_str!("../../docs/exit-codes.md");
/// The page with the JSON of both `status` commands.
pub(crate) const STATUS: &str = include_str!("../../docs/status.md");

/// Returns the names in the first column of the table below a heading of a page. The heading has
/// at least two `#`, because a line of a console example begins with one `#`.
#[track_caller]
pub(crate) fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page
        .lines()
        .skip_while(|line| title(line) != Some(heading))
        .skip(1)
        .take_while(|line| title(line).is_none());
    let names: BTreeSet<String> = section
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert!(!names.is_empty(), "no table below the heading {heading:?}");
    names
}

/// Returns the title of a heading, or `None` for any other line.
fn title(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("##")?;
    Some(rest.trim_start_matches('#').trim())
}

/// Returns the keys of a value that is an object in JSON.
#[track_caller]
pub(crate) fn keys(value: &impl Serialize) -> BTreeSet<String> {
    let json = serde_json::to_value(value).unwrap();
    json.as_object().unwrap().keys().cloned().collect()
}
