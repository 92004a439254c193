//! Tests that `builder verify` and `builder pki show` name everything that has changed since the
//! build.

use std::fs::{self, File, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process::{self, Output};
use tests::{etcd, programs};

use crate::fixtures::{Fixture, builder, check_output, flip, names, snapshot};
use crate::secrets::unpacked;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("verify_names_each_file_that_differs", &[], files),
        trial("verify_checks_the_contents_of_the_overlay", &[], overlay),
        trial("verify_checks_the_signer", &[], signature),
        trial("verify_names_a_nodes_file_that_differs", &[], nodes),
        trial(
            "a_closed_pipe_does_not_change_the_exit_code",
            &[],
            reader_gone,
        ),
        trial("pki_show_names_every_problem", &[], pki),
    ]
}

fn built() -> Result<Fixture> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    good(&workshop)?;
    Ok(workshop)
}

fn verify(workshop: &Fixture) -> Result<Output> {
    builder(&["verify"], &workshop.out())
}

fn good(workshop: &Fixture) -> Result<()> {
    check_output(
        &verify(workshop)?,
        0,
        &[
            "verified: every digest matches the manifest",
            "signature  good",
        ],
    )
}

/// Verifies a changed output. Checks the exit code, and that a line starts with the name of the
/// changed file.
fn differs(workshop: &Fixture, name: &str) -> Result<()> {
    let ran = verify(workshop)?;
    check_output(&ran, 4, &["NOT verified", "differs from what was built"])
        .with_context(|| name.to_owned())?;
    let line = ran
        .stdout
        .lines()
        .any(|line| line.starts_with(&format!("{name}: ")));
    ensure!(line, "{name} is not named:\n{}", ran.stdout);
    Ok(())
}

fn files() -> Result<()> {
    let workshop = built()?;
    let image = workshop.out().join("image");
    for name in names(&image)? {
        let path = image.join(&name);
        let bytes = fs::read(&path)?;
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            flip(&path, at)?;
            differs(&workshop, &name).with_context(|| format!("byte {at} of {name}"))?;
            fs::write(&path, &bytes)?;
        }
        fs::write(&path, &bytes[..bytes.len() - 1])?;
        differs(&workshop, &name)?;
        // A folder without its manifest is not an image, so the message differs.
        fs::remove_file(&path)?;
        if name == "manifest.json" {
            check_output(
                &verify(&workshop)?,
                1,
                &["neither image/manifest.json", "builder build --out"],
            )?;
        } else {
            // An image from an earlier version of the builder may be unsigned, but the list of
            // digests shows that this image was signed.
            differs(&workshop, &name)?;
        }
        fs::write(&path, &bytes)?;
    }
    fs::write(image.join("extra"), "")?;
    differs(&workshop, "extra")?;
    fs::remove_file(image.join("extra"))?;
    symlink("centos7.ks", image.join("ks"))?;
    differs(&workshop, "ks")?;
    fs::remove_file(image.join("ks"))?;
    // If several files differ, the report names all of them.
    for name in ["centos7.ks", "overlay.tar.gz"] {
        flip(&image.join(name), 20)?;
    }
    for name in ["centos7.ks", "overlay.tar.gz"] {
        differs(&workshop, name)?;
    }
    check_output(
        &builder(&["verify"], Path::new("/no/such/folder"))?,
        1,
        &["/no/such/folder", "builder build --out"],
    )
}

/// Packs a tar stream as the overlay.
fn pack(image: &Path, tar: &[u8]) -> Result<()> {
    let mut gzip = GzEncoder::new(
        File::create(image.join("overlay.tar.gz"))?,
        Compression::fast(),
    );
    gzip.write_all(tar)?;
    gzip.finish()?;
    Ok(())
}

/// Returns the positions of an entry's header and of its content in a tar stream.
fn entry(tar: &[u8], path: &str) -> Result<(usize, usize)> {
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path_bytes().as_ref() == path.as_bytes() {
            return Ok((
                usize::try_from(entry.raw_header_position())?,
                usize::try_from(entry.raw_file_position())?,
            ));
        }
    }
    anyhow::bail!("the overlay does not contain {path}")
}

