//! Tests that secrets stay secret, and that public files are public.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::read::MultiGzDecoder;
use libtest_mimic::Trial;
use tests::harness::trial;
use tests::process;

use crate::fixtures::{Fixture, is_a, snapshot};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("no_key_and_no_pem_secret_is_in_an_image", &[], no_secret),
        trial("only_the_owner_can_read_keys_under_any_umask", &[], modes),
    ]
}

/// Returns the whole tar stream of an overlay.
pub(crate) fn unpacked(overlay: &Path) -> Result<Vec<u8>> {
    let mut tar = Vec::new();
    MultiGzDecoder::new(File::open(overlay)?)
        .read_to_end(&mut tar)
        .context("the overlay is not a gzip file")?;
    Ok(tar)
}

fn has(text: &[u8], needle: &str) -> bool {
    text.windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

fn no_secret() -> Result<()> {
    let workshop = Fixture::warm()?;
    workshop.built()?;
    // The first line of each key's base64 is already unique, because the fixed head of PKCS #8
    // occupies at most 48 of the line's 64 characters.
    let keys: Vec<PathBuf> = snapshot(&workshop.pki())?
        .into_keys()
        .filter(|name| is_a(name, "key"))
        .map(|name| workshop.pki().join(name))
        .collect();
    ensure!(
        keys.len() == 11,
        "expected the CA's key, the signing key and three keys for each of three nodes: {keys:?}"
    );
    let mut needles = vec!["PRIVATE KEY".to_owned()];
    for key in &keys {
        let text = fs::read_to_string(key)?;
        let line = text
            .lines()
            .find(|line| !line.starts_with('-'))
            .context("the key is empty")?;
        needles.push(line.to_owned());
    }
    // Omit the programs, because they consist of noise, which contains no text and takes long to
    // search.
    let image = workshop.out().join("image");
    let mut texts = vec![(
        "the unpacked overlay".to_owned(),
        text_of(&unpacked(&image.join("overlay.tar.gz"))?),
    )];
    for name in [
        "centos7.ks",
        "manifest.json",
        "manifest.json.sig",
        "SHA256SUMS",
    ] {
        texts.push((name.to_owned(), fs::read(image.join(name))?));
    }
    ensure!(
        snapshot(&image)?.len() == texts.len(),
        "a file of the image is not searched"
    );
    for (name, text) in &texts {
        ensure!(
            text.len() > 200,
            "{name} is too short to be the expected file"
        );
        for needle in &needles {
            ensure!(!has(text, needle), "{name} contains {needle}");
        }
    }
    ensure!(
        has(&texts[0].1, "etc/firstboot/trust.pub"),
        "the search does not even find public text"
    );
    Ok(())
}

/// Returns a tar stream without the programs' noise, that is, only the blocks that can be text.
fn text_of(tar: &[u8]) -> Vec<u8> {
    tar.chunks(512)
        .filter(|block| block.iter().all(u8::is_ascii))
        .flatten()
        .copied()
        .collect()
}

fn modes() -> Result<()> {
    for umask in ["000", "077"] {
        let workshop = Fixture::warm()?;
        let command = workshop.command()?;
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
        process::run(shell.arg(command.get_program()).args(command.get_args()))?.ok()?;
        for (name, (mode, content)) in snapshot(&workshop.out())? {
            let folder = content.is_none();
            let expected = match (name.starts_with("nodes"), folder) {
                (true, true) => 0o700,
                (true, false) => 0o600,
                (false, true) => 0o755,
                (false, false) => 0o644,
            };
            ensure!(
                mode == expected,
                "umask {umask}: out/{name} has the mode {mode:04o}, expected {expected:04o}"
            );
        }
        for (name, (mode, content)) in snapshot(&workshop.path("pki"))? {
            let secret = is_a(&name, "key")
                || name.ends_with("/.lock")
                || name.ends_with("/contents-digest")
                || name.starts_with("pki.state/");
            let expected = match (content.is_none(), secret) {
                (true, _) => 0o700,
                (false, true) => 0o600,
                (false, false) => 0o644,
            };
            ensure!(
                mode == expected,
                "umask {umask}: {name} has the mode {mode:04o}, expected {expected:04o}"
            );
        }
        for (name, (mode, content)) in snapshot(&workshop.path("cache"))? {
            let own = if content.is_none() { mode & 0o022 } else { 0 };
            ensure!(
                own == 0,
                "umask {umask}: other users can write to {name} ({mode:04o})"
            );
        }
    }
    Ok(())
}
