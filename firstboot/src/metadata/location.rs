//! Parses a document location from the kernel's command line or the firmware. The location is in
//! `firstboot.node=PATH-OR-URL` or, in the syntax of cloud-init's NoCloud, in
//! `ds=nocloud;s=PATH-OR-URL/` (also `ds=nocloud-net` and `seedfrom=`). In NoCloud's syntax, the
//! document is the file `user-data` at that location.

use std::io;

use anyhow::{Context as _, Result, bail};
use reqwest::Url;

use super::document::{FoundDocument, LIMIT};
use super::source::{Query, SourceResult};
use super::url;
use crate::files;

/// Returns the location that a kernel parameter names, or `None` for other parameters.
pub(super) fn named(word: &str) -> Option<String> {
    // GRUB and some boot menus do not remove the quotes around a parameter that contains a
    // semicolon.
    let word = word.trim_matches(['"', '\'']);
    if let Some(origin) = word.strip_prefix("firstboot.node=") {
        return Some(origin.to_owned());
    }
    let mut parts = word.split(';');
    if !matches!(parts.next(), Some("ds=nocloud" | "ds=nocloud-net")) {
        return None;
    }
    let seed = parts.find_map(|part| {
        part.strip_prefix("s=")
            .or_else(|| part.strip_prefix("seedfrom="))
    })?;
    let seed = seed.strip_prefix("file://").unwrap_or(seed);
    Some(format!("{}/user-data", seed.trim_end_matches('/')))
}

/// Returns the document at this location. `by` describes where firstboot found the location.
pub(super) fn get(origin: &str, by: &str, query: &Query<'_>) -> Result<SourceResult> {
    if origin.starts_with('/') {
        return match files::read_bounded(origin.as_ref(), LIMIT) {
            Ok(bytes) => Ok(FoundDocument::parse(origin, &bytes)?.into()),
            // An operator may remove a source after the node has accepted the source's document.
            Err(error) if query.known && is_not_found(&error) => Ok(SourceResult::Nothing(
                format!("{origin}, named by {by}, does not exist"),
            )),
            Err(error) => Err(error),
        };
    }
    let address = Url::parse(origin).with_context(|| {
        format!("`{origin}`, named by {by}, is neither a URL nor an absolute path")
    })?;
    match address.scheme() {
        "http" | "https" => url::get(&address, query),
        other => {
            bail!(
                "unsupported scheme {other} in `{origin}`, named by {by}: expected http, https or \
                 an absolute path"
            )
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::tests::with_query;

    #[test]
    fn the_location_is_found_in_either_syntax() {
        for (word, origin) in [
            (
                "firstboot.node=http://a/node.json",
                Some("http://a/node.json"),
            ),
            (
                "ds=nocloud;s=http://a/etcd-1/",
                Some("http://a/etcd-1/user-data"),
            ),
            (
                "\"ds=nocloud-net;h=x;seedfrom=http://a\"",
                Some("http://a/user-data"),
            ),
            ("ds=nocloud;s=file:///seed/", Some("/seed/user-data")),
            ("ds=nocloud", None),
            ("ds=nocloud2;s=http://a/", None),
            ("", None),
        ] {
            assert_eq!(named(word).as_deref(), origin, "{word}");
        }
    }

    #[test]
    fn a_file_may_be_removed_after_its_document_was_accepted() {
        let path = "/nowhere/user-data";
        let error = with_query(|query| format!("{:#}", get(path, "a string", query).unwrap_err()));
        assert!(error.contains(path), "{error}");
        let again = with_query(|query| {
            let query = Query {
                known: true,
                ..*query
            };
            get(path, "a string", &query).unwrap()
        });
        assert!(
            matches!(&again, SourceResult::Nothing(why) if why.contains(path)),
            "{again:?}"
        );
    }

    #[test]
    fn an_invalid_location_is_reported_with_its_origin() {
        for (origin, words) in [
            ("ftp://a/b", "expected http, https"),
            ("node.json", "`node.json`, named by a string"),
        ] {
            let error =
                with_query(|query| format!("{:#}", get(origin, "a string", query).unwrap_err()));
            assert!(error.contains(words), "{error}");
        }
        let again = with_query(|query| {
            get(
                "http://a/b",
                "a string",
                &Query {
                    known: true,
                    ..*query
                },
            )
            .unwrap()
        });
        assert!(
            matches!(again, SourceResult::NotAsked(_)),
            "no server is queried again"
        );
    }

    proptest! {
        #[test]
        fn no_value_causes_a_panic(word in "(ds=nocloud|-net|;|s=|seedfrom=|file://|firstboot.node=|\"|'|\\PC){0,12}") {
            let _ = named(&word).map(|origin| with_query(|query| get(&origin, "a string", &Query { known: true, ..*query })));
        }
    }
}
