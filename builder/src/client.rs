//! `builder pki client`: issues a client certificate for the operator's own machine.

use std::path::PathBuf;

use anyhow::Result;
use time::{Duration, OffsetDateTime};

use crate::pki::{Authority, ClientName};
use crate::{check, console, pki};

/// The command-line options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: builder pki client alice --pki out.pki && builder status out\n\n\
    etcdctl and curl accept the same files: etcdctl --cacert out.pki/clients/alice/ca.crt \
    --cert out.pki/clients/alice/client.crt --key out.pki/clients/alice/client.key"
)]
pub(crate) struct Options {
    /// The certificate's common name, which etcd uses as the user name if authentication is enabled:
    /// at most 64 characters, without `/` and `*`
    name: ClientName,
    /// The folder of the cluster's certificates and keys
    #[arg(long, value_name = "DIR", default_value = "out.pki")]
    pki: PathBuf,
    /// The recipe, required if it names your own CA (`ca-cert`)
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The folder to write [default: clients/NAME in the PKI folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The lifetime in hours
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=8784))]
    hours: u32,
    /// The lifetime in days
    #[arg(long, conflicts_with = "hours", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Issues the client certificate.
pub(crate) fn run(options: &Options) -> Result<()> {
    let life = options.days.map_or_else(
        || Duration::hours(i64::from(options.hours)),
        |days| Duration::days(i64::from(days)),
    );
    let authority = match &options.recipe {
        Some(path) => {
            let recipe = check::checked_recipe(path, false)?.recipe;
            Authority::of(
                &recipe.tls,
                path.parent().unwrap_or_else(|| std::path::Path::new("")),
            )
        }
        None => Authority::Own,
    };
    let made = pki::issue_client(
        &options.pki,
        &authority,
        &options.name,
        life,
        options.out.as_deref(),
        OffsetDateTime::now_utc(),
    )?;
    Ok(console::report(&made, options.json, |made| {
        format!(
            "{}: a client certificate for {}, valid until {}\n{}: its private key\n{}: the CAs that the members trust\n",
            made.certificate.display(),
            made.name,
            made.not_after,
            made.key.display(),
            made.ca.display()
        )
    })?)
}
