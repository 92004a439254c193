//! Searches for private keys in everything that a system wrote. The search finds a key as PEM, as
//! DER in base64 or hexadecimal, as raw bytes, and as PEM inside other base64, such as the payload
//! of a document.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::process;

/// The bytes before the secret of an EC key in DER (RFC 5915): version 1, and an octet string of 32
/// bytes.
const BEFORE_SECRET: [u8; 5] = [2, 1, 1, 4, 32];

/// The private keys to search for, each in all its forms.
#[derive(Debug, Default)]
pub struct PrivateKeys {
    patterns: Vec<Vec<u8>>,
    count: usize,
}

impl PrivateKeys {
    /// Adds all private keys in a PEM string.
    pub fn add(&mut self, pem: &str) -> Result<()> {
        for block in pem.split("-----BEGIN").skip(1) {
            let body: Vec<&str> = block.lines().skip(1).collect();
            let end = body.iter().position(|line| line.starts_with("-----END"));
            let body = &body[..end.context("a key in PEM has no end line")?];
            let der = STANDARD.decode(body.concat())?;
            let at = der
                .windows(5)
                .position(|part| part == BEFORE_SECRET)
                .context("the key is not an EC key")?;
            let secret = &der[at + 5..at + 37];
            // Search for the second line, because the first line begins with bytes that all keys
            // have in common.
            let line = body.get(1).context("a key in PEM is too short")?;
            self.add_forms(line, secret);
            self.count += 1;
        }
        Ok(())
    }

    fn add_forms(&mut self, line: &str, secret: &[u8]) {
        self.patterns.push(line.as_bytes().to_vec());
        self.patterns.extend(in_base64(line.as_bytes()));
        self.patterns.extend(in_base64(secret));
        let digits = |form: fn(&u8) -> String, between: &str| {
            let all: Vec<String> = secret[..16].iter().map(form).collect();
            all.join(between).into_bytes()
        };
        self.patterns.push(digits(|byte| format!("{byte:02x}"), ""));
        self.patterns.push(digits(|byte| format!("{byte:02X}"), ""));
        self.patterns
            .push(digits(|byte| format!("{byte:02x}"), ":"));
        // Each pattern for grep is a line, so it must not contain a line break.
        let raw = secret.split(|byte| matches!(byte, 0 | b'\n'));
        self.patterns
            .extend(raw.max_by_key(|part| part.len()).map(<[u8]>::to_vec));
    }

    /// Returns the number of keys.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the files below these folders that contain one of the keys in any form. Skips
    /// special files. `scratch` must be outside the searched folders.
    pub fn search(&self, folders: &[PathBuf], scratch: &Path) -> Result<Vec<String>> {
        let patterns = scratch.join("patterns");
        fs::write(&patterns, self.patterns.join(&b'\n'))?;
        let mut grep = std::process::Command::new("grep");
        grep.args(["-rlaF", "-D", "skip", "-f"]).arg(&patterns);
        grep.args(folders).env("LC_ALL", "C");
        let ran = process::run(&mut grep);
        fs::remove_file(&patterns)?;
        let ran = ran?;
        ensure!(ran.code() < 2, "{}: {}", ran.command, ran.stderr);
        Ok(ran.stdout.lines().map(str::to_owned).collect())
    }
}

/// Returns the base64 text of the bytes inside a longer base64 text, for each of the three possible
/// positions and for both alphabets.
fn in_base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for shift in 0..3 {
        let shifted = [vec![0; shift], bytes.to_vec()].concat();
        for engine in [STANDARD, URL_SAFE] {
            let text = engine.encode(&shifted).into_bytes();
            // Omit the characters at both ends, because they depend on the neighbouring bytes.
            all.push(text[4..text.len() - 4].to_vec());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes before the secret of every P-256 key in PKCS #8, in base64.
    const HEAD: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";

    /// Returns a key with this secret, in PEM and in DER.
    fn key(secret: [u8; 32]) -> (String, Vec<u8>) {
        let mut der = STANDARD.decode(HEAD).unwrap();
        der.extend(secret);
        der.extend([0xa1, 0x44, 3, 0x42, 0, 4]);
        der.extend([7; 64]);
        let body = STANDARD.encode(&der);
        let lines: Vec<&str> = [&body[..64], &body[64..128], &body[128..]].to_vec();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        (pem, der)
    }

    #[test]
    fn a_key_is_found_in_each_form_and_nothing_else_is() {
        let mut secret = [0; 32];
        for (at, byte) in (0_u8..).zip(&mut secret) {
            *byte = at.wrapping_mul(37) ^ 0xa5;
        }
        let (pem, der) = key(secret);
        let mut keys = PrivateKeys::default();
        keys.add(&pem).unwrap();
        assert_eq!(keys.count(), 1);
        let hex = |bytes: &[u8], between: &str| {
            let all: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            all.join(between)
        };
        let document = format!("{{\"key\": {pem:?}}}");
        let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let found = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let places = keys.search(&[folder.path().to_owned()], scratch.path());
            fs::remove_file(&path).unwrap();
            !places.unwrap().is_empty()
        };
        for (name, content) in [
            ("pem", pem.clone().into_bytes()),
            ("json", document.clone().into_bytes()),
            ("payload", STANDARD.encode(&document).into_bytes()),
            (
                "payload-url",
                URL_SAFE.encode(format!("x{document}")).into_bytes(),
            ),
            ("der-base64", STANDARD.encode(&der).into_bytes()),
            (
                "der-base64-2",
                STANDARD.encode([&[0], &*der].concat()).into_bytes(),
            ),
            ("der-hex", hex(&der, "").into_bytes()),
            ("der-HEX", hex(&der, "").to_uppercase().into_bytes()),
            ("openssl", hex(&secret[..16], ":").into_bytes()),
            ("der", der.clone()),
        ] {
            assert!(found(name, &content), "{name}");
        }
        let (other, other_der) = key([0x5a; 32]);
        assert!(!found("other", other.as_bytes()) && !found("other-der", &other_der));
    }
}