fn overlay() -> Result<()> {
    let workshop = built()?;
    let image = workshop.out().join("image");
    let tar = unpacked(&image.join("overlay.tar.gz"))?;
    for path in ["etc/fstab", "usr/local/bin/etcd", "etc/firstboot/trust.pub"] {
        let mut changed = tar.clone();
        changed[entry(&tar, path)?.1 + 5] ^= 1;
        pack(&image, &changed)?;
        differs(&workshop, &format!("overlay.tar.gz: {path}"))?;
    }
    // Give the entry first a different mode and then a different owner, and correct the header's
    // checksum each time.
    for (place, what) in [(100, "its mode differs"), (108, "its owner differs")] {
        let mut changed = tar.clone();
        let (header, _) = entry(&tar, "etc/fstab")?;
        changed[header + place + 3] ^= 1;
        let block = &mut changed[header..header + 512];
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        pack(&image, &changed)?;
        differs(&workshop, "overlay.tar.gz: etc/fstab")?;
        check_output(&verify(&workshop)?, 4, &[what])?;
    }
    // Test an entry that tar would unpack elsewhere, a truncated stream, and a file without gzip.
    let mut changed = tar.clone();
    let (header, _) = entry(&tar, "etc/fstab")?;
    changed[header..header + 9].copy_from_slice(b"../etc/fs");
    pack(&image, &changed)?;
    differs(&workshop, "overlay.tar.gz")?;
    pack(&image, &tar[..tar.len() / 2])?;
    differs(&workshop, "overlay.tar.gz")?;
    fs::write(image.join("overlay.tar.gz"), "no gzip file at all")?;
    differs(&workshop, "overlay.tar.gz")
}

fn with_key(workshop: &Fixture, key: &Path) -> Result<Output> {
    let mut command = std::process::Command::new(programs::builder()?);
    process::run(
        command
            .arg("verify")
            .arg(workshop.out())
            .arg("--key")
            .arg(key),
    )
}

fn signature() -> Result<()> {
    let workshop = built()?;
    let other = Fixture::warm()?;
    other.built()?;
    check_output(
        &with_key(&workshop, &workshop.pki().join("signing.pub"))?,
        0,
        &["good, made with the given key"],
    )?;
    // The image is unchanged, so the report does not claim that any of its files differ.
    let ran = with_key(&workshop, &other.pki().join("signing.pub"))?;
    check_output(
        &ran,
        4,
        &[
            "not with the given key",
            "NOT verified",
            "is unchanged since the build, but it is signed by the key",
            "name the signing.pub of",
        ],
    )?;
    ensure!(
        !ran.stdout.contains("manifest.json.sig: ") && !ran.stdout.contains("nodes/"),
        "{}",
        ran.stdout
    );
    check_output(
        &with_key(&workshop, &workshop.pki().join("ca.crt"))?,
        1,
        &["ca.crt", "does not contain a key"],
    )?;
    check_output(
        &with_key(&workshop, Path::new("/no/key"))?,
        1,
        &["cannot read /no/key"],
    )?;

    needs_the_key(&workshop)
}

/// Checks that `builder verify` rejects an image after an attacker changed a file and its digests.
fn needs_the_key(workshop: &Fixture) -> Result<()> {
    let image = workshop.out().join("image");
    let replace = |name: &str, from: &str, to: &str| -> Result<()> {
        let text = fs::read_to_string(image.join(name))?;
        ensure!(text.contains(from), "no {from} in {name}");
        Ok(fs::write(image.join(name), text.replace(from, to))?)
    };
    let digest = |name: &str| etcd::sha256(&image.join(name));
    let (kickstart, manifest) = (digest("centos7.ks")?, digest("manifest.json")?);
    let mut file = File::options()
        .append(true)
        .open(image.join("centos7.ks"))?;
    let size = file.seek(SeekFrom::End(0))?;
    file.write_all(b"# and more\n")?;
    replace("manifest.json", &kickstart, &digest("centos7.ks")?)?;
    replace("manifest.json", &size.to_string(), &(size + 11).to_string())?;
    replace("SHA256SUMS", &kickstart, &digest("centos7.ks")?)?;
    replace("SHA256SUMS", &manifest, &digest("manifest.json")?)?;
    let ran = verify(workshop)?;
    let faults = [
        "manifest.json.sig: it signs a different manifest",
        "release.json: it is the release of another image",
    ];
    check_output(
        &ran,
        4,
        &[&faults[..], &["NOT verified: 2 problems"]].concat(),
    )?;
    // With `--key`, `builder verify` also detects that the signature was removed.
    let sig = digest("manifest.json.sig")?;
    fs::remove_file(image.join("manifest.json.sig"))?;
    replace("SHA256SUMS", &format!("{sig}  manifest.json.sig\n"), "")?;
    check_output(
        &with_key(workshop, &workshop.pki().join("signing.pub"))?,
        4,
        &["manifest.json.sig: it is missing"],
    )
}

