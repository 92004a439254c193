//! Checks Environment=, PassEnvironment= and Documentation=. systemd 219 expands Documentation= in
//! the same way as Environment=.

use super::assignment::{Assignment, ignored_word};
use super::context::Context;
use super::split::{quote, words};
use crate::check::finding::Finding;
use crate::check::systemd::specifier::Table;
use crate::check::systemd::words::{Extract, Words, is_utf8, unescape};
use crate::check::text::TextSpan;

const WITHIN: &str = "systemd 219 recognises a quote only at the beginning of a word; write \"NAME=a b\", not NAME=\"a b\"";

fn is_environment_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns whether an assignment is valid (`env_assignment_is_valid`).
pub(super) fn is_environment(bytes: &[u8]) -> bool {
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (name, value) = (
        std::str::from_utf8(&bytes[..at]).unwrap_or_default(),
        &bytes[at + 1..],
    );
    is_environment_name(name)
        && is_utf8(value)
        && !value
            .iter()
            .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
}

/// Resolves the specifiers of a value before the value is split. Returns the resulting text only if
/// it differs from the value. The words of such a text do not have positions in the file.
fn expanded<'a>(
    assignment: &Assignment<'a>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> Option<String> {
    let value: TextSpan<'a> = assignment.value;
    match context.first(Table::Full, value.text) {
        Ok(text) => (text != value.text).then_some(text),
        Err(letter) => {
            out.push(
                super::value_error::unresolved(assignment, letter).effect(super::value_error::KEPT),
            );
            None
        }
    }
}

pub(super) fn assignments(
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> usize {
    let right = |word: TextSpan<'_>| is_environment(&unescape(word.text));
    let within = ["=\"", "='"]
        .iter()
        .any(|quote| assignment.value.text.contains(quote));
    let wrong = |span: TextSpan<'_>, shown: &str| {
        let finding = Finding::error(
            "unit/environment",
            span,
            format!("`{shown}` does not have the form NAME=VALUE"),
        );
        finding.effect("systemd ignores the word").fix(if within {
            WITHIN
        } else {
            "write NAME=VALUE; if the value contains blanks, quote the name and the value together, as in \"NAME=a b\""
        })
    };
    match expanded(assignment, context, out) {
        None => words(assignment.value, out, |word, out| {
            let right = right(word);
            if !right {
                out.push(wrong(word, word.text));
            }
            right
        }),
        Some(text) => {
            let (words, rest) = Words::of(TextSpan::whole(&text)).all();
            out.extend(
                words
                    .iter()
                    .filter(|word| !right(**word))
                    .map(|word| wrong(assignment.value, word.text)),
            );
            out.extend(rest.map(|_| quote(assignment.value)));
            words.into_iter().filter(|word| right(*word)).count()
        }
    }
}

/// Returns whether a URL is valid in Documentation= (`documentation_url_is_valid`).
fn is_documentation(url: &str) -> bool {
    let schemes = ["http://", "https://", "file:/", "info:", "man:"];
    url.is_ascii()
        && schemes.iter().any(|scheme| {
            url.strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty())
        })
}

pub(super) fn documentation(
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> usize {
    let text = expanded(assignment, context, out);
    let value = text
        .as_ref()
        .map_or(assignment.value, |text| TextSpan::whole(text));
    let (words, rest) = Words::of(value).all();
    for word in words.iter().filter(|word| !is_documentation(word.text)) {
        let span = if text.is_some() {
            assignment.value
        } else {
            *word
        };
        let finding = Finding::error(
            "unit/value-form",
            span,
            format!("`{}` is not a URL that systemd 219 accepts", word.text),
        );
        out.push(
            finding.effect("systemd ignores the word").fix(
                "write an ASCII URL that begins with http://, https://, file:/, info: or man:",
            ),
        );
    }
    out.extend(rest.map(|rest| {
        quote(if text.is_some() {
            assignment.value
        } else {
            rest
        })
    }));
    words.len()
}

/// Checks the names in PassEnvironment= (`config_parse_pass_environ`).
pub(super) fn names(value: TextSpan<'_>, out: &mut Vec<Finding>) -> usize {
    let mut words = Extract::quoted(value, " \t\n\r");
    let mut right = 0;
    loop {
        match words.next() {
            Ok(Some((name, _))) if is_environment_name(&name) => right += 1,
            Ok(Some((_, span))) => out.push(
                ignored_word("unit/environment", span, "the name of a variable")
                    .fix("write names without values"),
            ),
            Ok(None) => return right,
            Err(rest) => {
                out.push(quote(rest));
                return right;
            }
        }
    }
}
