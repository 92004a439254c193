//! Tests handmade repositories that attack the builder, and a real repository that createrepo made.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Result, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tests::etcd;
use tests::installer::{package_path, write_repository, write_tree};
use tests::process;

use super::upstream::{TREE, UPDATES, Upstream};
use crate::fixtures::{check_output, snapshot};

/// Changes a repository's list of packages, and the list's digest in repomd.xml.
fn change_primary(repository: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    let path = repository.join("repodata/primary.xml.gz");
    let before = etcd::sha256(&path)?;
    let mut text = String::new();
    GzDecoder::new(fs::File::open(&path)?).read_to_string(&mut text)?;
    let changed = change(&text);
    ensure!(changed != text, "the change has no effect");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(changed.as_bytes())?;
    fs::write(&path, gzip.finish()?)?;
    change_file(
        &repository.join("repodata/repomd.xml"),
        &before,
        &etcd::sha256(&path)?,
    )
}

fn change_file(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text.contains(from), "{} has no {from}", path.display());
    Ok(fs::write(path, text.replace(from, to))?)
}

pub(super) fn paths() -> Result<()> {
    let upstream = Upstream::new()?;
    let (tree, updates) = (upstream.source(TREE), upstream.source(UPDATES));
    let restore = || -> Result<()> {
        write_tree(&tree, &["tar"])?;
        write_repository(&updates, &["kernel"]).map(drop)
    };
    // The file that a hostile path would overwrite.
    let victim = upstream.fixture.path("victim");
    fs::write(&victim, "mine")?;
    let kernel = package_path("kernel");
    for (href, words) in [
        ("../../../victim.rpm", "lead out of its folder"),
        ("/victim.rpm", "is absolute"),
        ("%2e%2e/%2e%2e/%2e%2e/victim.rpm", "contains a character"),
        ("Packages/../../../../victim.rpm", "lead out of its folder"),
        ("repodata/repomd.xml", "is not the path of a package"),
        ("&#x2e;&#x2e;/victim.rpm", "lead out of its folder"),
    ] {
        restore()?;
        change_primary(&updates, |text| text.replace(&kernel, href))?;
        upstream.refused(&["the repository updates: repodata/primary.xml.gz", words])?;
    }
    restore()?;
    let repomd = updates.join("repodata/repomd.xml");
    change_file(&repomd, "\"repodata/comps.xml.gz", "\"../../../victim")?;
    upstream.refused(&["lead out of its folder"])?;
    restore()?;
    let info = tree.join(".treeinfo");
    change_file(&info, "LiveOS/squashfs.img", "../../victim")?;
    upstream.refused(&["no address provides .treeinfo", "lead out of its folder"])?;
    restore()?;
    change_primary(&updates, |text| {
        text.replace("<location ", "<location xml:base=\"http://10.0.0.1/\" ")
    })?;
    upstream.refused(&["at another address"])?;

    no_stray(&upstream)?;
    ensure!(fs::read_to_string(&victim)? == "mine");
    Ok(())
}

/// Checks that the builder wrote no file outside the mirror.
fn no_stray(upstream: &Upstream) -> Result<()> {
    let all = snapshot(&upstream.fixture.path(""))?;
    let stray: Vec<_> = all
        .keys()
        .filter(|path| path.contains("victim") && *path != "victim")
        .collect();
    ensure!(stray.is_empty(), "{stray:?}");
    Ok(())
}

pub(super) fn links_and_room() -> Result<()> {
    let upstream = Upstream::new()?;
    let tree = upstream.source(TREE);
    // No download is started if the disk does not have enough room.
    change_primary(&tree, |text| {
        text.replace("<size package=\"", "<size package=\"9999999999")
    })?;
    upstream.refused(&["GiB to download, but only ", "free: free some space"])?;
    ensure!(!upstream.file("tree/Packages").exists());

    // The builder does not follow a link in the mirror. The test creates the link itself, because a
    // hostile path cannot create one.
    write_tree(&tree, &["tar"])?;
    let outside = upstream.fixture.path("outside");
    fs::create_dir(&outside)?;
    fs::create_dir_all(upstream.file("repos/updates"))?;
    let folder = upstream.file("repos/updates/Packages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    symlink(&outside, &folder)?;
    upstream.refused(&["Packages is a symbolic link"])?;
    ensure!(
        fs::read_dir(&outside)?.count() == 0,
        "the builder wrote through a link"
    );
    fs::remove_file(&folder)?;
    upstream.mirrored(&[]).map(drop)
}

pub(super) fn createrepo() -> Result<()> {
    let upstream = Upstream::new()?;
    let updates = upstream.source(UPDATES);
    let make = |compression: &str| -> Result<()> {
        fs::remove_dir_all(updates.join("repodata"))?;
        let option = format!("--general-compress-type={compression}");
        process::check(
            "createrepo_c",
            &[
                "--quiet",
                "--no-database",
                &option,
                &updates.to_string_lossy(),
            ],
        )
        .map(drop)
    };
    let package = tests::run::current()?.folder("package")?;
    let spec = "Name: own\nVersion: 1\nRelease: 1\nSummary: a test\nLicense: MIT\nBuildArch: noarch\n%description\nA test.\n%files\n";
    fs::write(package.join("own.spec"), spec)?;
    let top = format!("_topdir {}", package.display());
    let path = package.join("own.spec");
    process::check(
        "rpmbuild",
        &["-bb", "--quiet", "--define", &top, &path.to_string_lossy()],
    )?;
    fs::remove_dir_all(updates.join("Packages"))?;
    fs::copy(
        package.join("RPMS/noarch/own-1-1.noarch.rpm"),
        updates.join("own-1-1.noarch.rpm"),
    )?;
    for (compression, name) in [("xz", "xz"), ("bz2", "bzip2")] {
        make(compression)?;
        check_output(
            &upstream.run(&[])?,
            1,
            &[&format!(
                "it is compressed with {name}, which this program cannot read"
            )],
        )?;
    }
    make("gz")?;
    fs::remove_dir_all(upstream.file(""))?;
    let said = upstream.mirrored(&["--json"])?;
    ensure!(said["repos"][0]["packages"] == 1, "{said:#}");
    upstream.compare()
}
