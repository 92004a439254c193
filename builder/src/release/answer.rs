//! Decides how a download proceeds after a mirror's answer. `fetch` executes the decision.

use std::time::Duration;

use reqwest::StatusCode;

/// The parts of an answer on which the decision depends.
#[derive(Debug, Clone, Default)]
pub(crate) struct MirrorResponse {
    /// The HTTP status code.
    pub(crate) status: StatusCode,
    /// `Content-Length`.
    pub(crate) length: Option<u64>,
    /// `Content-Range`, as received.
    pub(crate) range: Option<String>,
    /// `Retry-After`, as received.
    pub(crate) retry_after: Option<String>,
}

/// How to proceed with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Append the body to the existing bytes.
    Append {
        /// The size of the whole file, if known.
        total: Option<u64>,
    },
    /// Discard the existing bytes and use the body as the whole file.
    StartOver {
        /// The size of the whole file, if known.
        total: Option<u64>,
    },
    /// Verify the bytes, all of which have already been downloaded.
    Complete,
    /// Discard the existing bytes, because the answer does not continue them, and repeat the
    /// request without a Range.
    Discard,
    /// Try again, after the pause that the server requested, if any.
    Again(Option<Duration>),
    /// Try the next mirror, because this mirror does not provide the file.
    Leave,
    /// Try the next mirror, because this mirror states a size above the limit.
    TooLarge(u64),
}

/// Decides how to proceed after an answer. The request asked for the bytes from the offset `have`
/// on. If `have` is 0, the request had no Range.
pub(crate) fn decide(have: u64, answer: &MirrorResponse, limit: u64) -> Step {
    let range = answer.range.as_deref().and_then(content_range);
    let step = match answer.status.as_u16() {
        // Either the request had no Range, or the server ignores Range, or the server's file
        // differs from the file that If-Range identified.
        200 => Step::StartOver {
            total: answer.length,
        },
        206 => match range {
            Some((Some(from), total)) if from == have && have > 0 => Step::Append { total },
            // The server sent a range that was not requested. RFC 9110 allows a different range,
            // but the builder cannot use it.
            _ => Step::Discard,
        },
        416 => match range {
            Some((None, Some(total))) if total == have && have > 0 => Step::Complete,
            _ if have > 0 => Step::Discard,
            _ => Step::Leave,
        },
        408 | 425 | 429 | 500..=599 => Step::Again(answer.retry_after.as_deref().and_then(seconds)),
        _ => Step::Leave,
    };
    match step {
        Step::Append { total: Some(total) } | Step::StartOver { total: Some(total) }
            if total > limit =>
        {
            Step::TooLarge(total)
        }
        other => other,
    }
}

/// Parses `bytes FROM-TO/TOTAL` (206) or `bytes */TOTAL` (416) into the start and the total size.
/// `*` means unknown.
fn content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.trim().parse().ok()?),
    };
    Some((from, total.trim().parse().ok()))
}

/// Parses `Retry-After` in seconds. If `Retry-After` is a date, the builder ignores it and uses its
/// own pause, because a date is useful only if the clocks of the server and the builder agree.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(have: u64, status: u16, range: Option<&str>) -> Step {
        let answer = MirrorResponse {
            status: StatusCode::from_u16(status).unwrap(),
            length: Some(60),
            range: range.map(str::to_owned),
            retry_after: Some("7".to_owned()),
        };
        decide(have, &answer, 100)
    }

    #[test]
    fn a_range_is_appended_only_if_it_continues_the_file() {
        assert_eq!(
            step(40, 206, Some("bytes 40-99/100")),
            Step::Append { total: Some(100) }
        );
        assert_eq!(
            step(40, 206, Some("bytes 40-99/*")),
            Step::Append { total: None }
        );
        for wrong in [
            None,
            Some("bytes 0-99/100"),
            Some("bytes */100"),
            Some("items 40-99/100"),
            Some(""),
        ] {
            assert_eq!(step(40, 206, wrong), Step::Discard, "{wrong:?}");
        }
        assert_eq!(step(0, 206, Some("bytes 0-99/100")), Step::Discard);
        assert_eq!(step(40, 200, None), Step::StartOver { total: Some(60) });
    }

    #[test]
    fn range_not_satisfiable_means_a_complete_file_or_another_file() {
        assert_eq!(step(100, 416, Some("bytes */100")), Step::Complete);
        assert_eq!(step(101, 416, Some("bytes */100")), Step::Discard);
        assert_eq!(step(100, 416, None), Step::Discard);
        assert_eq!(step(0, 416, None), Step::Leave);
    }

    #[test]
    fn only_temporary_errors_are_retried() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(
                step(0, status, None),
                Step::Again(Some(Duration::from_secs(7))),
                "{status}"
            );
        }
        for status in [400, 401, 403, 404, 410, 451, 204, 304] {
            assert_eq!(step(0, status, None), Step::Leave, "{status}");
        }
        let dated = MirrorResponse {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some("Fri, 31 Dec 1999 23:59:59 GMT".to_owned()),
            ..MirrorResponse::default()
        };
        assert_eq!(decide(0, &dated, 100), Step::Again(None));
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_before_its_body() {
        assert_eq!(step(40, 206, Some("bytes 40-100/101")), Step::TooLarge(101));
        let answer = MirrorResponse {
            status: StatusCode::OK,
            length: Some(101),
            ..MirrorResponse::default()
        };
        assert_eq!(decide(0, &answer, 100), Step::TooLarge(101));
    }

    proptest! {
        #[test]
        fn no_answer_leads_past_the_limit(
            status in prop_oneof![Just(200), Just(206), Just(416), 100..1000_u16],
            have in prop_oneof![Just(0), 1..200_u64],
            length in prop::option::of(prop_oneof![0..2000_u64, any::<u64>()]),
            range in prop::option::of("(bytes ?|[0-9*]{1,21}|-|/|\\PC){0,6}"),
            retry_after in prop::option::of("[0-9]{0,21}|\\PC{0,9}"),
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = MirrorResponse { status, length, range, retry_after };
            match decide(have, &answer, 100) {
                Step::Append { total } => prop_assert!(have > 0 && total.is_none_or(|total| total <= 100)),
                Step::StartOver { total } => prop_assert!(total.is_none_or(|total| total <= 100)),
                Step::Complete => prop_assert!(have > 0),
                _ => {}
            }
        }
    }
}
