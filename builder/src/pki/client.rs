//! `builder pki client`: issues an operator's own client certificate, so that the operator's
//! machine does not use a node's certificate. The certificate's common name is the operator's name,
//! so that etcd can distinguish operators. By default, the certificate is valid for only 12 hours,
//! so that a lost certificate soon becomes useless.
//!
//! ```text
//! DIR/clients/NAME/           0700
//!   ca.crt                    the authorities that the cluster's members trust
//!   client.crt, client.key    0600
//! ```

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use recipes::Sha256;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::authority::{self, Authority, Signer};
use super::certificate::{Certificate, chains, public_half, utc};
use super::client_folder::{refuse_other_files, refuse_pki_folder};
use super::{ClientName, Lifetimes, PkiError, cluster, store};

/// The folder of the operators' certificates.
const CLIENTS: &str = "clients";

/// The files of one operator's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFiles {
    /// The file with the certificates of the authorities that the members trust.
    pub(crate) ca: PathBuf,
    /// The file with the client certificate.
    pub(crate) cert: PathBuf,
    /// The file with the private key of the client certificate.
    pub(crate) key: PathBuf,
}

impl ClientFiles {
    /// Returns the paths of the client's three files in a folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.crt"),
            cert: folder.join("client.crt"),
            key: folder.join("client.key"),
        }
    }

    /// Returns the contents of the three files: the CA certificates, the client certificate and its
    /// key.
    ///
    /// # Errors
    ///
    /// Fails if a file is missing, if users other than the key's owner can access the key, or if
    /// the certificate is not valid now, does not match the key, or does not chain to `ca.crt`.
    pub(crate) fn read(&self, now: OffsetDateTime) -> Result<[String; 3], PkiError> {
        let missing = |path: &Path| PkiError::wrong(path, "it is missing", REMEDY);
        let text = |path: &Path| store::read(path)?.ok_or_else(|| missing(path));
        let key = store::read_secret(&self.key)?.ok_or_else(|| missing(&self.key))?;
        let (ca, cert) = (text(&self.ca)?, text(&self.cert)?);
        let wrong = |why: String| PkiError::wrong(&self.cert, why, REMEDY);
        let chain = Certificate::all(&cert).map_err(wrong)?;
        if now >= chain[0].not_after {
            return Err(wrong(format!("it expired on {}", utc(chain[0].not_after))));
        }
        if public_half(&key).map_err(wrong)? != chain[0].public_key {
            return Err(wrong(
                "it does not match the private key in the same folder".to_owned(),
            ));
        }
        let authorities = Certificate::all(&ca).map_err(wrong)?;
        chains(&chain, &authorities, now).map_err(wrong)?;
        Ok([ca, cert, key])
    }
}

/// The remedy for an unusable client certificate.
const REMEDY: &str = "issue a client certificate with `builder pki client NAME`";

/// An issued certificate, in the form that the command prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ClientInfo {
    /// The certificate's common name.
    pub(crate) name: ClientName,
    /// The file with the certificates of the authorities that the members trust.
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(crate) ca: PathBuf,
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(crate) certificate: PathBuf,
    #[serde(serialize_with = "crate::path_text::serialize")]
    pub(crate) key: PathBuf,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The start of the validity, as in RFC 3339.
    pub(crate) not_before: String,
    /// The end of the validity, as in RFC 3339.
    pub(crate) not_after: String,
    /// The digest of the certificate's DER form.
    pub(crate) fingerprint: Sha256,
}

/// Issues a client certificate with a new key. The new certificate replaces an earlier certificate
/// of the same client in the same folder. `out` is the folder to write; the default is
/// `clients/NAME` in the PKI folder.
pub(crate) fn issue_client(
    dir: &Path,
    provided: &Authority,
    name: &ClientName,
    life: Duration,
    out: Option<&Path>,
    now: OffsetDateTime,
) -> Result<ClientInfo, PkiError> {
    let _lock = store::existing(dir)?;
    let signer = signer(dir, provided, now)?;
    let cluster = cluster::recorded(dir)?;
    if let Some(cluster) = cluster.as_ref().filter(|cluster| name.is_of_node(cluster)) {
        return Err(PkiError::wrong(
            dir,
            format!(
                "`{name}` is reserved for the members of the cluster {cluster}, because it is a \
                 node's name or a name in the cluster's domain"
            ),
            "choose another name, because etcd could take a user with this name for a member",
        ));
    }
    let organization = cluster.map(|cluster| cluster.name.to_string());
    let folder = if let Some(out) = out {
        refuse_pki_folder(dir, out)?;
        let ClientFiles { ca, cert, key } = &ClientFiles::of(out);
        refuse_other_files(dir, &signer.trusted, name, [ca, cert, key])?;
        out.to_owned()
    } else {
        store::folder(&dir.join(CLIENTS))?;
        dir.join(CLIENTS).join(name.as_str())
    };
    let files = ClientFiles::of(&folder);
    let pair = KeyPair::generate().map_err(PkiError::make(&files.key))?;
    let made = sign(&signer, organization.as_deref(), name, &pair, life, now);
    let pem = made.map_err(PkiError::make(&files.cert))?;
    store::folder(&folder)?;
    store::remove_partial_files(&folder)?;
    write(&files, &signer.pem, &pem, &pair.serialize_pem())?;
    let leaf = Certificate::all(&pem)
        .map_err(|why| PkiError::wrong(&files.cert, why, "report this bug"))?
        .remove(0);
    Ok(ClientInfo {
        name: name.clone(),
        ca: files.ca,
        certificate: files.cert,
        key: files.key,
        fingerprint: leaf.fingerprint(),
        not_before: utc(leaf.not_before),
        not_after: utc(leaf.not_after),
        subject: leaf.subject,
        issuer: leaf.issuer,
    })
}

