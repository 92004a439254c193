//! `builder pki rotate` and `builder pki retire`: replace the cluster's CA.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use time::OffsetDateTime;

use crate::pki::Event;
use crate::{console, pki};

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// The lifetime of the next CA in days
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The command-line options.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireOptions {
    /// The folder of the cluster's certificates and keys
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The steps after `builder pki rotate`. As soon as all members trust the new CA, they present
/// certificates of the new CA. The clients must therefore trust the new CA before the nodes have
/// their new documents.
const AFTER_ROTATE: &str = "build. Make each of your clients trust both CAs (ca.crt in this \
    folder). Then give each node its new document, in any order. After every member trusts the new \
    CA, give each client a certificate from the new CA. Then run `builder pki retire`";

/// The changes that a command made in a PKI folder, and the operator's next step.
#[derive(Debug, Serialize)]
struct Changes {
    events: Vec<Event>,
    next: &'static str,
}

/// Creates the next CA.
pub(crate) fn rotate(options: &RotateOptions) -> Result<()> {
    let events = pki::rotate(&options.folder, options.days, OffsetDateTime::now_utc())?;
    report(
        &Changes {
            events,
            next: AFTER_ROTATE,
        },
        options.json,
    )
}

/// Stops trusting the previous CA.
pub(crate) fn retire(options: &RetireOptions) -> Result<()> {
    let events = pki::retire(&options.folder, OffsetDateTime::now_utc())?;
    report(
        &Changes {
            events,
            next: "build, and give each node its new document, in any order",
        },
        options.json,
    )
}

fn report(changes: &Changes, json: bool) -> Result<()> {
    let text = |changes: &Changes| {
        let mut text = String::new();
        for event in &changes.events {
            let _ = writeln!(text, "{event}");
        }
        let _ = writeln!(text, "Next: {}", changes.next);
        text
    };
    Ok(console::report(changes, json, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_clients_trust_the_new_ca_before_the_nodes_have_their_documents() {
        let at = |words: &str| AFTER_ROTATE.find(words).unwrap();
        assert!(at("clients trust both CAs") < at("its new document"));
        assert!(at("its new document") < at("a certificate from the new CA"));
        assert!(at("a certificate from the new CA") < at("`builder pki retire`"));
    }

    #[test]
    fn the_changes_are_json_with_kebab_case_keys() {
        let changes = Changes {
            events: vec![Event::Made {
                path: "pki/next-ca.crt".into(),
            }],
            next: "build",
        };
        assert_eq!(
            serde_json::to_string(&changes).unwrap(),
            r#"{"events":[{"event":"made","path":"pki/next-ca.crt"}],"next":"build"}"#
        );
    }

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_change() {
        let changes = Changes {
            events: vec![Event::Replaced {
                path: "pki/ca.crt".into(),
                why: "the next CA is also trusted".to_owned(),
                kept: "pki/old-ca.crt".into(),
            }],
            next: "build",
        };
        assert_eq!(
            documented("json.md", "builder pki rotate and retire"),
            keys(&changes)
        );
        assert_eq!(
            documented("json.md", "A change in a PKI folder"),
            keys(&changes.events[0])
        );
    }
}
