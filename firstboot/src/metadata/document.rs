//! Parses a node document from a source. firstboot verifies the document afterwards.

use std::borrow::Cow;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::{alphabet, engine::DecodePaddingMode};
use recipes::Envelope;

use crate::files;

/// The size limit in bytes for a document and for a server's answer. A node document is about 10 KB
/// long.
pub(super) const LIMIT: u64 = 1 << 20;

/// The first bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// The base64 decoder. The decoder does not require padding, because some tools omit the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug)]
pub(crate) struct FoundDocument {
    /// The location of the document, as messages name it.
    pub(crate) origin: String,
    /// The signed document, whose signature has not been verified yet.
    pub(crate) envelope: Envelope,
}

impl FoundDocument {
    /// Returns the document in a file, or `None` if there is no such file.
    pub(crate) fn in_file(path: &Path) -> Result<Option<Self>> {
        if !files::exists(path)? {
            return Ok(None);
        }
        Self::parse(
            path.display().to_string(),
            &files::read_bounded(path, LIMIT)?,
        )
        .map(Some)
    }

    pub(crate) fn parse(origin: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let origin = origin.into();
        let parse = || -> Result<Envelope> { Ok(serde_json::from_slice(&plain(bytes)?)?) };
        let envelope = parse().with_context(|| {
            format!("{origin} is not a node document: expected the node.json (or user-data) that `builder build` wrote")
        })?;
        Ok(Self { origin, envelope })
    }

    /// Returns whether the other document has the same content. Compares only the signed payload,
    /// because different envelopes can contain the same payload.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.envelope.payload == other.envelope.payload
    }
}

/// Extracts the JSON from user data. Tools that upload user data may encode it in base64, compress
/// it, or do both.
fn plain(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    let text = bytes.trim_ascii();
    if text.starts_with(b"{") {
        return Ok(text.into());
    }
    if bytes.starts_with(&GZIP) {
        return gunzip(bytes).map(Cow::from);
    }
    let compact: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    match BASE64.decode(compact) {
        Ok(decoded) if decoded.starts_with(&GZIP) => gunzip(&decoded).map(Cow::from),
        Ok(decoded) if decoded.trim_ascii_start().starts_with(b"{") => Ok(decoded.into()),
        _ => Ok(bytes.into()),
    }
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(bytes).take(LIMIT + 1);
    reader
        .read_to_end(&mut plain)
        .context("its gzip data is damaged")?;
    ensure!(
        plain.len() as u64 <= LIMIT,
        "it has more than {LIMIT} bytes after decompression"
    );
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    const DOCUMENT: &str =
        r#"{"payloadType":"t","payload":"e30=","signatures":[{"keyid":"k","sig":"c2ln"}]}"#;

    #[test]
    fn a_document_is_found_in_each_encoding() {
        let bytes = DOCUMENT.as_bytes();
        let wrapped: String = STANDARD
            .encode(bytes)
            .as_bytes()
            .chunks(20)
            .map(|line| String::from_utf8_lossy(line) + "\n")
            .collect();
        let encodings = [
            bytes.to_vec(),
            format!("\n {DOCUMENT}\n").into_bytes(),
            STANDARD.encode(bytes).into_bytes(),
            STANDARD_NO_PAD.encode(bytes).into_bytes(),
            wrapped.into_bytes(),
            gzip(bytes),
            STANDARD.encode(gzip(bytes)).into_bytes(),
        ];
        for encoded in encodings {
            let found = FoundDocument::parse("here", &encoded).unwrap();
            assert!(found.agrees_with(&FoundDocument::parse("there", bytes).unwrap()));
        }
    }

    #[test]
    fn an_invalid_document_is_reported_with_its_place() {
        let bomb = gzip(&vec![b' '; 3 << 20]);
        for bytes in [
            "#cloud-config\n".as_bytes(),
            b"",
            b"{}",
            b"\x1f\x8b damaged",
            &bomb,
        ] {
            let error = format!(
                "{:#}",
                FoundDocument::parse("the user data of ec2", bytes).unwrap_err()
            );
            assert!(
                error.starts_with("the user data of ec2 is not a node document"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_user_data_causes_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            prefix in prop::sample::select(vec![&b""[..], b"{", b"\x1f\x8b\x08\0", b"H4sI"]),
        ) {
            let _ = FoundDocument::parse("here", &[prefix, &bytes].concat());
        }
    }
}
