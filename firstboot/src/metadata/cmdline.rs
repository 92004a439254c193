//! The kernel's command line names the place: `firstboot.node=PATH-OR-URL`, or as cloud-init's NoCloud writes it,
//! `ds=nocloud;s=PATH-OR-URL/` (also `ds=nocloud-net` and `seedfrom=`), below which `user-data` lies. The document
//! itself is never on the command line: everybody on the machine can read that.

use anyhow::{Context as _, Result, bail};
use reqwest::Url;

use super::{Found, LIMIT, url};
use crate::files;

/// `known`: the node has a document already, and no server is asked again.
pub(super) fn find(path: &str, known: bool) -> Result<Option<Found>> {
    let line = String::from_utf8_lossy(&files::read_bounded(path.as_ref(), LIMIT)?).into_owned();
    let Some(place) = place_in(&line) else { return Ok(None) };
    if place.starts_with('/') {
        return Found::parse(&place, &files::read_bounded(place.as_ref(), LIMIT)?).map(Some);
    }
    let address = Url::parse(&place).with_context(|| format!("`{place}` on the kernel's command line"))?;
    match address.scheme() {
        "http" | "https" if known => Ok(None),
        "http" | "https" => url::get(&address).map(Some),
        other => bail!("{other}: on the kernel's command line ({place}): expected http, https or an absolute path"),
    }
}

/// The place that a command line names, if it does.
fn place_in(line: &str) -> Option<String> {
    for word in line.split_ascii_whitespace() {
        // GRUB and some boot menus keep quotes around what holds a semicolon.
        let word = word.trim_matches(['"', '\'']);
        if let Some(place) = word.strip_prefix("firstboot.node=") {
            return Some(place.to_owned());
        }
        let mut parts = word.split(';');
        if !matches!(parts.next(), Some("ds=nocloud" | "ds=nocloud-net")) {
            continue;
        }
        let seed = parts.find_map(|part| part.strip_prefix("s=").or_else(|| part.strip_prefix("seedfrom=")));
        if let Some(seed) = seed {
            let seed = seed.strip_prefix("file://").unwrap_or(seed);
            return Some(format!("{}/user-data", seed.trim_end_matches('/')));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::place_in;

    #[test]
    fn the_place_is_found_in_either_spelling() {
        for (line, place) in [
            ("ro firstboot.node=http://a/node.json quiet", Some("http://a/node.json")),
            ("ds=nocloud;s=http://a/etcd-1/", Some("http://a/etcd-1/user-data")),
            ("ro \"ds=nocloud-net;h=x;seedfrom=http://a\"", Some("http://a/user-data")),
            ("ds=nocloud;s=file:///seed/", Some("/seed/user-data")),
            ("ds=nocloud", None),
            ("ds=nocloud2;s=http://a/", None),
            ("ro quiet", None),
            ("", None),
        ] {
            assert_eq!(place_in(line).as_deref(), place, "{line}");
        }
    }
}
