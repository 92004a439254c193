//! Checks chrony.conf as chrony 3.4 reads it (conf.c, cmdparse.c). chronyd does not start if it
//! cannot parse a line.

mod address;
mod effect;
mod scan;
mod table;
mod words;

use recipes::diagnostic::nearest;

use self::scan::Scan;
use self::table::DirectiveSyntax;
use self::words::{FATAL, comment_or_else, split_word, trim, words, wrong};
use super::finding::Finding;
use super::tables;
use super::text::TextSpan;

/// Checks a chrony.conf.
pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut sources = 0;
    let (mut leap_zone, mut tai) = (false, None);
    for line in TextSpan::whole(text).split('\n') {
        let line = trim(line);
        if line.text.is_empty() || line.text.starts_with(['!', ';', '#', '%']) {
            continue;
        }
        let (first, rest) = split_word(line);
        let name = first.text.to_ascii_lowercase();
        let Some(syntax) = table::directives().get(name.as_str()) else {
            out.push(unknown(first, &name));
            continue;
        };
        directive(first, &name, syntax, rest, &mut out);
        match name.as_str() {
            "server" | "pool" | "peer" => {
                sources += 1;
                effect::source(&name, rest, &mut out);
            }
            "refclock" => {
                sources += 1;
                effect::driver(rest, &mut out);
                tai = tai.or_else(|| {
                    words(rest)
                        .skip(2)
                        .find(|word| word.text.eq_ignore_ascii_case("tai"))
                });
            }
            "include" => out.extend(effect::include(rest)),
            "manual" | "local" => sources += 1,
            "leapsectz" => leap_zone = true,
            "commandkey" | "generatecommandkey" | "linux_freq_scale" | "linux_hz" => {
                out.push(without_meaning(first, &name));
            }
            _ => {}
        }
    }
    if let Some(option) = tai.filter(|_| !leap_zone) {
        let finding = Finding::warning(
            "chrony/refclock",
            option,
            "the option `tai` requires the directive `leapsectz`",
        )
        .effect(effect::STOPS);
        out.push(finding.fix("add leapsectz right/UTC"));
    }
    if sources == 0 {
        out.push(
            Finding::warning("chrony/no-source", 0..0, "the file has no time source")
                .effect("chronyd runs, but the clock drifts")
                .fix("write server HOST iburst"),
        );
    }
    out
}

fn without_meaning(directive: TextSpan<'_>, name: &str) -> Finding {
    Finding::warning(
        "chrony/dead",
        directive,
        format!("{name} no longer has any effect"),
    )
    .effect("chronyd prints a warning at each start")
    .fix("remove it")
}

fn unknown(word: TextSpan<'_>, name: &str) -> Finding {
    let finding = Finding::error(
        "chrony/directive",
        word,
        format!("chrony 3.4 has no directive {name}"),
    )
    .effect(FATAL);
    match nearest(name, table::directives().keys().copied()) {
        _ if ["sourcedir", "confdir"].contains(&name) => {
            finding.fix("a later release added this directive; write `include FILE` instead")
        }
        _ if tables::CHRONY_LATER.contains(name) => {
            finding.fix("a later release added this directive; remove it")
        }
        Some(near) => finding.fix(format!("did you mean {near}?")),
        None => finding.fix("remove it"),
    }
}

/// Checks the text after a directive.
fn directive(
    first: TextSpan<'_>,
    name: &str,
    syntax: &'static DirectiveSyntax,
    rest: TextSpan<'_>,
    out: &mut Vec<Finding>,
) {
    // If the directive has no text, the finding marks the directive itself.
    let span = if rest.text.is_empty() { first } else { rest };
    match syntax {
        DirectiveSyntax::Ignored => {}
        DirectiveSyntax::Words(forms) => out.extend(exactly(first, name, forms, rest)),
        DirectiveSyntax::Options(count, group) => options(first, name, *count, group, rest, out),
        DirectiveSyntax::One(known) => {
            if !known
                .split('|')
                .any(|word| word.eq_ignore_ascii_case(rest.text))
            {
                let expected = known.replace('|', ", ");
                out.push(wrong(
                    span,
                    format!("{name} accepts one word"),
                    format!("write one of: {expected}"),
                ));
            }
        }
        DirectiveSyntax::Any(known) => {
            for word in words(rest).filter(|word| !known.split('|').any(|known| known == word.text))
            {
                out.push(comment_or_else(word, || {
                    let finding = wrong(
                        word,
                        format!("{name} does not accept `{}`", word.text),
                        "remove it",
                    );
                    match nearest(word.text, known.split('|')) {
                        Some(near) => finding.fix(format!("did you mean {near}?")),
                        None => finding.fix(format!("write one of: {}", known.replace('|', ", "))),
                    }
                }));
            }
        }
        DirectiveSyntax::Access => out.extend(address::access(first, name, rest)),
        DirectiveSyntax::Address | DirectiveSyntax::Socket | DirectiveSyntax::Broadcast => {
            if !address::fits(syntax, rest) {
                let expected = match syntax {
                    DirectiveSyntax::Broadcast => "an interval, an address and optionally a port",
                    DirectiveSyntax::Socket => "an address, or the path of a socket",
                    _ => "an address without a prefix",
                };
                out.push(wrong(
                    span,
                    format!("{name} accepts {expected}"),
                    format!("write {expected}"),
                ));
            }
        }
        DirectiveSyntax::InitStepSlew => {
            if Scan::Float.take(rest.text).is_none() {
                out.push(wrong(
                    span,
                    format!("the first word after {name} must be a number"),
                    "write the threshold in seconds",
                ));
            }
        }
    }
}

