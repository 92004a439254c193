//! The commands `builder verify` and `builder pki show`, which do not change any file.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use recipes::PublicKey;
use time::OffsetDateTime;

use crate::console::counted;
use crate::exit::{Exit, exit_error};
use crate::manifest::SignatureState;
use crate::{console, manifest, pki, text_file};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyOptions {
    /// The output of `builder build`, or its image/ folder
    folder: PathBuf,
    /// The file signing.pub of the key that must have signed the manifest [default: the key in the
    /// image]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Verifies a build output, and prints the report. The exit code shows whether the output is good.
pub(crate) fn verify(options: &VerifyOptions) -> Result<()> {
    let key: Option<PublicKey> = match &options.key {
        Some(path) => {
            let text = text_file::read(path, "the signing.pub of a PKI folder")?;
            Some(
                text.parse()
                    .with_context(|| format!("{} does not contain a key", path.display()))?,
            )
        }
        None => None,
    };
    let report = manifest::verify(&options.folder, key.as_ref())?;
    console::report(&report, options.json, ToString::to_string)?;
    if report.is_good() {
        return Ok(());
    }
    let folder = options.folder.display();
    let message = match (report.problems.len(), &report.signature) {
        (0, SignatureState::OtherKey { key, given }) => format!(
            "{folder} is unchanged since the build, but it is signed by the key {key}, and --key names the \
             key {given}: name the signing.pub of the cluster's PKI folder, or do not use the \
             image"
        ),
        (count, _) => format!(
            "{folder} differs from what was built: {}",
            counted(count, "problem")
        ),
    };
    Err(exit_error(Exit::Different, message))
}

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct PkiOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists every certificate. The exit code shows whether any certificate has a problem.
pub(crate) fn pki(options: &PkiOptions) -> Result<()> {
    let infos = pki::show(&options.folder, OffsetDateTime::now_utc())?;
    console::report(infos.as_slice(), options.json, |infos| {
        pki::table(infos, &options.folder)
    })?;
    let wrong = infos
        .iter()
        .filter(|info| !info.problems.is_empty())
        .count();
    if wrong == 0 {
        return Ok(());
    }
    let wrong = counted(wrong, "certificate");
    Err(exit_error(
        Exit::Different,
        format!("{wrong} with problems in {}", options.folder.display()),
    ))
}
