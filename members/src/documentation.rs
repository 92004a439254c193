//! Reads the tables in docs/, for the tests that compare these tables with the code. The crates
//! `builder` and `firstboot` also use this file, as a module of their own.

use std::collections::BTreeSet;

use serde::Serialize;

/// Returns the names in the first column of the table below a heading of a page in docs/. The
/// heading has at least two `#`, because a line of a console example begins with one `#`.
#[track_caller]
pub(crate) fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let text = page_text(page);
    let section = text
        .lines()
        .skip_while(|line| title(line) != Some(heading))
        .skip(1)
        .take_while(|line| title(line).is_none());
    let names: BTreeSet<String> = section
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert!(
        !names.is_empty(),
        "{page} has no table below the heading {heading:?}"
    );
    names
}

/// Returns the text of a page in docs/.
#[track_caller]
pub(crate) fn page_text(page: &str) -> String {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
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
