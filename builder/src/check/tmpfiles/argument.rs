//! Checks the argument of a tmpfiles.d line according to the line's type (src/tmpfiles/tmpfiles.c).

use crate::check::finding::Finding;
use crate::check::systemd::number::scan;
use crate::check::systemd::words::Extract;
use crate::check::text::TextSpan;

const RULE: &str = "tmpfiles/argument";

/// Checks the argument of a line of this type.
pub(super) fn check(
    letter: char,
    kind: TextSpan<'_>,
    argument: Option<TextSpan<'_>>,
) -> Option<Finding> {
    let needed = |instead: &str| {
        let finding = Finding::error(
            RULE,
            kind,
            format!("a line of type {letter} needs an argument"),
        );
        Some(
            finding
                .effect("systemd-tmpfiles ignores the line")
                .fix(instead),
        )
    };
    match (letter, argument) {
        ('w', None) => needed("write the text for the file in the field after the age"),
        ('b' | 'c', None) => needed("write MAJOR:MINOR in the field after the age"),
        ('t' | 'T', None) => needed("write NAME=VALUE in the field after the age"),
        ('a' | 'A', None) => needed("write an ACL such as u:etcd:r-x in the field after the age"),
        ('h' | 'H', None) => needed("write attributes such as +C in the field after the age"),
        ('d' | 'v' | 'e' | 'D' | 'p' | 'x' | 'X' | 'r' | 'R' | 'm' | 'z' | 'Z', Some(argument)) => {
            let message = format!("a line of type {letter} accepts no argument");
            Some(
                Finding::warning(RULE, argument, message)
                    .effect("systemd-tmpfiles ignores the argument and warns")
                    .fix("remove it"),
            )
        }
        ('C', Some(argument)) if !unquoted(argument.text).starts_with('/') => Some(wrong(
            argument,
            "an absolute path",
            "write the absolute path of the source",
        )),
        ('b' | 'c', Some(argument)) if !is_device(unquoted(argument.text)) => Some(wrong(
            argument,
            "MAJOR:MINOR",
            "write the major and minor numbers, as in 1:3",
        )),
        ('h' | 'H', Some(argument)) => attributes(argument),
        ('a' | 'A', Some(argument)) => acl(argument),
        ('t' | 'T', Some(argument)) => extended(argument),
        _ => None,
    }
}

fn wrong(argument: TextSpan<'_>, what: &str, instead: &str) -> Finding {
    let finding = Finding::error(RULE, argument, format!("`{}` is not {what}", argument.text));
    finding
        .effect("systemd-tmpfiles ignores the line")
        .fix(instead)
}

/// Returns the text without its surrounding quotes (`unquote`).
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

/// Returns whether sscanf reads two numbers with `%u:%u`. sscanf ignores the text after the
/// numbers.
fn is_device(text: &str) -> bool {
    let minor = scan(text, 10).and_then(|major| major.rest.strip_prefix(':'));
    minor.and_then(|minor| scan(minor, 10)).is_some()
}

fn attributes(argument: TextSpan<'_>) -> Option<Finding> {
    let text = unquoted(argument.text);
    let letters = text.strip_prefix(['+', '-', '=']).unwrap_or(text);
    let right = letters.chars().all(|c| "ASDacdeijsutTC".contains(c))
        && (!letters.is_empty() || text == "=");
    (!right).then(|| {
        wrong(
            argument,
            "a set of attributes",
            "write +, - or =, followed by letters of chattr(1), as in +C",
        )
    })
}

/// Checks an ACL (`parse_acl` of src/shared/acl-util.c, acl_from_text(3)). The builder cannot check
/// whether the users in the ACL exist on the node.
fn acl(argument: TextSpan<'_>) -> Option<Finding> {
    let entries = unquoted(argument.text)
        .split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty());
    let plain = |entry: &'_ str| -> bool {
        let entry = entry
            .strip_prefix("default:")
            .or_else(|| entry.strip_prefix("d:"))
            .unwrap_or(entry);
        let mut fields = entry.split(':').map(str::trim);
        let (tag, second, third) = (
            fields.next().unwrap_or_default(),
            fields.next(),
            fields.next(),
        );
        let permissions = match (tag, second, third) {
            ("u" | "user" | "g" | "group", Some(_), third) => third,
            ("m" | "mask" | "o" | "other", Some(""), Some(third)) => Some(third),
            ("m" | "mask" | "o" | "other", second, None) => second,
            _ => None,
        };
        fields.next().is_none() && permissions.is_some_and(is_permissions)
    };
    let any = entries.clone().next().is_some();
    let right = any && entries.clone().all(plain);
    (!right).then(|| {
        wrong(
            argument,
            "an ACL",
            "write entries as in u:etcd:r-x,d:g:etcd:r--, separated by commas",
        )
    })
}

/// Returns whether a string consists of one to three characters: `r`, `w` and `x`, each at most
/// once, and any number of `-`.
fn is_permissions(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    (1..=3).contains(&text.len())
        && text.chars().all(|c| "rwx-".contains(c))
        && ['r', 'w', 'x'].into_iter().all(once)
}

/// Checks extended attributes. systemd-tmpfiles ignores a word that is not an attribute.
fn extended(argument: TextSpan<'_>) -> Option<Finding> {
    let mut words = Extract::quoted(
        argument.from(usize::from(
            unquoted(argument.text).len() < argument.text.len(),
        )),
        " \t\n\r",
    );
    loop {
        let (word, span) = match words.next() {
            Ok(Some(word)) => word,
            Ok(None) => return None,
            Err(rest) => {
                let finding = Finding::error(
                    RULE,
                    rest,
                    "the argument has an unclosed quote, or ends with a \\",
                );
                return Some(
                    finding
                        .effect("systemd-tmpfiles ignores everything from here on")
                        .fix("close the quote"),
                );
            }
        };
        if !word
            .split_once('=')
            .is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
        {
            let finding = Finding::error(
                RULE,
                span,
                format!("`{}` does not have the form NAME=VALUE", span.text),
            );
            return Some(
                finding
                    .effect("systemd-tmpfiles ignores the word")
                    .fix("write NAME=VALUE, as in user.comment=\"a b\""),
            );
        }
    }
}
