//! Tests that the lossy disk loses exactly the writes that were not flushed.

use std::fs::{self, File};
use std::io::Write as _;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::lossy::{Disk, Loss, Tree};
use tests::requirement::Requirement;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_lossy_disk_keeps_what_was_flushed_and_loses_the_rest",
        &[Requirement::Root, Requirement::Fuse],
        disk,
    )]
}

fn disk() -> Result<()> {
    let mut disk = Disk::new(Tree::default())?;
    let at = |name: &str| disk.path().join(name);
    let mut kept = File::create(at("kept"))?;
    kept.write_all(&[b'x'; 5000])?;
    kept.sync_all()?;
    File::open(disk.path())?.sync_all()?;
    kept.write_all(b"lost")?;
    fs::write(at("new"), "lost")?;
    fs::rename(at("new"), at("renamed"))?;
    let names = || -> Result<Vec<String>> {
        let mut names: Vec<_> = fs::read_dir(disk.path())?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    };
    ensure!(
        names()? == ["kept", "renamed"] && fs::read(at("kept"))?.len() == 5004,
        "the disk does not work as a file system"
    );
    drop(kept);

    disk.cut(Loss::Unflushed)?;
    let at = |name: &str| disk.path().join(name);
    ensure!(!at("renamed").exists(), "an unflushed name still exists");
    ensure!(
        fs::read(at("kept"))? == [b'x'; 5000],
        "flushed content is lost"
    );

    fs::write(at("new"), "lost")?;
    fs::rename(at("new"), at("renamed"))?;
    disk.cut(Loss::Contents)?;
    ensure!(
        fs::read(disk.path().join("renamed"))?.is_empty(),
        "unflushed content still exists"
    );
    Ok(())
}
