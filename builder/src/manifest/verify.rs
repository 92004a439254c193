//! `builder verify`: re-verifies every digest. One pass computes the digests of the image's files,
//! and later steps compare these digests.

mod compare;

use std::fs;
use std::path::Path;

use recipes::node::{IDENTITY_TYPE, NODE_TYPE};
use recipes::{Envelope, EnvelopeError, NodeDocument, NodeIdentity, PublicKey};

use self::compare::{against_outputs, against_overlay, against_sums};
use super::error::ManifestError;
use super::files::{self, Listing};
use super::format::{
    FileDigest, MANIFEST, MANIFEST_TYPE, Manifest, OVERLAY, SIGNATURE, SUMS, json,
};
use super::open;
use super::overlay::{self, OverlayContents, TRUST, TRUST_LIMIT};
use super::release;
use super::report::{Problem, Report, SignatureState};
use crate::nodes;

/// Verifies an output folder, or only its `image/`. The verification covers `SHA256SUMS`, the
/// manifest, everything inside the overlay, the signature, the release and the node documents. The
/// image must be signed by `key`. Without `key`, the signature is checked with the key in the
/// overlay, which proves only that the image is consistent.
///
/// The report contains the problems of an image. An error means that the image could not be
/// verified, for example because a file could not be read.
pub(crate) fn verify(dir: &Path, key: Option<&PublicKey>) -> Result<Report, ManifestError> {
    let image = open::folder(dir)?;
    let Listing {
        files: found,
        strange,
    } = files::list(&image, None)?;
    let mut problems: Vec<_> = strange
        .into_iter()
        .map(|(name, what)| Problem::new(name, what))
        .collect();
    let bytes = read(&image, MANIFEST)?;
    let manifest = serde_json::from_slice::<Manifest>(&bytes);
    let overlay = read_overlay(&image);
    let entries = against_manifest(&manifest, &found, overlay.as_ref(), &mut problems);
    let own = overlay_key(overlay, manifest.as_ref().ok(), &mut problems)?;
    let envelope = found
        .iter()
        .any(|file| file.name == SIGNATURE)
        .then(|| read(&image, SIGNATURE))
        .transpose()?;
    let signature = signature(
        envelope.as_deref(),
        &bytes,
        key,
        own.as_ref(),
        &mut problems,
    );
    let signed = is_signed_as_written(&signature, envelope.as_deref(), &image);
    let from_sums = against_listed_sums(&image, &found, manifest.as_ref().ok(), signed)?;
    problems.splice(0..0, from_sums);
    let trusted = if matches!(signature, SignatureState::OtherKey { .. }) {
        own.as_ref()
    } else {
        key.or(own.as_ref())
    };
    if let (Ok(manifest), true) = (&manifest, image != dir) {
        problems.extend(release::check(dir, trusted, manifest)?);
    }
    let nodes = if image == dir {
        0
    } else {
        documents(&dir.join("nodes"), trusted, &mut problems)?
    };
    dedup(&mut problems);
    Ok(Report {
        image,
        files: found.len(),
        overlay: entries,
        nodes,
        signature,
        problems,
    })
}

/// Reads a file of the image.
fn read(image: &Path, name: &str) -> Result<Vec<u8>, ManifestError> {
    let path = image.join(name);
    fs::read(&path).map_err(ManifestError::io("read it", &path))
}

/// Reads the overlay, if the image has one.
fn read_overlay(image: &Path) -> Option<Result<OverlayContents, ManifestError>> {
    let keep = |name: &str, size| name == TRUST && size <= TRUST_LIMIT;
    image
        .join(OVERLAY)
        .is_file()
        .then(|| overlay::read(&image.join(OVERLAY), keep))
}

/// Compares the image's files and the overlay's entries with the manifest. Returns the number of
/// compared entries of the overlay.
fn against_manifest(
    manifest: &serde_json::Result<Manifest>,
    found: &[FileDigest],
    overlay: Option<&Result<OverlayContents, ManifestError>>,
    problems: &mut Vec<Problem>,
) -> usize {
    let mut entries = 0;
    match manifest {
        Err(error) => {
            problems.push(Problem::new(
                MANIFEST,
                format!("it is not a manifest that this builder can read ({error})"),
            ));
        }
        Ok(manifest) => {
            problems.extend(against_outputs(&manifest.outputs, found));
            if let Some(Ok(overlay)) = overlay {
                entries = overlay.entries.len();
                problems.extend(against_overlay(&manifest.overlay, &overlay.entries));
            }
        }
    }
    entries
}

