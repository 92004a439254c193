//! `[tls]`: the authority, the origin of the nodes' keys, and the lifetimes of certificates.

use std::time::Duration;

use url::Url;

use super::files::LocalFile;
use super::values::Base;
use crate::diagnostic::Diagnostic;
use crate::node::KeyOrigin;
use crate::reader::{Located, Table};

const DAY: Duration = Duration::from_secs(86_400);

/// The authority, the origin of the nodes' keys, and the lifetimes of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Where the nodes' private keys are generated.
    pub keys: KeyOrigin,
    /// The server that signs the nodes' certificate requests.
    pub enrol: Option<Url>,
    /// The files of the operator's own authority.
    pub authority: Option<AuthorityFiles>,
    /// The lifetime of the authority, in days.
    pub authority_days: u32,
    /// The lifetime of a node's certificates.
    pub certificate_life: Duration,
    /// The remaining lifetime below which a certificate is renewed. The next build renews the
    /// certificate, or the `enrol` server renews the certificate at the node's request.
    pub renew_before: Duration,
}

/// The files of an authority. A relative path begins at the recipe's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// `ca-cert`: the authority's certificate.
    pub cert: LocalFile,
    /// `ca-key`: the authority's private key.
    pub key: LocalFile,
}

pub(super) fn read_tls(root: &Table<'_>) -> Tls {
    let table = root.table("tls");
    let table = table.as_ref();
    let days = |key, bounds, default| {
        let found = table.and_then(|table| table.integer(key, bounds));
        found
            .and_then(|at| u32::try_from(at.value).ok())
            .unwrap_or(default)
    };
    let (life_days, renew_days) = (
        days("certificate-days", 1..=3_650, 1_095),
        days("renew-before-days", 0..=3_650, 90),
    );
    let minutes = table.and_then(|table| table.integer("certificate-minutes", 1..=1_440));
    let certificate_life = minutes.as_ref().map_or(DAY * life_days, |at| {
        Duration::from_secs(at.value.unsigned_abs() * 60)
    });
    let origins = [("document", KeyOrigin::Document), ("node", KeyOrigin::Node)];
    let keys = table.and_then(|table| table.choice("keys", &origins));
    let enrol = table.and_then(|table| table.value::<Base>("enrol"));
    let cert = table.and_then(|table| table.text("ca-cert"));
    let key = table.and_then(|table| table.text("ca-key"));
    let tls = Tls {
        keys: keys.map_or(KeyOrigin::Document, |at| at.value),
        enrol: enrol.as_ref().map(|at| at.value.url().clone()),
        authority_days: days("ca-days", 1..=36_500, 3_650),
        certificate_life,
        renew_before: match enrol {
            Some(_) => certificate_life / 2,
            None => DAY * renew_days,
        },
        authority: cert
            .clone()
            .zip(key.clone())
            .map(|(cert, key)| AuthorityFiles {
                cert: LocalFile {
                    source: cert.value,
                    span: cert.span,
                },
                key: LocalFile {
                    source: key.value,
                    span: key.span,
                },
            }),
    };
    if let Some(table) = table {
        check_enrol(table, enrol.as_ref(), tls.keys);
        check_authority(table, cert.as_ref(), key.as_ref());
        check_renewal(table, minutes.as_ref(), enrol.is_some());
        // Do not check a lifetime in minutes. Such a lifetime is shorter than any `ca-days`, and
        // needs `enrol`, with which the nodes renew their certificates between builds.
        if minutes.is_none() {
            check_lifetimes(table, &tls, (life_days, renew_days));
        }
        table.finish();
    }
    tls
}

/// Checks that a build renews the certificates before they expire, and that the authority outlives
/// the certificates. A finding points to a key that the recipe sets. `life_days` and `renew_days`
/// are the values of `certificate-days` and `renew-before-days`.
fn check_lifetimes(table: &Table<'_>, tls: &Tls, (life_days, renew_days): (u32, u32)) {
    let report = |(low, days): (&str, u32), bound: &str, (high, most): (&str, u32)| {
        let (low_place, high_place) = (table.place(low), table.place(high));
        let is = |days: u32, is_set: bool| {
            let default = if is_set { "" } else { " by default" };
            format!("{days}{default}")
        };
        let message = format!(
            "`{low}` is {}, but must be {bound} `{high}`, which is {}",
            is(days, low_place.is_some()),
            is(most, high_place.is_some())
        );
        let help = match (&low_place, &high_place) {
            (None, _) => format!("also set `{low}`, or set a larger `{high}`"),
            (_, None) => format!("set a smaller `{low}`, or also set `{high}`"),
            _ => format!("set a smaller `{low}` or a larger `{high}`"),
        };
        let place = low_place.or(high_place).unwrap_or_else(|| table.header());
        table.report(Diagnostic::error(place, message).help(help));
    };
    let life = ("certificate-days", life_days);
    if tls.certificate_life > DAY * tls.authority_days {
        report(life, "at most", ("ca-days", tls.authority_days));
    }
    if tls.renew_before >= tls.certificate_life {
        report(("renew-before-days", renew_days), "less than", life);
    }
}

fn check_authority(
    table: &Table<'_>,
    cert: Option<&Located<String>>,
    key: Option<&Located<String>>,
) {
    match (cert, key) {
        (Some(at), None) => {
            let finding = Diagnostic::error(at.span.clone(), "`ca-cert` needs `ca-key`");
            let help =
                "to use existing certificates, put them into the --pki folder and remove `ca-cert`";
            table.report(finding.help(help));
        }
        (None, Some(at)) => table.report(Diagnostic::error(
            at.span.clone(),
            "`ca-key` needs `ca-cert`",
        )),
        _ => {}
    }
}

/// Checks the settings that concern renewal. Only a node that enrols renews its own certificates,
/// at a time that the node chooses.
fn check_renewal(table: &Table<'_>, minutes: Option<&Located<i64>>, enrols: bool) {
    if let Some(at) = minutes {
        if table.place("certificate-days").is_some() {
            let finding = Diagnostic::error(
                at.span.clone(),
                "`certificate-minutes` and `certificate-days` are both set",
            );
            table.report(finding.help("set only one of the two"));
        }
        if !enrols {
            let finding = Diagnostic::error(
                at.span.clone(),
                "`certificate-minutes` is set without `enrol`",
            );
            table.report(finding.help(
                "only nodes that enrol renew their certificates themselves; use `certificate-days` instead",
            ));
        }
    }
    if enrols && let Some(span) = table.place("renew-before-days") {
        let finding = Diagnostic::error(span, "`renew-before-days` is set together with `enrol`");
        table.report(finding.help(
            "remove `renew-before-days`: a node requests new certificates when a third of their lifetime is left",
        ));
    }
}

fn check_enrol(table: &Table<'_>, enrol: Option<&Located<Base>>, keys: KeyOrigin) {
    let Some(at) = enrol else { return };
    if keys.is_document() {
        let finding = Diagnostic::error(at.span.clone(), "`enrol` needs `keys = \"node\"`");
        table.report(finding.help("only nodes that generate their own keys request certificates"));
    }
    if at.value.url().scheme() != "https" {
        let finding = Diagnostic::error(at.span.clone(), "`enrol` needs an HTTPS URL");
        table.report(finding.help(
            "`builder serve --pki` serves `enrol` on port 8443 by default, and needs no certificate from a CA",
        ));
    }
}
