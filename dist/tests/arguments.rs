//! Tests of the program's arguments. Cargo builds the program for integration tests, so the
//! packages' tests do not need a separate build; see `ETCD_IMAGE_DIST` in packages.sh.

use std::io;
use std::process::Command;

#[test]
fn the_usage_is_shown_without_arguments() -> io::Result<()> {
    let ran = Command::new(env!("CARGO_BIN_EXE_dist")).output()?;
    assert_eq!(ran.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&ran.stderr).starts_with("usage: dist PROGRAMS ROOT DATE"),
        "{ran:?}"
    );
    Ok(())
}

#[test]
fn a_folder_without_the_programs_is_an_error_that_names_it() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (programs, root) = (folder.path().join("programs"), folder.path().join("root"));
    let ran = Command::new(env!("CARGO_BIN_EXE_dist"))
        .arg(&programs)
        .arg(root)
        .arg("2026-01-01")
        .output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.code() == Some(1) && said.contains(&*programs.to_string_lossy()),
        "{ran:?}"
    );
    Ok(())
}
