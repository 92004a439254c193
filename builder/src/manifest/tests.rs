mod overlay;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::overlay::read as read_overlay;
use super::report::{Report, SignatureState};
use super::*;

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
}

/// Returns an overlay of two gzip members, like the builder's overlays.
fn overlay(key: &PublicKey, extra: &[(&str, tar::EntryType)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, bytes: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    add("./etc/", tar::EntryType::Directory, b"", None);
    add("./etc/fstab", tar::EntryType::Regular, b"none", None);
    add(
        "./etc/firstboot/trust.pub",
        tar::EntryType::Regular,
        format!("{key}\n").as_bytes(),
        None,
    );
    add("./etc/hosts", tar::EntryType::Regular, b"", None);
    for (path, kind) in extra {
        add(path, *kind, b"", Some("x"));
    }
    let tar = tar.into_inner().unwrap();
    let (one, two) = tar.split_at(700);
    let member = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    };
    [member(one), member(two)].concat()
}

struct Image {
    dir: tempfile::TempDir,
    key: SigningKey,
}

impl Image {
    fn new() -> Self {
        let (dir, key) = (tempfile::tempdir().unwrap(), key());
        let image = dir.path().join("image");
        fs::create_dir_all(image.join("pxe")).unwrap();
        fs::write(image.join("centos7.ks"), "install\n").unwrap();
        fs::write(image.join("pxe/boot.ipxe"), "#!ipxe\n").unwrap();
        fs::write(image.join(OVERLAY), overlay(&key.public(), &[])).unwrap();
        let file = |name: &str| FileDigest {
            name: name.to_owned(),
            size: 1,
            sha256: Sha256::of(name.as_bytes()),
        };
        let inputs = ManifestInputs {
            recipe: file("three-node.toml"),
            etcd: "3.6.14".parse().unwrap(),
            trust: key.public(),
            inputs: vec![file("firstboot"), file("etcd.tar.gz")],
            packed: None,
            overlay: read_overlay(&image.join(OVERLAY), |_, _| false)
                .unwrap()
                .entries,
        };
        write(&image, inputs, Some(&key)).unwrap();
        Self { dir, key }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("image").join(name)
    }

    fn verify(&self) -> Report {
        verify(self.dir.path(), None).unwrap()
    }

    /// Returns the paths of the problems that the verification finds after a change.
    fn after(change: impl FnOnce(&Self)) -> Vec<String> {
        let image = Self::new();
        change(&image);
        let report = image.verify();
        println!("{report}");
        report
            .problems
            .iter()
            .map(|problem| problem.path.clone())
            .collect()
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_image_as_it_was_built_is_verified() {
    let image = Image::new();
    let report = image.verify();
    assert!(report.is_good(), "{report}");
    assert_eq!((report.files, report.overlay), (6, 4));
    assert_eq!(
        report.signature,
        SignatureState::OwnKey {
            key: image.key.public().id()
        }
    );
    let report = verify(&image.dir.path().join("image"), Some(&image.key.public())).unwrap();
    assert_eq!(
        report.signature,
        SignatureState::Good {
            key: image.key.public().id()
        }
    );
    assert!(report.to_string().contains("verified: every digest"));
}

#[test]
fn the_release_next_to_an_image_must_be_signed_and_belong_to_the_image() {
    let image = Image::new();
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(image.file(MANIFEST)).unwrap()).unwrap();
    let base = recipes::ImageBase::default();
    let release =
        crate::image_release::document(&"etcd".parse().unwrap(), 7, &manifest, base.clone())
            .unwrap();
    let said = |release: &recipes::ReleaseDocument, key: &SigningKey| {
        let path = image.dir.path().join("release.json");
        let _ = fs::remove_file(&path);
        crate::image_release::write(image.dir.path(), release, key).unwrap();
        image
            .verify()
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(said(&release, &image.key).is_empty());
    let other = Manifest {
        etcd: "3.6.15".parse().unwrap(),
        ..manifest
    };
    let other = crate::image_release::document(&"etcd".parse().unwrap(), 7, &other, base).unwrap();
    assert_eq!(
        said(&other, &image.key),
        ["release.json: it is the release of another image, with serial 7"]
    );
    let unknown = said(&release, &key());
    assert!(
        unknown.len() == 1 && unknown[0].contains("this image trusts"),
        "{unknown:?}"
    );
}

#[test]
fn sha256sum_accepts_the_list_of_digests() {
    let image = Image::new();
    let command = Command::new("sha256sum")
        .args(["-c", "--strict", SUMS])
        .current_dir(image.file(""))
        .output();
    match command {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout)
                    .matches(": OK")
                    .count(),
                5
            );
        }
        Err(error) => eprintln!("SKIPPED: sha256sum is not available ({error})"),
    }
}

