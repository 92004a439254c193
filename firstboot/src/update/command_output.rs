//! The result of `firstboot update`. It consists of the results for the image and for the node
//! document. With `--halt`, `--resume` or `--break-turn`, it is a change of the state that all
//! nodes share.

use anyhow::Result;
use serde::Serialize;

use super::check;
use super::document::{self, NewerDocument};
use super::state::OrderOutcome;
use crate::exit::Exit;
use crate::output::{say_error, show_json};
use members::keys::{UpdateHalt, UpdateTurn};

#[derive(Debug, Serialize)]
pub(super) struct JsonOutput<'a> {
    /// Whether the release is newer than the image that this node has when the command ends.
    pub(super) newer: bool,
    pub(super) serial: u64,
    pub(super) changes: Option<&'a check::Report>,
    /// The newer node document, if there is one.
    pub(super) document: Option<document::Report<'a>>,
    pub(super) outcome: Option<&'a OrderOutcome>,
}

/// The result of `--halt`, `--resume` or `--break-turn` as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SharedChange {
    /// The halt from now on, or `None` if updates are allowed again.
    Halt(Option<UpdateHalt>),
    /// The turn that was released.
    ReleasedTurn(UpdateTurn),
}

/// Shows the outcome of an order, even if the node could not accept the newer document afterwards.
/// `is_newer` is set if the order installs a newer image.
pub(super) fn report_outcome(
    json: bool,
    outcome: &OrderOutcome,
    is_newer: bool,
    (newer, taken): (Option<&NewerDocument>, Result<()>),
) -> Result<Option<Exit>> {
    if json {
        show_json(&json_output(outcome, is_newer, (newer, &taken)))?;
    }
    with_document(outcome.exit(), taken)
}

fn json_output<'a>(
    outcome: &'a OrderOutcome,
    is_newer: bool,
    (newer, taken): (Option<&'a NewerDocument>, &Result<()>),
) -> JsonOutput<'a> {
    JsonOutput {
        newer: is_newer && !outcome.end.has_new_image(),
        serial: outcome.serial,
        changes: None,
        document: newer.map(|newer| newer.report_after(taken)),
        outcome: Some(outcome),
    }
}

/// Combines the result for the image with the result for the document. A failure of the image
/// determines the exit code.
pub(super) fn with_document(
    image: Result<Option<Exit>>,
    taken: Result<()>,
) -> Result<Option<Exit>> {
    match (image, taken) {
        (Ok(None), taken) => taken.map(|()| None),
        (image, Ok(())) => image,
        (image, Err(error)) => {
            say_error(&format!("cannot accept the newer node document: {error:#}"));
            image
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::UpdateResult;
    use super::*;
    use crate::documentation::{documented, keys};
    use crate::exit::{code_of, not_ready, refused};

    fn outcome(end: UpdateResult) -> OrderOutcome {
        OrderOutcome {
            id: String::new(),
            serial: 7,
            end,
            why: "the reason".to_owned(),
            boot: None,
            at: 0,
        }
    }

    #[test]
    fn the_changes_of_the_shared_state_are_json_with_kebab_case_keys() {
        let json = |change| serde_json::to_string(&change).unwrap();
        let halt = UpdateHalt {
            why: "the reason".to_owned(),
            node: "etcd-1".to_owned(),
            since: 7,
        };
        assert_eq!(
            json(SharedChange::Halt(Some(halt))),
            r#"{"halt":{"why":"the reason","node":"etcd-1","since":7}}"#
        );
        assert_eq!(json(SharedChange::Halt(None)), r#"{"halt":null}"#);
        let turn = UpdateTurn {
            node: "etcd-2".parse().unwrap(),
            serial: 6,
            since: 7,
        };
        assert_eq!(
            json(SharedChange::ReleasedTurn(turn)),
            r#"{"released-turn":{"node":"etcd-2","serial":6,"since":7}}"#
        );
    }

    #[test]
    fn a_release_is_newer_only_if_the_node_does_not_have_its_image_at_the_end() {
        for (end, is_newer, expected) in [
            (UpdateResult::Updated, true, false),
            (UpdateResult::NewImageKept, true, false),
            (UpdateResult::Reverted, true, true),
            (UpdateResult::NotUpdated, true, true),
            (UpdateResult::Refused, true, true),
            (UpdateResult::RolledBack, false, false),
            (UpdateResult::NotUpdated, false, false),
        ] {
            let outcome = outcome(end);
            let output = json_output(&outcome, is_newer, (None, &Ok(())));
            assert_eq!(output.newer, expected, "{end:?}");
        }
    }

    #[test]
    fn a_document_that_cannot_be_accepted_does_not_hide_the_outcome_of_the_order() {
        let failed = || Err(refused("the document"));
        let document = NewerDocument::example();
        let outcome = outcome(UpdateResult::Updated);
        let output = json_output(&outcome, true, (Some(&document), &failed()));
        let json = serde_json::to_value(&output).unwrap();
        assert_eq!(json["outcome"]["end"], "updated");
        assert_eq!(json["document"]["taken"], false);
        assert_eq!(json["document"]["error"]["text"], "the document");
        assert_eq!(documented("json.md", "firstboot update"), keys(&json));
        assert_eq!(
            documented("json.md", "A newer node document"),
            keys(&json["document"])
        );
        let output = json_output(&outcome, true, (Some(&document), &Ok(())));
        let json = serde_json::to_value(&output).unwrap();
        assert_eq!(json["document"]["taken"], true);
        assert_eq!(json["document"].get("error"), None);

        let code = |image, taken| match with_document(image, taken) {
            Ok(exit) => exit,
            Err(error) => Some(code_of(&error)),
        };
        assert_eq!(code(Ok(None), Ok(())), None);
        assert_eq!(code(Ok(None), failed()), Some(Exit::Refused));
        let reverted = Some(Exit::Reverted);
        assert_eq!(code(Ok(reverted), failed()), reverted);
        let expired = Err(not_ready("the image"));
        assert_eq!(code(expired, failed()), Some(Exit::NotReady));
    }
}
