//! Converts the errors of an object store. A store that refuses a request will refuse it again, but
//! a store that does not answer may answer later.

use http::StatusCode;
use members::timestamp::rfc3339;

use crate::exit::{not_ready, refused};
use crate::reason::ReasonId;

/// S3's codes for a refusal. The status of an answer with such a code is not always 401 or 403.
const REFUSALS: [&str; 3] = ["AccessDenied", "ExpiredToken", "NoSuchBucket"];

/// An answer of the store that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    pub(super) status: Option<StatusCode>,
    /// S3's code and message, which an answer to a HEAD request does not contain.
    pub(super) error: Option<(String, String)>,
}

impl ErrorAnswer {
    /// Reads the answer from the text of an error of the crate `object_store`, which does not give
    /// access to the answer. Returns `None` if the text contains no answer.
    fn parse(text: &str) -> Option<Self> {
        let status = text
            .split("status code: ")
            .nth(1)
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        let element = |name: &str| {
            let rest = text.split(&format!("<{name}>")).nth(1)?;
            rest.split(&format!("</{name}>")).next()
        };
        // If a request to delete several objects fails for one object, the crate itself writes the
        // message and the code.
        let deleted = || {
            let (message, code) = text.split_once(" (code: ")?;
            Some((code.split(')').next()?, message))
        };
        let found = element("Code").map(|code| (code, element("Message").unwrap_or_default()));
        let error = found.or_else(deleted).map(|(code, message)| {
            let first = message.lines().next().unwrap_or_default();
            (code.trim().to_owned(), first.trim().to_owned())
        });
        (status.is_some() || error.is_some()).then_some(Self { status, error })
    }

    fn is_refusal(&self) -> bool {
        let by_status = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].map(Some);
        by_status.contains(&self.status)
            || self
                .error
                .as_ref()
                .is_some_and(|(code, _)| REFUSALS.contains(&&**code))
    }

    /// Returns the error for this answer to the request `what`, at the time `now` of this node.
    pub(super) fn into_error(self, what: &str, now: u64) -> anyhow::Error {
        let refusal = self.is_refusal();
        let status = self
            .status
            .map_or_else(String::new, |status| format!("{status} "));
        let text = match &self.error {
            Some((code, message)) => {
                format!("{what}: the store answered {status}{code}: {message}")
            }
            None => format!("{what}: the store answered {}", status.trim_end()),
        };
        let text = text.trim_end_matches(['.', ' ', ':']);
        if !refusal {
            return not_ready(ReasonId::StoreUnreachable.because(text));
        }
        // A store refuses a request whose time differs from the store's time. The answer to a HEAD
        // request does not contain the code.
        let about_time = |(code, _): &(String, String)| code == "RequestTimeTooSkewed";
        let advice = if self.error.as_ref().is_none_or(about_time) {
            format!(
                ". Check the keys and this node's clock, which shows {}",
                rfc3339(now)
            )
        } else {
            String::new()
        };
        refused(ReasonId::StoreDenied.because(format!("{text}{advice}")))
    }
}

/// Converts an error of the crate `object_store`. If the error does not contain an answer of the
/// store, the new error contains the first line of the old error.
pub(super) fn store_error(what: &str, error: &object_store::Error, now: u64) -> anyhow::Error {
    let text = error.to_string();
    if let Some(answer) = ErrorAnswer::parse(&text) {
        return answer.into_error(what, now);
    }
    let line = text.lines().next().unwrap_or_default();
    not_ready(ReasonId::StoreUnreachable.because(format!("{what}: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, code_of, id_of};

    const NOW: u64 = 1_795_312_800;

    /// Returns the error with which object_store 0.14 reports this answer to a list request.
    fn answered(status: &str, body: &str) -> anyhow::Error {
        let text = format!(
            "Error performing list request: Error performing GET http://10.0.0.1/backups in 2ms - \
             Server returned non-2xx status code: {status}: {body}"
        );
        reported(&text)
    }

    fn reported(text: &str) -> anyhow::Error {
        let error = object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        };
        store_error("cannot list s3://backups/", &error, NOW)
    }

    fn body(code: &str, message: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{message}</Message><Resource>/backups</Resource></Error>"
        )
    }

    #[test]
    fn a_refusal_is_reported_with_the_code_and_the_message_of_the_store() {
        let skewed = body("RequestTimeTooSkewed", "The difference is too large.");
        let missing = body("NoSuchBucket", "The specified bucket does not exist");
        for (error, wanted) in [
            (
                answered("403 Forbidden", &skewed),
                "cannot list s3://backups/: the store answered 403 Forbidden RequestTimeTooSkewed: The difference is \
                 too large. Check the keys and this node's clock, which shows 2026-11-22T02:00:00Z [store-denied]",
            ),
            (
                answered("403 Forbidden", &body("AccessDenied", "Access Denied.")),
                "cannot list s3://backups/: the store answered 403 Forbidden AccessDenied: Access Denied [store-denied]",
            ),
            (
                answered("404 Not Found", &missing),
                "cannot list s3://backups/: the store answered 404 Not Found NoSuchBucket: The specified bucket does \
                 not exist [store-denied]",
            ),
            (
                answered("403 Forbidden", ""),
                "cannot list s3://backups/: the store answered 403 Forbidden. Check the keys and this node's clock, \
                 which shows 2026-11-22T02:00:00Z [store-denied]",
            ),
            (
                reported(
                    "DeleteObjects request failed for key a.db: Access Denied. (code: AccessDenied)",
                ),
                "cannot list s3://backups/: the store answered AccessDenied: Generic S3 error: DeleteObjects request \
                 failed for key a.db: Access Denied [store-denied]",
            ),
        ] {
            assert_eq!(error.to_string(), wanted);
            assert_eq!(code_of(&error), Exit::Refused);
        }
    }

    #[test]
    fn a_store_that_may_answer_later_is_not_ready() {
        for (error, wanted) in [
            (
                answered(
                    "503 Service Unavailable",
                    &body("SlowDown", "Reduce your request rate"),
                ),
                "the store answered 503 Service Unavailable SlowDown: Reduce your request rate",
            ),
            (
                answered(
                    "404 Not Found",
                    &body("NoSuchUpload", "The upload does not exist"),
                ),
                "the store answered 404 Not Found NoSuchUpload: The upload does not exist",
            ),
            (
                reported("error sending request: connection refused\nand more"),
                "Generic S3 error: error sending request: connection refused",
            ),
        ] {
            let wanted = format!("cannot list s3://backups/: {wanted} [store-unreachable]");
            assert_eq!(error.to_string(), wanted);
            assert_eq!(code_of(&error), Exit::NotReady);
            assert_eq!(id_of(&error), Some(ReasonId::StoreUnreachable));
        }
    }
}