#[test]
fn the_same_image_has_the_same_manifest() {
    let image = Image::new();
    let read = |name: &str| fs::read(image.file(name)).unwrap();
    let before = [MANIFEST, SIGNATURE, SUMS].map(read);
    let manifest: Manifest = serde_json::from_slice(&before[0]).unwrap();
    assert_eq!(manifest.inputs[0].name, "etcd.tar.gz");
    for name in [MANIFEST, SIGNATURE, SUMS] {
        fs::remove_file(image.file(name)).unwrap();
    }
    let mut overlay = manifest.overlay.clone();
    overlay.reverse();
    let inputs = ManifestInputs {
        recipe: manifest.recipe,
        etcd: manifest.etcd,
        trust: image.key.public(),
        inputs: manifest.inputs.into_iter().rev().collect(),
        packed: None,
        overlay,
    };
    write(&image.file(""), inputs, Some(&image.key)).unwrap();
    assert!(before == [MANIFEST, SIGNATURE, SUMS].map(read));
    assert!(!String::from_utf8_lossy(&before[0]).contains(image.dir.path().to_str().unwrap()));
}

#[test]
fn each_changed_file_is_named() {
    assert_eq!(
        Image::after(|image| flip(&image.file("centos7.ks"), 0)),
        ["centos7.ks"]
    );
    assert_eq!(
        Image::after(|image| fs::remove_file(image.file("pxe/boot.ipxe")).unwrap()),
        ["pxe/boot.ipxe"]
    );
    let image = Image::new();
    fs::write(image.file("extra"), "").unwrap();
    assert!(
        image
            .verify()
            .to_string()
            .contains("extra: it is not in SHA256SUMS")
    );
    assert_eq!(
        Image::after(|image| fs::remove_file(image.file(SUMS)).unwrap()),
        [SUMS]
    );
    assert_eq!(
        Image::after(|image| fs::write(image.file(SUMS), "no digest").unwrap()),
        [SUMS]
    );
    let found = Image::after(|image| {
        let bytes = fs::read(image.file(OVERLAY)).unwrap();
        fs::write(image.file(OVERLAY), &bytes[..bytes.len() - 20]).unwrap();
    });
    assert_eq!(
        found,
        [OVERLAY, OVERLAY],
        "one problem for the digest, and one for the incomplete archive"
    );
    assert_eq!(
        Image::after(|image| flip(&image.file(MANIFEST), 0)),
        [MANIFEST, MANIFEST, SIGNATURE]
    );
    // Only the version of the builder changes, so that the file is still a manifest.
    let found = Image::after(|image| {
        let text = fs::read_to_string(image.file(MANIFEST)).unwrap();
        fs::write(
            image.file(MANIFEST),
            text.replace("\"builder\": \"", "\"builder\": \"9"),
        )
        .unwrap();
    });
    assert_eq!(found, [MANIFEST, SIGNATURE]);
}

#[test]
fn a_problem_shows_the_expected_and_the_found_value() {
    let image = Image::new();
    flip(&image.file("centos7.ks"), 0);
    let problem = image.verify().problems.remove(0);
    assert_eq!(
        problem.expected.unwrap(),
        Sha256::of(b"install\n").to_string()
    );
    assert_eq!(problem.found.unwrap(), Sha256::of(b"hnstall\n").to_string());
}

#[test]
fn a_signature_by_another_key_fails_without_a_problem_in_any_file() {
    let image = Image::new();
    let given = key().public();
    let report = verify(image.dir.path(), Some(&given)).unwrap();
    assert!(
        matches!(&report.signature, SignatureState::OtherKey { key, given: id } if *id == given.id() && key != id)
    );
    assert!(report.problems.is_empty() && !report.is_good(), "{report}");
    assert!(
        report
            .to_string()
            .contains(&format!("not with the given key {}", given.id())),
        "{report}"
    );
}

#[test]
fn a_node_document_that_a_node_would_refuse_and_a_missing_release_are_named() {
    let image = Image::new();
    let folder = image.dir.path().join("nodes/etcd-1");
    fs::create_dir_all(&folder).unwrap();
    let envelope = key().sign(recipes::node::NODE_TYPE, b"{}");
    fs::write(
        folder.join("node.json"),
        serde_json::to_vec(&envelope).unwrap(),
    )
    .unwrap();
    let report = image.verify();
    assert_eq!(report.nodes, 1);
    let paths: Vec<_> = report
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(paths, ["release.json", "nodes/etcd-1/node.json"]);
    assert!(report.problems[0].what.contains("is missing"), "{report}");
    assert!(report.problems[1].what.contains("trusts"), "{report}");
}

#[test]
fn a_folder_without_an_image_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("builder build --out"), "{error}");
}
