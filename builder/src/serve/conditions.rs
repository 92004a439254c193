//! Conditional requests (RFC 9110, 13). Decides whether a file is sent.

use std::time::SystemTime;

use hyper::header::{self, HeaderMap, HeaderName};
use recipes::Sha256;
use time::{OffsetDateTime, PrimitiveDateTime};

/// The conditions of a request for a file. A public file has a date but no entity tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_modified_since: Option<String>,
    pub(super) if_unmodified_since: Option<String>,
}

/// The outcome of a request's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// The file is sent.
    Send,
    /// The client already has the file, so the answer is 304.
    NotModified,
    /// The client requires another version of the file, so the answer is 412.
    Failed,
}

impl Conditions {
    /// Reads the conditions of a request. A header field that is not text is treated as absent.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let lines: Vec<&str> = headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            (!lines.is_empty()).then(|| lines.join(", "))
        };
        Self {
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            if_match: text(header::IF_MATCH),
            if_none_match: text(header::IF_NONE_MATCH),
            if_modified_since: text(header::IF_MODIFIED_SINCE),
            if_unmodified_since: text(header::IF_UNMODIFIED_SINCE),
        }
    }

    /// Returns the digest that the client names as the entity tag of its document.
    pub(super) fn known_digest(&self) -> Option<Sha256> {
        let tag = self.if_none_match.as_deref()?.trim();
        tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
    }

    /// Evaluates the conditions for a file with this date, in the order of RFC 9110, 13.2.2. A date
    /// is ignored if the request also has the corresponding entity tags (`If-Match` or
    /// `If-None-Match`).
    pub(super) fn decide(&self, modified: Option<SystemTime>) -> Precondition {
        // HTTP dates are in whole seconds.
        let modified = modified.map(|time| OffsetDateTime::from(time).unix_timestamp());
        let is_after = |date: &Option<String>| -> Option<bool> {
            Some(modified? > http_date(date.as_deref()?)?)
        };
        // A file has no entity tag, so only `*` matches it.
        let any = |tags: &str| tags.trim() == "*";
        let wanted = match &self.if_match {
            Some(tags) => any(tags),
            None => is_after(&self.if_unmodified_since) != Some(true),
        };
        let known = match &self.if_none_match {
            Some(tags) => any(tags),
            None => is_after(&self.if_modified_since) == Some(false),
        };
        match (wanted, known) {
            (false, _) => Precondition::Failed,
            (true, true) => Precondition::NotModified,
            (true, false) => Precondition::Send,
        }
    }
}

/// Converts a date in HTTP's preferred format (IMF-fixdate; RFC 9110, 5.6.7) to seconds since 1970.
/// Returns `None` for any other text, so that the server ignores the condition.
fn http_date(text: &str) -> Option<i64> {
    let format =
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT";
    let format = time::format_description::parse_borrowed::<2>(format).ok()?;
    let date = PrimitiveDateTime::parse(text, &format).ok()?;
    Some(date.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn decide(fields: &[(HeaderName, &'static str)]) -> Precondition {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_400);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, header::HeaderValue::from_static(value));
        }
        Conditions::read(&headers).decide(Some(modified))
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_rfc_9110() {
        use Precondition::{Failed, NotModified, Send};
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        for (fields, wanted) in [
            (&[][..], Send),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, " * ")], NotModified),
            (&[(IF_NONE_MATCH, "\"a\", W/\"b\"")], Send),
            (&[(IF_NONE_MATCH, "\"*\"")], Send),
            (&[(IF_MATCH, "*")], Send),
            (&[(IF_MATCH, "\"a\"")], Failed),
            (&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Send),
            (&[(IF_MODIFIED_SINCE, SAME)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Send),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, SAME)], Send),
            (&[(IF_UNMODIFIED_SINCE, AFTER)], Send),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Send),
            // Entity tags take precedence over dates.
            (&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, SAME)], Send),
            (&[(IF_MATCH, "*"), (IF_UNMODIFIED_SINCE, BEFORE)], Send),
            // `If-Unmodified-Since` takes precedence over `If-None-Match`.
            (
                &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "*")],
                Failed,
            ),
        ] {
            assert_eq!(decide(fields), wanted, "{fields:?}");
        }
    }

    #[test]
    fn a_file_without_a_date_is_sent_regardless_of_the_dates_in_the_request() {
        let conditions = Conditions {
            if_modified_since: Some(AFTER.to_owned()),
            if_unmodified_since: Some(BEFORE.to_owned()),
            ..Conditions::default()
        };
        assert_eq!(conditions.decide(None), Precondition::Send);
    }
}
