//! Tests `builder mirror`, which downloads everything that a site without the Internet needs, and
//! verifies each file.

mod hostile;
mod site;
mod upstream;

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::installer::{IMAGES, package_path, write_repository};
use tests::requirement::Requirement;
use tests::server::Fault;

use crate::fake_release::TARBALL;
use crate::fixtures::{check_output, flip};
use upstream::{TREE, UPDATES, Upstream};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_site_without_the_internet_builds_and_serves_from_a_mirror",
            &[Requirement::Root, Requirement::Network, Requirement::Curl],
            site::site,
        ),
        trial("an_interrupted_mirror_is_resumed", &[], resumed),
        trial(
            "a_second_run_downloads_only_missing_or_wrong_files",
            &[],
            second_run,
        ),
        trial(
            "an_altered_package_is_refused_and_a_missing_file_is_named",
            &[],
            altered,
        ),
        trial(
            "a_pinned_list_is_verified_and_other_lists_change_only_on_refresh",
            &[],
            pinned,
        ),
        trial(
            "an_interrupted_refresh_needs_no_second_refresh",
            &[],
            interrupted_refresh,
        ),
        trial("images_without_listed_digests_are_recorded", &[], unlisted),
        trial(
            "no_repository_list_causes_a_write_outside_its_folder",
            &[],
            hostile::paths,
        ),
        trial(
            "a_mirror_follows_no_link_and_requires_free_space",
            &[],
            hostile::links_and_room,
        ),
        trial(
            "createrepo_metadata_is_read",
            &[Requirement::Createrepo],
            hostile::createrepo,
        ),
    ]
}

fn resumed() -> Result<()> {
    let upstream = Upstream::new()?;
    let path = format!("{TREE}/{}", IMAGES[1]);
    // Each attempt receives so few bytes that the builder gives up. The builder keeps the bytes
    // that it has received.
    upstream.server().fault(&path, Fault::CutAfter(10_000));
    upstream.refused(&[
        "no address provides images/pxeboot/initrd.img",
        "interrupted after",
    ])?;
    let kept = fs::metadata(upstream.file(&format!("tree/{}.part", IMAGES[1])))?.len();
    ensure!(kept == 40_000, "{kept} bytes are kept");
    ensure!(!upstream.file(&format!("tree/{}", IMAGES[1])).exists());
    upstream.server().clear_faults(&path);
    let before = upstream.server().requests().len();
    upstream.mirrored(&[])?;
    let requests = upstream.server().requests_for(&path);
    let range = requests.last().and_then(|request| request.header("range"));
    ensure!(range == Some("bytes=40000-"), "{range:?}");
    let requests = upstream.server().requests();
    let again = requests[before..]
        .iter()
        .filter(|request| request.path.starts_with(&format!("/{TREE}/Packages/")))
        .count();
    ensure!(again == 0, "{again} packages are downloaded again");
    upstream.compare()
}

fn second_run() -> Result<()> {
    let upstream = Upstream::new()?;
    let first = upstream.mirrored(&["--json"])?;
    let downloaded: u64 = first["downloaded"]["files"].as_u64().unwrap_or_default();
    let expected = upstream.files()?.len() as u64;
    ensure!(
        downloaded == expected && first["present"] == 0,
        "{downloaded} of {expected} files: {first:#}"
    );
    let before = upstream.server().requests().len();
    let second = upstream.run(&[])?;
    check_output(&second, 0, &["nothing to download"])?;
    let second = upstream.mirrored(&["--json"])?;
    ensure!(second["present"].as_u64() == Some(expected), "{second:#}");
    ensure!(
        upstream.server().requests().len() == before,
        "the builder made requests although the mirror was complete"
    );

    let curl = package_path("curl");
    flip(&upstream.file(&format!("tree/{curl}")), 3)?;
    flip(&upstream.file(&format!("etcd/{TARBALL}")), 70)?;
    let kernel = package_path("kernel");
    fs::remove_file(upstream.file(&format!("repos/updates/{kernel}")))?;
    let third = upstream.run(&[])?;
    check_output(
        &third,
        0,
        &[
            "the tree: 0 missing, 1 file damaged or outdated",
            "1 missing, 0 files damaged or outdated",
        ],
    )?;
    let requests = upstream.server().requests();
    let mut asked: Vec<&str> = requests[before..]
        .iter()
        .map(|request| request.path.as_str())
        .collect();
    asked.sort_unstable();
    // The release is in the cache, so the builder does not request it.
    let wanted = [format!("/{TREE}/{curl}"), format!("/{UPDATES}/{kernel}")];
    ensure!(asked == wanted, "{asked:?}");
    upstream.compare()
}

