//! Checks tmpfiles.d as CentOS 7's systemd 219 reads it (`parse_line` of src/tmpfiles/tmpfiles.c).
//! Red Hat back-ported the type `e` in 219-35 (#1225739), and the types `h` and `H` in 219-45
//! (#1299714; changelog of Red Hat's systemd.spec).

mod argument;

use std::collections::BTreeMap;

use super::finding::Finding;
use super::systemd::time;
use super::systemd::words::{bare, clean_path, strip};
use super::text::TextSpan;

const TYPES: &str = "fFdDvpLcbCwetTaAxXrRzZmhH";

/// Types whose path is a pattern (`needs_glob`).
const GLOBS: &str = "wxXreRmzZtTaA";

/// Types that allow only one line per path (`takes_ownership`).
const OWNERS: &str = "fFdeDvpLcbCwxXrR";

/// The longest line, in bytes, that systemd 219 reads in one piece (glibc's LINE_MAX, less the line
/// end and the NUL).
const MAX_LINE_BYTES: usize = 2046;

/// The fields of a line. systemd 219 supports quotes only around the argument.
#[derive(Debug)]
struct Line<'a> {
    kind: TextSpan<'a>,
    path: TextSpan<'a>,
    mode: Option<TextSpan<'a>>,
    age: Option<TextSpan<'a>>,
    /// User and group.
    owner: [&'a str; 2],
    argument: Option<TextSpan<'a>>,
}

impl<'a> Line<'a> {
    /// Splits a line into its fields. Returns `None` if there are fewer than two fields. A field
    /// that consists of a single `-` counts as missing.
    fn of(text: TextSpan<'a>) -> Option<Self> {
        let words: Vec<TextSpan<'a>> = bare(text).collect();
        let field = |index: usize| words.get(index).copied().filter(|field| field.text != "-");
        let end = words.get(5).map(|last| last.span().end - text.span().start);
        let argument = end.map(|end| strip(text.from(end)));
        Some(Self {
            kind: *words.first()?,
            path: *words.get(1)?,
            mode: field(2),
            owner: [3, 4].map(|index| field(index).map_or("", |field| field.text)),
            age: field(5),
            argument: argument.filter(|argument| !matches!(argument.text, "" | "-")),
        })
    }

    fn letter(&self) -> char {
        self.kind.text.chars().next().unwrap_or(' ')
    }
}

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut seen: BTreeMap<(bool, String), Line<'_>> = BTreeMap::new();
    for text in TextSpan::whole(text).split('\n').map(strip) {
        if text.text.len() > MAX_LINE_BYTES {
            let finding = Finding::error(
                "tmpfiles/fields",
                text,
                format!("the line has more than {MAX_LINE_BYTES} bytes"),
            );
            out.push(
                finding
                    .effect("systemd-tmpfiles reads the line in pieces, and treats each piece as a line")
                    .fix("write a shorter line"),
            );
            continue;
        }
        if text.text.is_empty() || text.text.starts_with('#') {
            continue;
        }
        let Some(line) = Line::of(text) else {
            let finding = Finding::error(
                "tmpfiles/fields",
                text,
                "a line needs at least a type and a path",
            );
            out.push(
                finding
                    .effect("systemd-tmpfiles ignores the line")
                    .fix("write TYPE PATH MODE USER GROUP AGE ARGUMENT"),
            );
            continue;
        };
        let of_line = [
            kind(&line),
            argument::check(line.letter(), line.kind, line.argument),
            path(&line),
            line.mode.and_then(mode),
            line.age.and_then(age),
        ];
        // systemd-tmpfiles stops at the first error of a line.
        let mut refused = false;
        for finding in of_line.into_iter().flatten() {
            refused |= finding.stops_build(false);
            out.push(finding);
            if refused {
                break;
            }
        }
        out.extend(specifier(line.path));
        if !refused && OWNERS.contains(line.letter()) {
            let key = (GLOBS.contains(line.letter()), clean_path(line.path.text));
            match seen.get(&key) {
                Some(first) => out.extend(duplicate(first, &line)),
                None => drop(seen.insert(key, line)),
            }
        }
    }
    out
}

fn ignored(
    rule: &'static str,
    span: TextSpan<'_>,
    message: impl Into<String>,
    instead: &str,
) -> Finding {
    Finding::error(rule, span, message)
        .effect("systemd-tmpfiles ignores the line")
        .fix(instead)
}

fn kind(line: &Line<'_>) -> Option<Finding> {
    let (letter, modifiers) = line.kind.text.split_at(line.letter().len_utf8());
    let once = |c: char| modifiers.matches(c).count() <= 1;
    if !modifiers.chars().all(|c| "!+".contains(c)) || !once('!') || !once('+') {
        let message = format!("systemd 219 does not support the modifiers `{modifiers}`");
        let instead = "systemd 219 supports ! (only at boot) and + (for w, p, L, c, b, a, t), each at most once";
        return Some(ignored("tmpfiles/type", line.kind, message, instead));
    }
    let instead = match letter {
        letter if TYPES.contains(letter) => return None,
        "q" | "Q" => "write d for a folder, or v for a btrfs subvolume",
        ";" => "begin a comment with #",
        _ => "write f, d, D, L, C, w, z, Z or another type from tmpfiles.d(5)",
    };
    Some(ignored(
        "tmpfiles/type",
        line.kind,
        format!("systemd 219 does not support the type {letter}"),
        instead,
    ))
}

