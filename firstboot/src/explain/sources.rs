//! `firstboot explain --sources`: shows the metadata sources that firstboot queried, the answer of
//! each source, and the document that firstboot uses. If firstboot uses no document, the command
//! shows the reason.

use std::fmt::Write as _;

use anyhow::Result;

use crate::metadata::{Outcome, SourceLog};
use crate::output::{show, show_json};

/// Prints the answers that the sources gave in this boot, and the document that firstboot uses.
pub(super) fn run(json: bool) -> Result<()> {
    let log = SourceLog::load()?;
    if json {
        show_json(&log.unwrap_or_default())?;
    } else {
        show(&describe_sources(log.as_ref()))?;
    }
    Ok(())
}

fn describe_sources(log: Option<&SourceLog>) -> String {
    let Some(log) = log else {
        return "firstboot has not queried any source in this boot yet: `systemctl status firstboot` shows the reason\n".to_owned();
    };
    let mut text = String::new();
    for row in &log.sources {
        let _ = writeln!(
            text,
            "{:<13} {:<10} {}",
            row.source.name(),
            outcome(row.outcome),
            row.saw
        );
    }
    let end = match (&log.taken, &log.refused) {
        (Some(place), None) => format!("firstboot uses the node document from {place}.\n"),
        (_, Some(why)) => format!("firstboot does not use a node document: {why}\n"),
        (None, None) => "firstboot is still looking for a node document.\n".to_owned(),
    };
    text + &end
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Asking => "asking",
        Outcome::NotAsked => "not asked",
        Outcome::Nothing => "nothing",
        Outcome::Taken => "taken",
        Outcome::Agrees => "the same",
        Outcome::Wrong => "wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documentation::{documented, keys};

    #[test]
    fn the_documentation_lists_exactly_the_keys_of_a_search() {
        let log: SourceLog =
            serde_json::from_str(r#"{"sources":[],"taken":"a","refused":"b"}"#).unwrap();
        assert_eq!(
            documented("json.md", "firstboot explain --sources"),
            keys(&log)
        );
    }

    #[test]
    fn each_source_has_a_line_and_the_outcome_comes_last() {
        let json = r#"{"sources":[{"source":"file","outcome":"nothing","saw":"no file"},
            {"source":"config-drive","outcome":"taken","saw":"user_data"},{"source":"ec2","outcome":"not-asked","saw":"why"}]}"#;
        let log: SourceLog = serde_json::from_str(json).unwrap();
        let lines = "file          nothing    no file\nconfig-drive  taken      user_data\nec2           not asked  why\n";
        assert_eq!(
            describe_sources(Some(&log)),
            format!("{lines}firstboot is still looking for a node document.\n")
        );
        let taken: SourceLog =
            serde_json::from_str(r#"{"sources":[],"taken":"user_data"}"#).unwrap();
        assert_eq!(
            describe_sources(Some(&taken)),
            "firstboot uses the node document from user_data.\n"
        );
        let refused: SourceLog =
            serde_json::from_str(r#"{"sources":[],"taken":"a","refused":"it is for etcd-2"}"#)
                .unwrap();
        assert_eq!(
            describe_sources(Some(&refused)),
            "firstboot does not use a node document: it is for etcd-2\n"
        );
        assert!(describe_sources(None).contains("has not queried any source in this boot"));
    }
}