/// Returns the key in the overlay. Reports a problem if the overlay is broken, or if the manifest
/// names a different key.
fn overlay_key(
    overlay: Option<Result<OverlayContents, ManifestError>>,
    manifest: Option<&Manifest>,
    problems: &mut Vec<Problem>,
) -> Result<Option<PublicKey>, ManifestError> {
    let mut own = None;
    match overlay {
        Some(Err(ManifestError::Wrong { found, .. })) => {
            problems.push(Problem::new(OVERLAY, found));
        }
        Some(Err(error)) => return Err(error),
        Some(Ok(overlay)) => {
            own = overlay
                .contents
                .get(TRUST)
                .and_then(|text| String::from_utf8_lossy(text).parse::<PublicKey>().ok());
        }
        // The manifest lists the overlay, so the absence of the overlay is already reported.
        None => {}
    }
    if let (Some(manifest), Some(own)) = (manifest, &own)
        && manifest.trust != own.id()
    {
        let what = "the image trusts a different key than its manifest states";
        problems.push(Problem::differs(MANIFEST, what, &own.id(), &manifest.trust));
    }
    Ok(own)
}

/// Compares the image's files with `SHA256SUMS`. A file can differ from `SHA256SUMS` although the
/// manifest or its signature confirms the file's digest. For such a file, the returned problem
/// names `SHA256SUMS` and not the file.
fn against_listed_sums(
    image: &Path,
    found: &[FileDigest],
    manifest: Option<&Manifest>,
    signed: bool,
) -> Result<Vec<Problem>, ManifestError> {
    let mut from_sums = if found.iter().any(|file| file.name == SUMS) {
        against_sums(&read(image, SUMS)?, found)
    } else {
        vec![Problem::new(SUMS, "it is missing")]
    };
    for problem in from_sums.iter_mut().filter(|problem| problem.path != SUMS) {
        if manifest.is_some_and(|manifest| is_fault_of_sums(&problem.path, manifest, signed, found))
        {
            *problem = Problem::new(
                SUMS,
                format!(
                    "its line for `{}` is wrong or missing",
                    problem.path.escape_debug()
                ),
            );
        }
    }
    Ok(from_sums)
}

/// Returns whether the manifest's signature is valid, and the signature's file contains exactly the
/// bytes that the builder writes for this signature. The signature does not cover the white space
/// in its own file.
fn is_signed_as_written(signature: &SignatureState, envelope: Option<&[u8]>, image: &Path) -> bool {
    let as_written = || {
        let envelope = serde_json::from_slice::<Envelope>(envelope?).ok()?;
        json(&envelope, image).ok()
    };
    !matches!(
        signature,
        SignatureState::Unsigned | SignatureState::Bad | SignatureState::NoKey
    ) && as_written().as_deref() == envelope
}

/// Removes duplicate problems, because a file that differs from both `SHA256SUMS` and the manifest
/// is reported twice.
fn dedup(problems: &mut Vec<Problem>) {
    let mut seen = Vec::new();
    problems.retain(|problem| {
        let new = !seen.contains(problem);
        seen.push(problem.clone());
        new
    });
}

/// Decides whether a file or its line in `SHA256SUMS` is wrong. Returns true if the line is wrong,
/// that is, if the manifest or its signature confirms the file.
fn is_fault_of_sums(name: &str, manifest: &Manifest, signed: bool, found: &[FileDigest]) -> bool {
    if name == MANIFEST || name == SIGNATURE {
        return signed;
    }
    let of = |files: &[FileDigest]| files.iter().find(|file| file.name == name).cloned();
    // If both the manifest and the image lack the file, both sides are `None` and therefore equal.
    of(&manifest.outputs) == of(found)
}

