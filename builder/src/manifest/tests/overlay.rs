//! Tests how the verification compares the overlay with the manifest.

use super::*;

/// Returns the problems in an image whose manifest lists changed overlay entries.
fn problems_of_entries(manifest: &Manifest, change: &dyn Fn(&mut Vec<OverlayEntry>)) -> String {
    let mut entries = manifest.overlay.clone();
    change(&mut entries);
    let image = Image {
        dir: tempfile::tempdir().unwrap(),
        key: key(),
    };
    fs::create_dir(image.file("")).unwrap();
    fs::write(image.file(OVERLAY), overlay(&image.key.public(), &[])).unwrap();
    let inputs = ManifestInputs {
        recipe: manifest.recipe.clone(),
        etcd: manifest.etcd,
        trust: image.key.public(),
        inputs: vec![],
        packed: None,
        overlay: entries,
    };
    write(&image.file(""), inputs, None).unwrap();
    let report = image.verify();
    assert_eq!(report.signature, SignatureState::Unsigned);
    // Ignore the problem that this overlay's key differs from the manifest's key.
    let rest = report
        .problems
        .iter()
        .filter(|problem| !problem.path.contains("trust.pub"));
    rest.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn the_overlay_is_compared_entry_by_entry() {
    let image = Image::new();
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(image.file(MANIFEST)).unwrap()).unwrap();
    let complains =
        |change: &dyn Fn(&mut Vec<OverlayEntry>)| problems_of_entries(&manifest, change);
    assert_eq!(complains(&|_| ()), "");
    let fstab = |entries: &mut Vec<OverlayEntry>| {
        entries.iter().position(|e| e.path == "etc/fstab").unwrap()
    };
    assert!(
        complains(&|all| {
            all.pop();
        })
        .contains("etc/hosts: it is not in manifest.json")
    );
    assert!(
        complains(&|all| all.push(OverlayEntry {
            path: "zz".into(),
            ..all[0].clone()
        }))
        .contains("zz: it is missing")
    );
    let text = complains(&|all| {
        let at = fstab(all);
        all[at].mode = Mode(0o755);
    });
    assert!(
        text.contains("overlay.tar.gz: etc/fstab: its mode")
            && text.contains("0755")
            && text.contains("0644")
    );
    assert!(
        complains(&|all| {
            let at = fstab(all);
            all[at].uid = 7;
        })
        .contains("its owner differs")
    );
    assert!(
        complains(&|all| {
            let at = fstab(all);
            all[at].sha256 = None;
        })
        .contains("its sha256 differs")
    );
}

#[test]
fn an_overlay_with_unsafe_entries_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(OVERLAY);
    for (name, kind, expected) in [
        ("etc/fstab", tar::EntryType::Regular, "twice"),
        ("etc/../../x", tar::EntryType::Regular, "leads out"),
        ("/x", tar::EntryType::Regular, "leads out"),
        ("dev/null", tar::EntryType::Char, "Char"),
        ("etc/hard", tar::EntryType::Link, "Link"),
        ("etc/soft", tar::EntryType::Symlink, "Symlink"),
    ] {
        fs::write(&path, overlay(&key().public(), &[(name, kind)])).unwrap();
        let error = read_overlay(&path, |_, _| false).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}