fn nodes() -> Result<()> {
    let workshop = built()?;
    let node = workshop.out().join("nodes/etcd-2");
    for name in names(&node)? {
        let path = node.join(&name);
        let bytes = fs::read(&path)?;
        flip(&path, bytes.len() / 2)?;
        differs(&workshop, &format!("nodes/etcd-2/{name}"))?;
        fs::remove_file(&path)?;
        differs(&workshop, &format!("nodes/etcd-2/{name}"))?;
        fs::write(&path, &bytes)?;
        good(&workshop)?;
    }
    // Put a node's document into a different node's folder.
    fs::copy(
        workshop.out().join("nodes/etcd-1/node.json"),
        node.join("node.json"),
    )?;
    differs(&workshop, "nodes/etcd-2/node.json")?;
    check_output(&verify(&workshop)?, 4, &["it is the document of `etcd-1`"])
}

fn pki() -> Result<()> {
    let workshop = built()?;
    let pki = workshop.pki();
    let show = || builder(&["pki", "show"], &pki);
    check_output(
        &show()?,
        0,
        &[
            "ca.crt",
            "nodes/etcd-1/server.crt",
            "DNS:localhost",
            "IP:127.0.0.1",
            "clientAuth, serverAuth",
        ],
    )?;
    ensure!(!show()?.stdout.contains("PRIVATE KEY") && !show()?.stdout.contains("PROBLEM"));
    let ran = builder(&["pki", "show", "--json"], &pki)?;
    let list: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    ensure!(
        list.as_array().is_some_and(|list| list.len() == 10),
        "{list:#}"
    );

    let (cert, key) = (
        pki.join("nodes/etcd-1/server.crt"),
        pki.join("nodes/etcd-1/server.key"),
    );
    let good = (fs::read(&cert)?, fs::read(&key)?);
    let problem = |what: &str| -> Result<()> {
        check_output(&show()?, 4, &["PROBLEM: ", what, "with problems in"])?;
        fs::write(&cert, &good.0)?;
        fs::write(&key, &good.1)?;
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        check_output(&show()?, 0, &[])
    };
    fs::write(&cert, include_str!("expired.crt"))?;
    problem("it expired on 2021-01-01T00:00:00Z")?;
    fs::set_permissions(&key, Permissions::from_mode(0o640))?;
    problem("the mode of its key is 0640, which gives other users access; expected 0600")?;
    fs::copy(pki.join("nodes/etcd-2/server.key"), &key)?;
    problem("it does not match the private key in the same folder")?;
    fs::remove_file(&key)?;
    problem("its private key is missing")?;
    fs::write(&cert, "no certificate")?;
    problem("it contains no certificate")?;
    fs::write(&key, "no key")?;
    problem("its key is not a private key")?;

    next_build_renews(&workshop, &cert, &key)
}

/// Checks that the next build archives and replaces an expired certificate, and that a build stops
/// if other users can read a key.
fn next_build_renews(workshop: &Fixture, cert: &Path, key: &Path) -> Result<()> {
    let pki = workshop.pki();
    fs::write(cert, include_str!("expired.crt"))?;
    check_output(
        &workshop.build(&[])?,
        0,
        &["server.crt: replaced, because", "it expired on 2021-01-01"],
    )?;
    let aside = names(&pki.join("nodes/etcd-1"))?;
    ensure!(
        aside.iter().any(|name| name.starts_with("server.crt.old-")),
        "{aside:?}"
    );
    check_output(&builder(&["pki", "show"], &pki)?, 0, &[])?;
    let before = snapshot(&workshop.out())?;
    fs::set_permissions(key, Permissions::from_mode(0o604))?;
    check_output(
        &workshop.build(&[])?,
        1,
        &["server.key", "its mode is 0604", "chmod 600"],
    )?;
    ensure!(snapshot(&workshop.out())? == before);
    check_output(
        &builder(&["pki", "show", "--json"], Path::new("/no/pki"))?,
        1,
        &["{\"error\":{\"text\":", "/no/pki/ca.crt", "build --pki"],
    )
}

/// Closes the output early, as in `builder verify | head -1`: the reader exits before the whole
/// report has been written.
fn reader_gone() -> Result<()> {
    let workshop = built()?;
    flip(&workshop.out().join("image/centos7.ks"), 9)?;
    let script = "\"$0\" \"$@\" | true; exit ${PIPESTATUS[0]}";
    for (words, code) in [(vec!["verify"], 4), (vec!["verify", "--json"], 4)] {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", script])
            .arg(programs::builder()?)
            .args(words)
            .arg(workshop.out());
        check_output(
            &process::run(&mut bash)?,
            code,
            &["differs from what was built"],
        )?;
    }
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", script])
        .arg(programs::builder()?)
        .args(["pki", "show"])
        .arg(workshop.pki());
    check_output(&process::run(&mut bash)?, 0, &[])
}
