//! Tests with lists like createrepo's, and with hostile lists.

use proptest::prelude::*;

use super::*;

/// Returns a repomd.xml like those of CentOS 7.9's own repositories.
fn repomd(entries: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n <revision>1604001756</revision>\n{entries}</repomd>\n"
    )
}

fn data(kind: &str, href: &str) -> String {
    let digest = Sha256::of(href.as_bytes());
    format!(
        "<data type=\"{kind}\">\n  <checksum type=\"sha256\">{digest}</checksum>\n  \
         <open-checksum type=\"sha256\">{}</open-checksum>\n  <location href=\"{href}\"/>\n  \
         <timestamp>1604001739</timestamp>\n  <size>2944768</size>\n  <open-size>28129371</open-size>\n</data>\n",
        Sha256::of(b"open")
    )
}

fn primary(packages: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"1\">\n{packages}</metadata>\n"
    )
}

fn package(location: &str) -> String {
    format!(
        "<package type=\"rpm\">\n  <name>tar</name>\n  <arch>x86_64</arch>\n  <version epoch=\"2\" ver=\"1.26\" rel=\"35.el7\"/>\n  \
         <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum>\n  <summary>A &lt;tar&gt;</summary>\n  \
         <size package=\"866564\" installed=\"2838263\" archive=\"2849824\"/>\n{location}\n  \
         <format><rpm:license>GPLv3+</rpm:license><rpm:provides><rpm:entry name=\"tar\"/></rpm:provides>\
         <file>/bin/tar</file></format>\n</package>\n",
        Sha256::of(b"tar")
    )
}

const HREF: &str = "<location href=\"Packages/tar-1.26-35.el7.x86_64.rpm\"/>";

#[test]
fn all_metadata_is_listed_with_its_digest() {
    let entries = data("primary", "repodata/a-primary.xml.gz")
        + &data("primary_db", "repodata/b-primary.sqlite.bz2");
    let found = read_repomd(repomd(&entries).as_bytes()).unwrap();
    assert_eq!(found.files.len(), 2);
    assert_eq!(found.primary.path.as_str(), "repodata/a-primary.xml.gz");
    assert_eq!(
        found.primary.sha256,
        Sha256::of(b"repodata/a-primary.xml.gz")
    );
    assert_eq!(found.primary.size, Some(2_944_768));
}

#[test]
fn bad_metadata_is_refused() {
    let good = data("primary", "repodata/p.xml.gz");
    for (text, words) in [
        (repomd(""), "no metadata of type \"primary\""),
        ("<html/>".to_owned(), "not a repomd.xml"),
        (String::new(), "not a repomd.xml"),
        (
            repomd(&data("primary", "../p.xml.gz")),
            "lead out of its folder",
        ),
        (repomd(&data("primary", "p.xml.gz")), "not in repodata/"),
        (
            repomd(&data("primary", "Packages/a.rpm")),
            "not in repodata/",
        ),
        (
            repomd(&data("primary", "repodata/repomd.xml")),
            "lists itself",
        ),
        (
            repomd(&good.replace("sha256\"", "sha\"")),
            "only sha256 is accepted",
        ),
        (
            repomd(&good.replace("<location", "<location xml:base=\"http://a/\"")),
            "at another address",
        ),
        (
            repomd(&(good.clone() + &good.replace("<size>2", "<size>3"))),
            "listed twice",
        ),
        (repomd(&good.replace("<location", "<place")), "no location"),
        (
            repomd(
                &good
                    .replace("<checksum", "<sum")
                    .replace("/checksum", "/sum"),
            ),
            "only sha256",
        ),
        (repomd(&good)[..200].to_owned(), "not well-formed"),
    ] {
        let error = read_repomd(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let many: String = (0..100)
        .map(|n| data("other", &format!("repodata/{n}")))
        .collect();
    let error = read_repomd(repomd(&many).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("more than 64 files"), "{error}");
}

#[test]
fn a_package_has_its_path_digest_and_size() {
    let text = primary(&package(HREF));
    let found = read_primary(text.as_bytes(), 1 << 20).unwrap();
    assert_eq!(
        found,
        [ListedFile {
            path: "Packages/tar-1.26-35.el7.x86_64.rpm".parse().unwrap(),
            sha256: Sha256::of(b"tar"),
            size: Some(866_564),
        }]
    );
    // Two identical entries count as one file.
    let twice = primary(&package(HREF).repeat(2));
    assert_eq!(read_primary(twice.as_bytes(), 1 << 20).unwrap(), found);
}

#[test]
fn a_hostile_package_is_refused() {
    let at = |href: &str| package(&format!("<location href=\"{href}\"/>"));
    for (packages, words) in [
        (at("../../etc/cron.d/x.rpm"), "lead out of its folder"),
        (at("/etc/cron.d/x.rpm"), "is absolute"),
        (at("&#46;&#46;/x.rpm"), "lead out of its folder"),
        (at("Packages/x"), "not the path of a package"),
        (at("repodata/x.rpm"), "not the path of a package"),
        (at("images/pxeboot/vmlinuz"), "not the path of a package"),
        (
            package("<location xml:base=\"ftp://a\" href=\"x.rpm\"/>"),
            "at another address",
        ),
        (package(""), "no location"),
        (
            package(HREF).replace("package=\"866564\"", ""),
            "has no size",
        ),
        (
            package(HREF).replace("866564", "18446744073709551615"),
            "more than 1099511627776 bytes",
        ),
        (
            package(HREF) + &package(HREF).replace("866564", "1"),
            "listed twice",
        ),
    ] {
        let text = primary(&packages);
        let error = read_primary(text.as_bytes(), 1 << 20)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = read_primary(&b"<a/>"[..], 10).unwrap_err().to_string();
    assert!(error.contains("not a list of packages"), "{error}");
}

/// Returns a valid list in which some bytes are replaced and some bytes are removed.
fn altered(text: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bytes = text.as_bytes().to_vec();
    let at = 0..bytes.len();
    let changes = prop::collection::vec((at.clone(), any::<u8>()), 0..4);
    (changes, at, 0..40_usize).prop_map(move |(changes, from, count)| {
        let mut bytes = bytes.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.drain(from..(from + count).min(bytes.len()));
        bytes
    })
}

proptest! {
    #[test]
    fn an_altered_repomd_is_refused_or_lists_only_paths_inside_the_repository(bytes in altered(&repomd(&data("primary", "repodata/p.xml.gz")))) {
        if let Ok(found) = read_repomd(&bytes) {
            prop_assert!(found.files.iter().all(|file| file.path.as_str().starts_with("repodata/")));
        }
    }

    #[test]
    fn an_altered_primary_is_refused_or_lists_only_paths_inside_the_repository(bytes in altered(&primary(&package(HREF)))) {
        if let Ok(found) = read_primary(&bytes[..], 1 << 20) {
            prop_assert!(found.iter().all(|file| file.path.names().all(|name| name != "..")));
        }
    }
}