fn altered() -> Result<()> {
    let upstream = Upstream::new()?;
    let curl = package_path("curl");
    upstream
        .server()
        .fault(&format!("{TREE}/{curl}"), Fault::FlipByte(2));
    let tar = package_path("tar");
    fs::remove_file(upstream.source(&format!("{TREE}/{tar}")))?;
    upstream.refused(&[
        &format!("the tree: no address provides {curl}"),
        "wrong digest: expected",
        &format!("the tree: no address provides {tar}"),
        "HTTP status 404",
        "The mirror is not complete",
    ])?;
    for path in [&curl, &tar] {
        ensure!(!upstream.file(&format!("tree/{path}")).exists(), "{path}");
    }
    // The other packages exist, but no list names them, because the lists are written last.
    ensure!(
        upstream
            .file(&format!("tree/{}", package_path("xfsprogs")))
            .exists()
    );
    ensure!(!upstream.file("tree/repodata/repomd.xml").exists());
    // If a file is longer than the list states, the builder does not read the file to its end.
    upstream.server().clear_faults(&format!("{TREE}/{curl}"));
    fs::write(upstream.source(&format!("{TREE}/{curl}")), vec![0; 1 << 20])?;
    upstream.refused(&[&curl, "larger than allowed"])?;
    // The builder also verifies metadata.
    let primary = format!("{TREE}/repodata/primary.xml.gz");
    upstream.server().fault(&primary, Fault::FlipByte(20));
    fs::remove_file(upstream.file("tree/repodata/primary.xml.gz"))?;
    upstream.refused(&[
        "no address provides repodata/primary.xml.gz",
        "wrong digest",
    ])
}

fn pinned() -> Result<()> {
    let upstream = Upstream::new()?;
    let digest = upstream.repomd_sha256();
    let wrong = "0".repeat(64);
    upstream.write_recipe(&format!("repomd-sha256 = \"{wrong}\"\n"))?;
    upstream.refused(&[
        "the tree: no address provides repodata/repomd.xml",
        &format!("expected {wrong}, found {digest}"),
    ])?;
    upstream.write_recipe(&format!("repomd-sha256 = \"{digest}\"\n"))?;
    let said = upstream.mirrored(&["--json"])?;
    ensure!(
        said["tree"]["pinned"] == true && said["tree"]["repomd-sha256"] == *digest,
        "{said:#}"
    );
    ensure!(said["repos"][0]["pinned"] == false, "{said:#}");

    // If a repository that is not pinned changes, the mirror stays unchanged until it is refreshed.
    write_repository(&upstream.source(UPDATES), &["kernel", "tzdata"])?;
    let before = upstream.server().requests().len();
    upstream.mirrored(&[])?;
    ensure!(upstream.server().requests().len() == before);
    let said = upstream.mirrored(&["--refresh", "--json"])?;
    ensure!(said["repos"][0]["packages"] == 2, "{said:#}");
    ensure!(
        upstream
            .file(&format!("repos/updates/{}", package_path("tzdata")))
            .exists()
    );
    upstream.compare()
}

/// Tests an interrupted refresh of a repository whose lists keep their names.
fn interrupted_refresh() -> Result<()> {
    let upstream = Upstream::new()?;
    upstream.mirrored(&[])?;
    write_repository(&upstream.source(UPDATES), &["kernel", "tzdata"])?;
    let package = upstream.source(&format!("{UPDATES}/{}", package_path("tzdata")));
    let bytes = fs::read(&package)?;
    fs::remove_file(&package)?;
    let failed = upstream.run(&["--refresh"])?;
    check_output(
        &failed,
        1,
        &["no address provides", "The mirror is not complete"],
    )?;
    ensure!(
        !upstream.file("mirror.json").exists(),
        "the mirror looks complete"
    );
    fs::write(&package, bytes)?;
    let said = upstream.mirrored(&["--json"])?;
    ensure!(said["repos"][0]["packages"] == 2, "{said:#}");
    upstream.compare()
}

/// Tests a tree whose .treeinfo does not list every digest, as in the trees that lorax makes for
/// CentOS 7.
fn unlisted() -> Result<()> {
    let upstream = Upstream::new()?;
    let info = upstream.source(&format!("{TREE}/.treeinfo"));
    let text = fs::read_to_string(&info)?;
    let (text, _) = text.split_once("[checksums]").unwrap_or((&text, ""));
    fs::write(&info, text)?;
    let first = upstream.run(&["--json"])?;
    check_output(&first, 0, &[".treeinfo lists no digest for"])?;
    let count = upstream.files()?.len();
    let again = upstream.mirrored(&["--json"])?;
    ensure!(again["present"].as_u64() == Some(count as u64), "{again:#}");
    let image = upstream.source(&format!("{TREE}/{}", IMAGES[1]));
    let digest = tests::etcd::sha256(&image)?;
    ensure!(again["tree"]["images"][IMAGES[1]] == *digest, "{again:#}");

    // An image that changes on the disk is repaired, and an image that changes upstream is refused.
    flip(&upstream.file(&format!("tree/{}", IMAGES[1])), 3)?;
    upstream.mirrored(&[])?;
    upstream.compare()?;
    flip(&image, 3)?;
    flip(&upstream.file(&format!("tree/{}", IMAGES[1])), 3)?;
    check_output(&upstream.run(&[])?, 1, &[IMAGES[1], "wrong digest"])?;
    // The builder treats a tree with a different .treeinfo as a new tree, and records new digests
    // of its images.
    fs::write(&info, text.replace("[general]", "[general]\ntimestamp = 2"))?;
    upstream.mirrored(&["--refresh"])?;
    upstream.compare()
}