fn signature(
    envelope: Option<&[u8]>,
    manifest: &[u8],
    given: Option<&PublicKey>,
    own: Option<&PublicKey>,
    problems: &mut Vec<Problem>,
) -> SignatureState {
    let Some(envelope) = envelope else {
        // A caller that passes a key requires a signature by that key.
        if let Some(key) = given {
            let what = format!("it is missing; expected a signature by {}", key.id());
            problems.push(Problem::new(SIGNATURE, what));
        }
        return SignatureState::Unsigned;
    };
    let Some(key) = given.or(own) else {
        return SignatureState::NoKey;
    };
    let envelope = match serde_json::from_slice::<Envelope>(envelope) {
        Ok(envelope) => envelope,
        Err(error) => {
            problems.push(Problem::new(
                SIGNATURE,
                format!("it is not a signature ({error})"),
            ));
            return SignatureState::Bad;
        }
    };
    let opened = envelope.open(MANIFEST_TYPE, key);
    // If the image's own key signed this manifest, the manifest has not changed since then, and the
    // user must decide whether to trust that key.
    if let (Err(EnvelopeError::Untrusted { .. }), Some(own)) = (&opened, own)
        && envelope
            .open(MANIFEST_TYPE, own)
            .is_ok_and(|payload| payload == manifest)
    {
        return SignatureState::OtherKey {
            key: own.id(),
            given: key.id(),
        };
    }
    let why = match opened {
        Ok(payload) if payload == manifest => {
            let id = key.id();
            return if given.is_some() {
                SignatureState::Good { key: id }
            } else {
                SignatureState::OwnKey { key: id }
            };
        }
        Ok(_) => "it signs a different manifest, not manifest.json".to_owned(),
        Err(error) => error.to_string(),
    };
    problems.push(Problem::new(SIGNATURE, why));
    SignatureState::Bad
}

/// Checks that each node's document is signed by `key`, and that the node's other files match the
/// document. A node refuses a document that another key signed. Returns the number of nodes.
fn documents(
    folder: &Path,
    key: Option<&PublicKey>,
    problems: &mut Vec<Problem>,
) -> Result<usize, ManifestError> {
    let Some(key) = key.filter(|_| folder.is_dir()) else {
        return Ok(0);
    };
    let entries = fs::read_dir(folder).map_err(ManifestError::io("list it", folder))?;
    let names: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    let mut names = names.map_err(ManifestError::io("list it", folder))?;
    names.sort();
    for name in &names {
        let name = name.to_string_lossy();
        let read = |file: &str| {
            fs::read(folder.join(&*name).join(file)).map_err(|error| error.to_string())
        };
        let mut add = |file: &str, why: String| {
            problems.push(Problem::new(format!("nodes/{name}/{file}"), why));
        };
        if let Ok(bytes) = read(nodes::IDENTITY) {
            if let Err(why) = identity(&bytes, key, &name) {
                add(nodes::IDENTITY, why);
            }
            continue;
        }
        match read("node.json").and_then(|bytes| node(bytes, key, &name)) {
            // The node's other files are derived from the document.
            Ok(expected) => {
                for (file, bytes) in expected {
                    match read(file) {
                        Ok(found) if found == bytes => {}
                        Ok(_) => add(file, "it does not match node.json".to_owned()),
                        Err(why) => add(file, why),
                    }
                }
            }
            Err(why) => add("node.json", why),
        }
    }
    Ok(names.len())
}

/// Checks the file of a node that is not enrolled yet.
fn identity(bytes: &[u8], key: &PublicKey, name: &str) -> Result<(), String> {
    let envelope: Envelope = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is not a signed document ({error})"))?;
    let payload = envelope
        .open(IDENTITY_TYPE, key)
        .map_err(|error| error.to_string())?;
    let identity: NodeIdentity = serde_json::from_slice(&payload)
        .map_err(|error| format!("it is not the identity of a node ({error})"))?;
    if identity.name.as_str() != name {
        return Err(format!("it is the identity of `{}`", identity.name));
    }
    Ok(())
}

/// Checks a node's document, and returns the files that are derived from the document.
fn node(
    bytes: Vec<u8>,
    key: &PublicKey,
    name: &str,
) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let envelope: Envelope = serde_json::from_slice(&bytes)
        .map_err(|error| format!("it is not a signed document ({error})"))?;
    let payload = envelope
        .open(NODE_TYPE, key)
        .map_err(|error| error.to_string())?;
    let document: NodeDocument = serde_json::from_slice(&payload)
        .map_err(|error| format!("it is not a node document ({error})"))?;
    if document.name.as_str() != name {
        return Err(format!("it is the document of `{}`", document.name));
    }
    nodes::files_of_signed(&document, &payload, bytes).map_err(|error| error.to_string())
}
