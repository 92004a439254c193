//! Checks the value of a directive by its type. known/systemd-219-units.txt lists the types, each
//! of which corresponds to one parser of systemd 219.

use recipes::diagnostic::nearest;

use super::assignment::Assignment;
use super::context::Context;
use super::value_error::{KEPT, ValueError, unresolved};
use super::{capability, cpus, exec, expanded, hint, list, plain};
use crate::check::finding::Finding;
use crate::check::systemd::number;
use crate::check::systemd::specifier;
use crate::check::text::TextSpan;

/// Checks the value of a directive of this type. Returns the number of commands or words that
/// systemd 219 accepts. For a single value, returns 1 if systemd accepts the value, and 0 if not.
/// `list` reads the types that are lists. `exec`, `cpus` and `capability` have their own syntax.
/// All other types are single values.
pub(super) fn check(
    value_type: &str,
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> usize {
    let (key, value) = (assignment.key.text, assignment.value);
    specifiers(value_type, key, value, out);
    if key.starts_with("Smack") {
        let finding = Finding::warning(
            "unit/no-effect",
            assignment.key,
            format!("{key}= has no effect, because CentOS 7's kernel does not support SMACK"),
        );
        out.push(finding.fix("remove the directive; SELinuxContext= sets an SELinux label"));
    }
    if let Some(accepted) = list::check(value_type, assignment, context, out) {
        return accepted;
    }
    match value_type {
        "exec" => exec::check(assignment, out),
        "cpus" => cpus::check(assignment, context, out),
        "capability-set" => capability::set(assignment, out),
        "secure-bits" => capability::secure_bits(assignment, out),
        "compiled-out" | "removed" | "not-enabled" => {
            out.push(hint::without_effect(value_type, assignment));
            0
        }
        _ => usize::from(check_single(value_type, assignment, context, out)),
    }
}

/// Returns whether systemd 219 accepts a single value. `expanded` handles the types with
/// specifiers, and `plain` the types without them. Any other type lists the words that it allows.
fn check_single(
    value_type: &str,
    assignment: &Assignment<'_>,
    context: &Context,
    out: &mut Vec<Finding>,
) -> bool {
    let text = assignment.value.text;
    let result = expanded::check(value_type, text, context)
        .or_else(|| plain::check(value_type, text, context));
    let Some(result) = result else {
        let finding = check_word(value_type, assignment);
        let is_allowed = finding.is_none();
        out.extend(finding);
        return is_allowed;
    };
    // In the values of some types, systemd 219 keeps a specifier that it cannot resolve.
    let keeps = text.starts_with('/')
        && [
            "watched-path",
            "environment-file",
            "listen",
            "listen-file",
            "listen-packet",
        ]
        .contains(&value_type);
    match result {
        Ok(()) => true,
        Err(ValueError::Syntax(rule, expected)) => {
            out.push(assignment.ignored(rule, &expected));
            false
        }
        Err(ValueError::Unresolved(letter)) => {
            let finding = unresolved(assignment, letter);
            out.push(if keeps { finding.effect(KEPT) } else { finding });
            keeps
        }
    }
}

/// Checks a value against a short list of words. In the list, `bool` means all spellings of a
/// boolean, and `..N` means any number up to N.
fn check_word(value_type: &str, assignment: &Assignment<'_>) -> Option<Finding> {
    let text = assignment.value.text;
    let up_to = |most: &str| {
        number::unsigned(text)
            .is_some_and(|number| most.parse().is_ok_and(|most: u32| number <= most))
    };
    let is = |word: &str| match word.strip_prefix("..") {
        Some(most) => up_to(most),
        None if word == "bool" => number::boolean(text).is_some(),
        None => word == text,
    };
    let words: Vec<&str> = value_type.split('|').collect();
    if words.iter().any(|word| is(word)) {
        return None;
    }
    let shown: Vec<&str> = words
        .iter()
        .filter(|word| !word.starts_with(".."))
        .map(|word| if *word == "bool" { "yes, no" } else { word })
        .collect();
    let finding = assignment.ignored("unit/value-word", &format!("one of: {}", shown.join(", ")));
    let near = || {
        nearest(
            text,
            words
                .iter()
                .copied()
                .filter(|word| *word != "bool" && !word.starts_with("..")),
        )
    };
    Some(match (hint::word(assignment.key.text, text), near()) {
        (Some(instead), _) => finding.fix(instead),
        (None, Some(near)) if !text.is_empty() => finding.fix(format!("did you mean {near}?")),
        _ => finding,
    })
    .map(|finding| match assignment.key.text {
        "ProtectSystem" | "ProtectHome" => {
            finding.effect("systemd ignores the line, so the line protects nothing")
        }
        "Type" => finding.effect(
            "systemd ignores the line, and the other settings decide the type of the service",
        ),
        _ => finding,
    })
}

/// Finds specifiers that systemd 219 does not expand. In an absolute path of the type `path`,
/// systemd 219 expands no specifiers. In all other values, this function finds only the specifiers
/// that later releases introduced. `list` checks the names of folders,
/// in which systemd 219 expands fewer specifiers.
fn specifiers(value_type: &str, key: &str, value: TextSpan<'_>, out: &mut Vec<Finding>) {
    if value_type == "path" && value.text.starts_with('/') {
        out.extend(list::unexpanded(value, ""));
        return;
    }
    let expands = value_type.ends_with('%')
        || [
            "exec",
            "environment",
            "units",
            "folders",
            "environment-file",
            "watched-path",
            "condition-path",
        ]
        .contains(&value_type);
    // A value with a `+` can contain a format of date(1), in which `%` and a letter have a
    // different meaning.
    if !expands || value.text.contains('+') || key == "Description" {
        return;
    }
    let mut rest = value;
    while let Some(at) = rest.text.find('%') {
        let letter = rest.text[at + 1..].chars().next();
        if let Some((later, instead)) = specifier::LATER
            .iter()
            .find(|(later, _)| Some(*later) == letter)
        {
            let finding = Finding::warning(
                "unit/specifier",
                rest.slice(at..at + 2),
                format!("systemd 219 does not support the specifier %{later}"),
            );
            out.push(
                finding
                    .effect("systemd keeps the two characters unchanged")
                    .fix(format!("write {instead}")),
            );
        }
        rest = rest.from(at + 1 + letter.map_or(0, char::len_utf8));
    }
}
