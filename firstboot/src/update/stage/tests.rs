use recipes::{ReleasedFile, Sha256};

use super::*;
use crate::exit::{Exit, code_of};

fn release(serial: u64) -> ReleaseDocument {
    let overlay = ReleasedFile {
        size: 10,
        sha256: Sha256::of(&[7]),
    };
    ReleaseDocument::new(
        "demo".parse().unwrap(),
        serial,
        overlay.sha256,
        overlay,
        "3.6.14".parse().unwrap(),
        ImageBase::default(),
    )
}

#[test]
fn an_overlay_is_altered_only_if_its_release_is_unchanged() {
    let altered = || refused(ReasonId::UpdateAltered.because("it was altered"));
    for (now, expected) in [
        (Some(release(7)), ReasonId::UpdateAltered),
        (None, ReasonId::UpdateAltered),
        (Some(release(8)), ReasonId::UpdateReplaced),
    ] {
        let error = cause(altered(), &release(7), now.as_ref());
        assert_eq!(id_of(&error), Some(expected), "{error:#}");
    }
}

#[test]
fn a_search_is_repeated_only_after_a_build_replaced_the_release() {
    let mut searches = 0;
    let replaced = || not_ready(ReasonId::UpdateReplaced.because("a build replaced it"));
    let found = retry_if_replaced(|| {
        searches += 1;
        (searches == 2).then_some(searches).ok_or_else(replaced)
    });
    assert_eq!(found.unwrap(), 2);
    searches = 0;
    let error = retry_if_replaced(|| {
        searches += 1;
        Err::<(), _>(replaced())
    });
    assert_eq!(code_of(&error.unwrap_err()), Exit::NotReady);
    assert_eq!(searches, SEARCHES);
    searches = 0;
    let error = retry_if_replaced(|| {
        searches += 1;
        Err::<(), _>(refused("another reason"))
    });
    assert_eq!(code_of(&error.unwrap_err()), Exit::Refused);
    assert_eq!(searches, 1);
}

#[test]
fn only_downloaded_overlays_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["overlay-1.tar.gz", "overlay-2.tar.gz", "state.json"];
    for name in names {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let left = || files::install::names(folder.path()).unwrap().len();
    remove_archives(folder.path(), Some(&folder.path().join(names[0]))).unwrap();
    assert_eq!(left(), 2);
    remove_archives(folder.path(), None).unwrap();
    assert_eq!(left(), 1);
    assert!(folder.path().join("state.json").exists());
}