/// Checks the words of a directive against `forms`, the lists of words that the directive accepts.
fn exactly(
    first: TextSpan<'_>,
    name: &str,
    forms: &[Vec<Scan>],
    rest: TextSpan<'_>,
) -> Option<Finding> {
    let given = words(rest).count();
    let Some(syntax) = forms.iter().find(|syntax| syntax.len() == given) else {
        let (least, most) = (forms[0].len(), forms[forms.len() - 1].len());
        if given < most {
            let counts = if least == most {
                least.to_string()
            } else {
                format!("{least} or {most}")
            };
            let plural = if counts == "1" { "" } else { "s" };
            let message = format!("{name} accepts {counts} word{plural}, found {given}");
            return Some(wrong(first, message, "add the missing words"));
        }
        let extra = words(rest).nth(most)?;
        return Some(comment_or_else(extra, || {
            wrong(
                extra,
                format!("the directive {name} has too many words"),
                "remove them",
            )
        }));
    };
    let mut left = rest;
    for (at, scan) in syntax.iter().enumerate() {
        if matches!(scan, Scan::Literal(_)) {
            left = words(rest).nth(at).unwrap_or(left);
        }
        let Some(taken) = scan.take(left.text) else {
            let span = split_word(left).0;
            let span = if span.text.is_empty() { rest } else { span };
            let message = format!("{name} accepts {}, not `{}`", scan.expects(), span.text);
            return Some(wrong(span, message, format!("write {}", scan.expects())));
        };
        left = left.from(taken);
    }
    None
}

/// Checks a directive with options. If a number ends within a word, chronyd reads the rest of the
/// word as the next option.
fn options(
    first: TextSpan<'_>,
    name: &str,
    count: usize,
    group: &'static str,
    rest: TextSpan<'_>,
    out: &mut Vec<Finding>,
) {
    let mut left = rest;
    for _ in 0..count {
        let (word, behind) = split_word(left);
        if word.text.is_empty() {
            let message = format!("{name} needs more words before its options");
            out.push(wrong(first, message, "add the missing words"));
            return;
        }
        left = behind;
    }
    let Some(known) = table::options(group) else {
        return;
    };
    loop {
        let (word, behind) = split_word(left);
        if word.text.is_empty() {
            return;
        }
        let option = word.text.to_ascii_lowercase();
        match known.get(option.as_str()) {
            None => {
                out.push(unknown_option(name, word, &option, known));
                if option.starts_with(['#', '!', ';', '%']) {
                    return;
                }
                left = behind;
            }
            Some(None) => left = behind,
            Some(Some(scan)) => {
                if let Some(taken) = scan.take(behind.text) {
                    left = behind.from(taken);
                    continue;
                }
                let (value, after) = split_word(behind);
                let subject = if value.text.is_empty() { word } else { value };
                let message = match value.text {
                    "" => format!("{option} has no value"),
                    text => format!("{option} accepts {}, not `{text}`", scan.expects()),
                };
                out.push(
                    Finding::error("chrony/option", subject, message)
                        .effect(FATAL)
                        .fix(format!("write {}", scan.expects())),
                );
                left = after;
            }
        }
    }
}

fn unknown_option(
    directive: &str,
    word: TextSpan<'_>,
    name: &str,
    known: &'static table::Options,
) -> Finding {
    let message = format!("chrony 3.4 has no option {name} for {directive}");
    let finding = Finding::error("chrony/option", word, message).effect(FATAL);
    match nearest(name, known.keys().copied()) {
        _ if name == "nts" => finding.fix(
            "chrony 4.0 added NTS; remove the option `nts`, or write the option `key` instead",
        ),
        _ if tables::CHRONY_LATER.contains(name) => {
            finding.fix("a later release added this option; remove it")
        }
        _ if name.starts_with(['#', '!', ';', '%']) => finding.fix(
            "chrony 3.4 does not support a comment after a directive; move the comment to its own \
             line",
        ),
        Some(near) => finding.fix(format!("did you mean {near}?")),
        None => finding.fix("remove it"),
    }
}
