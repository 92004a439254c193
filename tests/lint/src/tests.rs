//! Tests the linter on small crates in a temporary folder, with and without cycles.

use std::fs;

use crate::cycles;
use crate::modules::CrateMap;
use crate::{LONGEST_FILE, long_files};

/// Returns the linter's descriptions of all cycles in a crate that consists of these files.
fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let map = CrateMap::load(&folder.path().join("lib.rs")).unwrap();
    cycles::find(&map)
        .iter()
        .map(|cycle| cycle.describe(folder.path()))
        .collect()
}

#[test]
fn a_parent_that_calls_its_child_is_not_in_a_cycle() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; fn run() { a::go() }"),
        ("a.rs", "pub(crate) fn go() {}"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_child_that_uses_its_parents_type_is_in_a_cycle() {
    let found = cycles_of(&[
        (
            "lib.rs",
            "mod a; struct Options; fn run() { a::go(&Options) }",
        ),
        (
            "a.rs",
            "use super::Options; pub(crate) fn go(_: &Options) {}",
        ),
    ]);
    assert_eq!(
        found,
        [
            "2 files import each other in a cycle:\n  a.rs imports Options from lib.rs\n  lib.rs imports go from a.rs"
        ]
    );
}

#[test]
fn a_name_is_followed_through_a_re_export_to_the_file_that_defines_it() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; mod b; mod c; fn run() { b::run() }"),
        ("a.rs", "pub(crate) use crate::c::Type;"),
        (
            "b.rs",
            "use crate::a; pub(crate) fn run() { drop(a::Type) }",
        ),
        ("c.rs", "pub(crate) struct Type; fn f() { crate::b::run() }"),
    ]);
    assert_eq!(
        found,
        [
            "2 files import each other in a cycle:\n  b.rs imports Type from c.rs\n  c.rs imports run from b.rs"
        ]
    );
}

#[test]
fn a_path_inside_a_macro_counts() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; fn run() { a::go() } fn name() {}"),
        (
            "a.rs",
            "pub(crate) fn go() { println!(\"{}\", crate::name()) }",
        ),
    ]);
    assert_eq!(found.len(), 1);
}

#[test]
fn three_files_in_a_ring_are_one_cycle() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "fn f() { crate::b::f() }"),
        ("b.rs", "fn f() { crate::c::f() }"),
        ("c.rs", "fn f() { crate::a::f() }"),
    ]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("3 files"), "{}", found[0]);
}

#[test]
fn code_compiled_only_for_tests_does_not_count() {
    let found = cycles_of(&[
        ("lib.rs", "mod a; fn run() { a::go() } fn helper() {}"),
        (
            "a.rs",
            "pub(crate) fn go() {} #[cfg(test)] mod tests { use crate::helper; }",
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_long_file_is_found_in_any_folder_also_in_a_module_of_tests() {
    let workspace = tempfile::tempdir().unwrap();
    let folder = workspace.path().join("a/src/b");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(workspace.path().join("target")).unwrap();
    fs::write(folder.join("tests.rs"), "//\n".repeat(LONGEST_FILE + 1)).unwrap();
    fs::write(folder.join("mod.rs"), "//\n".repeat(LONGEST_FILE)).unwrap();
    fs::write(workspace.path().join("target/made.rs"), "//\n".repeat(500)).unwrap();
    let found = long_files(workspace.path(), workspace.path()).unwrap();
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert!(
        matches!(found[..], [only] if only.starts_with("a/src/b/tests.rs: 401 lines")),
        "{found:?}"
    );
}
