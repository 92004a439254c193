use super::*;

fn file(tree: &mut Tree, folder: u64, name: &str, text: &str) -> u64 {
    let own = tree
        .create(folder, OsStr::new(name), 0o600, (0, 0), false)
        .unwrap();
    tree.write(own, 0, text.as_bytes()).unwrap();
    own
}

fn folder(tree: &mut Tree, name: &str) -> u64 {
    tree.create(ROOT, OsStr::new(name), 0o700, (0, 0), true)
        .unwrap()
}

fn text(tree: &Tree, folder: u64, name: &str) -> Option<String> {
    let own = tree.find(folder, OsStr::new(name)).ok()?;
    Some(String::from_utf8(tree.read(own, 0, 1 << 20).unwrap()).unwrap())
}

fn rename(tree: &mut Tree, from: &str, to: &str) {
    tree.rename((ROOT, OsStr::new(from)), (ROOT, OsStr::new(to)))
        .unwrap();
}

/// Makes an old file, and renames a new file over it. The arguments set whether the file is flushed
/// before the rename, and whether the folder is flushed after the rename.
fn replaced(flush_file: bool, flush_folder: bool) -> Tree {
    let mut tree = Tree::default();
    file(&mut tree, ROOT, "a", "old");
    tree.flush_all();
    let own = file(&mut tree, ROOT, "a.new", "new");
    if flush_file {
        tree.flush(own).unwrap();
    }
    rename(&mut tree, "a.new", "a");
    if flush_folder {
        tree.flush(ROOT).unwrap();
    }
    tree
}

#[test]
fn flushed_data_survives_every_power_cut() {
    for loss in [
        Loss::Nothing,
        Loss::Unflushed,
        Loss::Contents,
        Loss::Zeros,
        Loss::Torn(1),
        Loss::Torn(2),
    ] {
        let mut tree = replaced(true, true);
        tree.cut(loss);
        assert_eq!(text(&tree, ROOT, "a").as_deref(), Some("new"), "{loss:?}");
    }
}

#[test]
fn unflushed_data_is_lost_in_each_way() {
    let after = |flush_file, flush_folder, loss| {
        let mut tree = replaced(flush_file, flush_folder);
        tree.cut(loss);
        text(&tree, ROOT, "a").unwrap()
    };
    assert_eq!(after(true, false, Loss::Unflushed), "old");
    assert_eq!(after(false, true, Loss::Unflushed), "");
    assert_eq!(after(false, false, Loss::Contents), "");
    assert_eq!(after(false, false, Loss::Zeros), "\0\0\0");
    assert_eq!(after(false, false, Loss::Nothing), "new");
    let torn: BTreeSet<String> = (0..64)
        .map(|seed| after(false, false, Loss::Torn(seed)))
        .collect();
    assert_eq!(torn, ["old", "new", "\0\0\0"].map(str::to_owned).into());
}

#[test]
fn a_new_file_in_an_unflushed_folder_and_an_unflushed_line_are_lost() {
    let mut tree = Tree::default();
    let own = file(&mut tree, ROOT, "a", "one\n");
    tree.flush(own).unwrap();
    let mut gone = tree.clone();
    gone.cut(Loss::Unflushed);
    assert_eq!(text(&gone, ROOT, "a"), None);

    tree.flush(ROOT).unwrap();
    tree.write(own, 4, b"two\n").unwrap();
    tree.cut(Loss::Unflushed);
    assert_eq!(text(&tree, ROOT, "a").as_deref(), Some("one\n"));
}

#[test]
fn a_moved_file_is_always_in_exactly_one_folder() {
    for flush in [None, Some(0), Some(1)] {
        let mut tree = Tree::default();
        let folders = [folder(&mut tree, "from"), folder(&mut tree, "to")];
        file(&mut tree, folders[0], "x", "1");
        tree.flush_all();
        tree.rename((folders[0], OsStr::new("x")), (folders[1], OsStr::new("x")))
            .unwrap();
        if let Some(at) = flush {
            tree.flush(folders[at]).unwrap();
        }
        tree.cut(Loss::Unflushed);
        let there = folders.map(|folder| text(&tree, folder, "x").is_some());
        assert_eq!(there, [flush.is_none(), flush.is_some()], "{flush:?}");
    }
}

#[test]
fn reads_and_writes_behave_as_on_an_ordinary_file() {
    let mut tree = Tree::default();
    let own = file(&mut tree, ROOT, "a", "");
    let mut model = Vec::new();
    for (at, count) in [
        (0_usize, 700_usize),
        (300, 10),
        (2000, 600),
        (511, 2),
        (4096, 1),
    ] {
        let bytes: Vec<u8> = (0..count)
            .map(|i| u8::try_from((at + i) % 251).unwrap())
            .collect();
        model.resize(model.len().max(at + count), 0);
        model[at..at + count].copy_from_slice(&bytes);
        tree.write(own, at as u64, &bytes).unwrap();
    }
    assert_eq!(tree.read(own, 0, 1 << 20).unwrap(), model);
    assert_eq!(tree.read(own, 510, 5).unwrap(), model[510..515]);
    for size in [600, 5000] {
        tree.resize(own, size as u64).unwrap();
        model.resize(size, 0);
        assert_eq!(tree.read(own, 0, 1 << 20).unwrap(), model);
    }
}

#[test]
fn with_names_in_order_a_flush_includes_earlier_names() {
    for in_order in [false, true] {
        let mut tree = Tree {
            in_order,
            ..Tree::default()
        };
        let inner = folder(&mut tree, "inner");
        file(&mut tree, inner, "a", "lost");
        let own = file(&mut tree, inner, "b", "kept");
        tree.flush(own).unwrap();
        file(&mut tree, inner, "c", "later");
        tree.cut(Loss::Unflushed);
        if in_order {
            assert_eq!(
                ["a", "b", "c"].map(|name| text(&tree, inner, name)),
                [Some(String::new()), Some("kept".into()), None]
            );
        } else {
            assert!(tree.find(ROOT, OsStr::new("inner")).is_err());
        }
    }
}
