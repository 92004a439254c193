//! Tests the paths in the output of commands with `--json`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

#[test]
fn a_path_that_is_not_utf_8_is_text_in_json() {
    let folder = Folder::new();
    let dir = folder.0.path().join(OsStr::from_bytes(b"p\xff.pki"));
    drop(open(&dir, &cluster(), &Authority::Own, LIFETIMES, now()).unwrap());
    let events = rotate(&dir, LIFETIMES.authority, now()).unwrap();
    let (name, life) = ("alice".parse().unwrap(), Duration::hours(1));
    let made = issue_client(&dir, &Authority::Own, &name, life, None, now()).unwrap();
    let shown = show(&dir, now()).unwrap();
    for json in [
        serde_json::to_string(&events),
        serde_json::to_string(&made),
        serde_json::to_string(&shown),
    ] {
        let json = json.unwrap();
        assert!(json.contains("/p\u{fffd}.pki/"), "{json}");
    }
    let path = dir.join("serial.json");
    let (why, kept) = (String::new(), path.clone());
    let more = [
        Event::Made { path: path.clone() },
        Event::Renewed { path: path.clone() },
        Event::Archived {
            path: path.clone(),
            why,
            kept,
        },
        Event::Warning {
            path,
            text: String::new(),
        },
    ];
    serde_json::to_string(&more).unwrap();
}