/// Writes the files. The previous key is removed first and the new key is written last, so that an
/// interruption never leaves a key without its certificate. The next run would refuse such a key.
fn write(files: &ClientFiles, ca: &str, cert: &str, key: &str) -> Result<(), PkiError> {
    store::remove(&files.key)?;
    store::overwrite(&files.ca, ca.as_bytes(), store::SECRET)?;
    store::overwrite(&files.cert, cert.as_bytes(), store::SECRET)?;
    store::put(&files.key, key.as_bytes(), store::SECRET)
}

/// Returns the authority that signs the client certificate: the user's authority if the recipe
/// names one, otherwise the authority in the PKI folder.
fn signer(dir: &Path, provided: &Authority, now: OffsetDateTime) -> Result<Signer, PkiError> {
    // This command does not warn about the authority's expiry, because a build reports the expiry.
    let lifetimes = Lifetimes {
        authority: 0,
        certificate: Duration::ZERO,
        renew_before: Duration::ZERO,
        nodes_ask: false,
    };
    let mut events = Vec::new();
    if let Some(signer) = provided.read(lifetimes, now, &mut events)? {
        return Ok(signer);
    }
    let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
    if !store::exists(&key)? {
        return Err(PkiError::wrong(
            &key,
            "it is missing, so the builder cannot issue a client certificate",
            "if the recipe's [tls] names your own CA, name that recipe with --recipe; otherwise \
             restore ca.key, or issue the client certificate with your CA",
        ));
    }
    Signer::read(&cert, Some(&key), lifetimes, now, &mut events)
}

fn sign(
    signer: &Signer,
    organization: Option<&str>,
    name: &ClientName,
    key: &KeyPair,
    life: Duration,
    now: OffsetDateTime,
) -> Result<String, rcgen::Error> {
    let Some((authority, issuer)) = &signer.issuer else {
        unreachable!("a signer with a key has an issuer");
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    params
        .distinguished_name
        .push(DnType::CommonName, name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(authority::serial_number()?);
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - authority::BACKDATE;
    params.not_after = now
        .checked_add(life)
        .unwrap_or(authority.not_after)
        .min(authority.not_after);
    Ok(params.signed_by(key, issuer)?.pem())
}

/// Returns the folder of the client certificate that expires last among the client certificates in
/// the PKI folder. Returns `None` if the PKI folder has no client certificate.
///
/// # Errors
///
/// Fails if the folder cannot be read. Also fails if the function finds no usable certificate, but
/// some certificates cannot be read.
pub(crate) fn newest_client(dir: &Path) -> Result<Option<PathBuf>, PkiError> {
    let mut newest: Option<(OffsetDateTime, PathBuf)> = None;
    let mut unreadable = None;
    for folder in store::list(&dir.join(CLIENTS))? {
        let files = ClientFiles::of(&folder);
        let pem = match store::read(&files.cert) {
            Ok(pem) => pem.unwrap_or_default(),
            Err(error) => {
                unreadable.get_or_insert(error);
                continue;
            }
        };
        let until = Certificate::all(&pem).ok().map(|all| all[0].not_after);
        // An interrupted replacement leaves a certificate without its key.
        if let Some(until) = until
            && files.key.exists()
            && newest.as_ref().is_none_or(|(other, _)| *other < until)
        {
            newest = Some((until, folder));
        }
    }
    match (newest, unreadable) {
        (None, Some(error)) => Err(error),
        (newest, _) => Ok(newest.map(|(_, folder)| folder)),
    }
}
