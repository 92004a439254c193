//! Checks the folder that `builder pki client` writes, so that the command replaces only the files
//! of the same client.

use std::path::Path;

use super::certificate::{Certificate, chains, public_half};
use super::{ClientName, PkiError, store};

/// Refuses to write into a PKI folder, or into a folder inside it, because such a folder may
/// contain other certificates, such as a node's.
pub(super) fn refuse_pki_folder(dir: &Path, out: &Path) -> Result<(), PkiError> {
    let remedy = "name another folder with --out, or omit --out";
    let refused = |why: String| Err(PkiError::wrong(out, why, remedy));
    let absolute = std::path::absolute(out).map_err(PkiError::io("resolve it", out))?;
    let pki = dir
        .canonicalize()
        .map_err(PkiError::io("resolve it", dir))?;
    let existing = absolute
        .ancestors()
        .find_map(|path| path.canonicalize().ok());
    let existing = existing.unwrap_or_default();
    if existing.starts_with(pki) {
        return refused(
            "this folder is inside the PKI folder, and may contain other keys".to_owned(),
        );
    }
    // Each PKI folder contains a signing key. The folder of a user's CA contains only ca.key, and
    // may contain the folders of clients.
    for folder in existing.ancestors() {
        if store::exists(&folder.join("signing.key"))? {
            let other = folder.display();
            return refused(format!(
                "this folder is inside the PKI folder {other}, and may contain other keys"
            ));
        }
    }
    if store::exists(&out.join("ca.key"))? {
        return refused("this folder contains the key of a CA".to_owned());
    }
    Ok(())
}

/// Refuses to replace CA certificates that are not the cluster's, and a client certificate or a key
/// that is not this client's. `trusted` are the CAs that the members trust.
pub(super) fn refuse_other_files(
    dir: &Path,
    trusted: &[Certificate],
    name: &ClientName,
    [ca, cert, key]: [&Path; 3],
) -> Result<(), PkiError> {
    let refused = |path: &Path, found: String| {
        let remedy = "name another folder with --out, or move this file to another folder";
        Err(PkiError::wrong(path, found, remedy))
    };
    let authorities = authorities(dir, trusted)?;
    if let Some(pem) = store::read(ca)? {
        let is_known = |found: &Certificate| {
            let mut known = authorities.iter();
            known.any(|authority| authority.public_key == found.public_key)
        };
        if !Certificate::all(&pem).is_ok_and(|all| all.iter().all(is_known)) {
            let found = "it contains something other than the certificates of the cluster's CAs";
            return refused(ca, found.to_owned());
        }
    }
    let mut public_key = None;
    if let Some(pem) = store::read(cert)? {
        let chain = Certificate::all(&pem).unwrap_or_default();
        if !is_of_client(&chain, name, &authorities) {
            let found =
                format!("it is not a certificate that the cluster's CA has issued for {name}");
            return refused(cert, found);
        }
        public_key = chain.into_iter().next().map(|leaf| leaf.public_key);
    }
    if store::exists(key)? {
        let found = store::read(key)?.and_then(|pem| public_half(&pem).ok());
        if found.is_none() || found != public_key {
            let found = format!("it is not the key of a certificate of {name} in this folder");
            return refused(key, found);
        }
    }
    Ok(())
}

/// Returns whether one of the authorities issued the certificate for this client. The certificate
/// may have expired.
fn is_of_client(chain: &[Certificate], name: &ClientName, authorities: &[Certificate]) -> bool {
    chain.first().is_some_and(|leaf| {
        let mut authorities = authorities.iter().map(std::slice::from_ref);
        leaf.common_name.as_deref() == Some(name.as_str())
            && authorities.any(|authority| chains(chain, authority, leaf.not_before).is_ok())
    })
}

/// Returns the trusted authorities, and the authorities whose certificates the PKI folder contains,
/// including the replaced authorities.
fn authorities(dir: &Path, trusted: &[Certificate]) -> Result<Vec<Certificate>, PkiError> {
    let mut out = trusted.to_vec();
    for path in store::list(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "ca.crt" || name.starts_with("ca.crt.old-") {
            let pem = store::read(&path)?.unwrap_or_default();
            out.extend(Certificate::all(&pem).unwrap_or_default());
        }
    }
    Ok(out)
}