fn path(line: &Line<'_>) -> Option<Finding> {
    // systemd-tmpfiles 219 does not support any specifier that expands to a string with a leading
    // slash.
    if line.path.text.starts_with('/') {
        return None;
    }
    let quoted = line.path.text.starts_with(['"', '\'']);
    let message = format!("`{}` is not an absolute path", line.path.text);
    let instead = if quoted {
        "systemd 219 does not support quotes around a path; write the path without quotes and \
         blanks"
    } else {
        "begin the path with /"
    };
    Some(ignored("tmpfiles/path", line.path, message, instead))
}

/// The largest mode, which has 12 bits. The kernel ignores any bits above these 12.
const MAX_MODE: u32 = 0o7777;

/// Checks permissions as sscanf reads them with `%o`. sscanf ignores the text after the octal
/// number.
fn mode(mode: TextSpan<'_>) -> Option<Finding> {
    let text = mode.text.strip_prefix('~').unwrap_or(mode.text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let octal = &digits[..digits
        .find(|c: char| !('0'..='7').contains(&c))
        .unwrap_or(digits.len())];
    if octal.is_empty() {
        let message = format!("`{}` is not a mode", mode.text);
        let instead = if text.starts_with(':') {
            "remove the :, which is newer than systemd 219"
        } else {
            "write permissions in octal, such as 0750, or - for the default"
        };
        return Some(ignored("tmpfiles/mode", mode, message, instead));
    }
    let read = read_mode(octal, text.starts_with('-'));
    let is_plain = octal.len() == text.len();
    if is_plain && u32::from_str_radix(octal, 8).is_ok_and(|mode| mode <= MAX_MODE) {
        return None;
    }
    let message = if is_plain {
        format!("`{}` is larger than the largest mode, 7777", mode.text)
    } else {
        format!("`{}` is not a plain octal mode", mode.text)
    };
    let finding = Finding::warning("tmpfiles/mode", mode, message);
    Some(
        finding
            .effect(format!("systemd-tmpfiles sets the mode {read:04o}"))
            .fix("write permissions in octal, such as 0750"),
    )
}

/// Returns the mode that results from an octal number. glibc reads the number as an unsigned long,
/// and stores it as an unsigned int.
fn read_mode(octal: &str, negative: bool) -> u32 {
    let number = match u64::from_str_radix(octal, 8) {
        Ok(number) if negative => number.wrapping_neg(),
        Ok(number) => number,
        Err(_) => u64::MAX,
    };
    u32::try_from(number & u64::from(MAX_MODE)).unwrap_or(MAX_MODE)
}

fn age(age: TextSpan<'_>) -> Option<Finding> {
    let text = age.text.strip_prefix('~').unwrap_or(age.text);
    let message = format!("`{}` is not an age", age.text);
    time::sec(text).is_none().then(|| {
        ignored(
            "tmpfiles/age",
            age,
            message,
            "write a time such as 10d, or - for never",
        )
    })
}

/// Returns a finding if a second line for the same path differs from the first. systemd-tmpfiles
/// keeps the first line (`item_compatible`).
fn duplicate(first: &Line<'_>, line: &Line<'_>) -> Option<Finding> {
    let settings = |line: &Line<'_>| {
        let text = |field: Option<TextSpan<'_>>| field.map(|field| field.text.to_owned());
        (
            text(line.mode),
            text(line.age),
            text(line.argument),
            line.owner.map(str::to_owned),
        )
    };
    (settings(first) != settings(line)).then(|| {
        Finding::warning(
            "tmpfiles/twice",
            line.path,
            format!("{} already has a line", line.path.text),
        )
        .effect("systemd-tmpfiles keeps the first line and ignores this line")
        .fix("remove one of them")
    })
}

fn specifier(path: TextSpan<'_>) -> Option<Finding> {
    let mut letters = path.text.char_indices();
    while let Some((at, c)) = letters.next() {
        if c != '%' {
            continue;
        }
        match letters.next() {
            Some((_, letter)) if "mbHv%".contains(letter) => {}
            Some((_, letter)) => {
                let place = path.slice(at..at + 1 + letter.len_utf8());
                let finding = Finding::warning(
                    "tmpfiles/specifier",
                    place,
                    format!("systemd 219 does not support %{letter} here"),
                );
                return Some(
                    finding
                        .effect("systemd keeps the two characters unchanged")
                        .fix("systemd 219 supports %m, %b, %H and %v; write any other value literally"),
                );
            }
            None => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the checker's findings with the recorded verdicts of the real systemd-tmpfiles.
    #[test]
    fn every_line_is_checked_as_systemd_219_checks_it() {
        let table = include_str!("verdicts/tmpfiles.txt");
        let mut wrong = Vec::new();
        for line in table.lines().filter(|line| !line.starts_with("# ")) {
            let (verdict, line) = line.split_at(2);
            if check(line).iter().any(|finding| finding.stops_build(false)) != (verdict == "r ") {
                wrong.push(format!("{verdict}{line}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
