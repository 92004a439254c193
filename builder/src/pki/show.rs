//! `builder pki show`: lists the certificates of a folder's authority and nodes, with their
//! problems. The command never shows a private key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use recipes::Sha256;
use serde::Serialize;
use time::OffsetDateTime;

use super::certificate::{Certificate, chains, public_half, utc};
use super::{PkiError, public_keys, store};

/// A certificate, in the form that the command prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CertInfo {
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub path: PathBuf,
    pub subject: String,
    pub issuer: String,
    /// The names and addresses that the certificate covers.
    pub sans: Vec<String>,
    /// The purposes for which the certificate is valid.
    pub ekus: Vec<String>,
    /// The start of the validity, in the format of RFC 3339.
    pub not_before: String,
    /// The end of the validity, in the format of RFC 3339.
    pub not_after: String,
    /// The number of whole days until the certificate expires. The number is negative if the
    /// certificate expired at least a day ago.
    pub days_left: i64,
    /// The SHA-256 digest of the DER form, or `None` if the file cannot be parsed.
    pub fingerprint: Option<Sha256>,
    /// The certificate's problems. The list of problems is empty if the certificate is good.
    pub problems: Vec<String>,
}

/// Lists the certificates of the authority and of the nodes in a PKI folder: the authority's first,
/// then the nodes', sorted by name.
pub(crate) fn show(dir: &Path, now: OffsetDateTime) -> Result<Vec<CertInfo>, PkiError> {
    let ca = dir.join("ca.crt");
    let Some(pem) = store::read(&ca)? else {
        return Err(PkiError::wrong(
            &ca,
            "it does not exist",
            "name a folder that `builder build --pki` has created",
        ));
    };
    let trusted = Certificate::all(&pem).unwrap_or_default();
    let mut out = file(&ca, &dir.join("ca.key"), None, now)?;
    for path in leaves(dir)? {
        out.extend(file(
            &path,
            &path.with_extension("key"),
            Some(&trusted),
            now,
        )?);
    }
    Ok(out)
}

/// Returns the files of the nodes' certificates.
pub(super) fn leaves(dir: &Path) -> Result<Vec<PathBuf>, PkiError> {
    let mut leaves = Vec::new();
    for node in store::list(&dir.join("nodes"))? {
        leaves.extend(
            store::list(&node)?
                .into_iter()
                .filter(|path| path.extension().is_some_and(|e| e == "crt")),
        );
    }
    Ok(leaves)
}

/// Lists the certificates in one file. `trusted` is `None` for the authority's own file.
fn file(
    path: &Path,
    key: &Path,
    trusted: Option<&[Certificate]>,
    now: OffsetDateTime,
) -> Result<Vec<CertInfo>, PkiError> {
    let chain = match Certificate::all(&store::read(path)?.unwrap_or_default()) {
        Ok(chain) => chain,
        Err(why) => return Ok(vec![unreadable(path, why)]),
    };
    let mut out: Vec<CertInfo> = chain
        .iter()
        .map(|certificate| info(path, certificate, now))
        .collect();
    let problems = &mut out[0].problems;
    match (store::exists(key)?, trusted) {
        (true, _) => {
            if let Some(mode) = store::excessive_mode(key, 0o077)? {
                problems.push(format!(
                    "the mode of its key is {mode:04o}, which gives other users access; expected \
                     0600"
                ));
            }
            match public_half(&store::read(key)?.unwrap_or_default()) {
                Ok(public)
                    if chain
                        .iter()
                        .any(|certificate| certificate.public_key == public) => {}
                Ok(_) => {
                    problems
                        .push("it does not match the private key in the same folder".to_owned());
                }
                Err(why) => problems.push(format!("its key is {why}")),
            }
        }
        (false, Some(_)) => problems.extend(public_keys::problem(path, &chain)?),
        // Do not report a missing key of an authority, because the key may be kept elsewhere.
        (false, None) => {}
    }
    if let (Some(trusted), true) = (trusted, problems.is_empty()) {
        problems.extend(chains(&chain, trusted, now).err());
    }
    Ok(out)
}

fn info(path: &Path, certificate: &Certificate, now: OffsetDateTime) -> CertInfo {
    let mut problems = Vec::new();
    if now >= certificate.not_after {
        problems.push(format!("it expired on {}", utc(certificate.not_after)));
    } else if now < certificate.not_before {
        problems.push(format!(
            "it is valid only from {}",
            utc(certificate.not_before)
        ));
    }
    CertInfo {
        path: path.to_owned(),
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        sans: certificate.sans.iter().cloned().collect(),
        ekus: certificate.ekus.iter().cloned().collect(),
        not_before: utc(certificate.not_before),
        not_after: utc(certificate.not_after),
        days_left: (certificate.not_after - now).whole_days(),
        fingerprint: Some(certificate.fingerprint()),
        problems,
    }
}

fn unreadable(path: &Path, why: String) -> CertInfo {
    CertInfo {
        path: path.to_owned(),
        subject: String::new(),
        issuer: String::new(),
        sans: Vec::new(),
        ekus: Vec::new(),
        not_before: String::new(),
        not_after: String::new(),
        days_left: 0,
        fingerprint: None,
        problems: vec![why],
    }
}

/// Formats the list as text: a line for each certificate, with its details and problems below.
pub(crate) fn table(infos: &[CertInfo], dir: &Path) -> String {
    let name = |info: &CertInfo| {
        info.path
            .strip_prefix(dir)
            .unwrap_or(&info.path)
            .display()
            .to_string()
    };
    let width = infos
        .iter()
        .map(|info| name(info).len())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut out = format!(
        "{:width$}  {:>9}  {:10}  SUBJECT\n",
        "FILE", "DAYS LEFT", "UNTIL"
    );
    for info in infos {
        let until = info.not_after.get(..10).unwrap_or("?");
        let _ = writeln!(
            out,
            "{:width$}  {:>9}  {until:10}  {}",
            name(info),
            info.days_left,
            info.subject
        );
        let mut detail = |label: &str, text: &str| {
            if !text.is_empty() {
                let _ = writeln!(out, "{:width$}  {label} {text}", "");
            }
        };
        detail("names:  ", &info.sans.join(", "));
        detail("for:    ", &info.ekus.join(", "));
        detail(
            "sha256: ",
            &info.fingerprint.map(|f| f.to_string()).unwrap_or_default(),
        );
        info.problems
            .iter()
            .for_each(|problem| detail("PROBLEM:", problem));
    }
    out
}
