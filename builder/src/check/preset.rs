//! Checks presets, which decide which units are enabled. systemd reads the preset files in the
//! order of their names, and follows the first line that matches a unit (systemd 219,
//! src/shared/install.c, unit_file_query_preset).

use super::file::File;
use super::finding::Finding;
use super::systemd::words::{bare, strip};
use super::tables;
use super::text::TextSpan;
use super::unit;

/// The last preset file of CentOS, which contains `disable *`.
const LAST: &str = "99-default-disable.preset";

/// The preset file that contains the lines in [`tables::PRESETS`].
const STOCK: &str = "90-default.preset";

/// The image's own preset file. This file also names units of packages.
pub(super) const IMAGE: &str = "/usr/lib/systemd/system-preset/10-etcd.preset";

/// The units to which the kickstart applies the presets, apart from the user's units. If the
/// image's presets enable one of these units, the kickstart then checks that the unit is enabled.
/// If the unit is not enabled, the installation ends with an error.
pub(super) const APPLIED: [&str; 8] = [
    "etcd.service",
    "firewalld.service",
    "firstboot-image.timer",
    "firstboot-renew.timer",
    "firstboot-snapshot.timer",
    "firstboot-update.service",
    "firstboot-update.timer",
    "firstboot.service",
];

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let late = path.rsplit('/').next().is_some_and(|name| name > LAST);
    for line in TextSpan::whole(text).split('\n').map(strip) {
        if line.text.starts_with(['#', ';']) {
            continue;
        }
        let words: Vec<TextSpan<'_>> = bare(line).collect();
        let [verb, rest @ ..] = &words[..] else {
            continue;
        };
        if !["enable", "disable"].contains(&verb.text) {
            out.push(unknown_verb(*verb));
            continue;
        }
        let Some(pattern) = rest.first() else {
            out.push(
                Finding::error(
                    "preset/pattern",
                    *verb,
                    format!("`{}` does not name a unit", verb.text),
                )
                .effect("the line matches no unit")
                .fix("add the name of a unit"),
            );
            continue;
        };
        if let Some(extra) = rest.get(1) {
            out.push(
                Finding::error("preset/pattern", *extra, "the line has more than one name")
                    .effect("systemd 219 reads the names as one name that contains a blank")
                    .fix("write one line for each unit; name each instance of a template in full"),
            );
        }
        if !pattern.text.contains(['.', '*', '?', '[']) {
            out.push(
                Finding::error(
                    "preset/pattern",
                    *pattern,
                    format!("`{}` is not the name of a unit", pattern.text),
                )
                .effect("no unit has this name")
                .fix(format!("write {}.service", pattern.text)),
            );
        }
        if late {
            out.push(
                Finding::error(
                    "preset/too-late",
                    line,
                    format!("systemd reads this file after CentOS's {LAST}"),
                )
                .effect("the line `disable *` in 99-default-disable.preset has already matched every unit")
                .fix("name the file 10-own.preset"),
            );
        }
    }
    out
}

fn unknown_verb(verb: TextSpan<'_>) -> Finding {
    let finding = Finding::error(
        "preset/verb",
        verb,
        format!("systemd 219 does not support `{}` in a preset", verb.text),
    )
    .effect("systemd ignores the line");
    finding.fix(if verb.text == "ignore" {
        "`ignore` is newer than systemd 219; remove the line"
    } else {
        "write enable or disable"
    })
}

/// Returns whether a name matches a pattern of fnmatch(3) with FNM_NOESCAPE, in which only `*`, `?`
/// and sets such as `[a-z]` are special. A pattern with more than four stars, or a name of more
/// than 256 bytes, never matches here, because trying all ways to match would take too long.
fn fits(pattern: &str, name: &str) -> bool {
    let stars = pattern.chars().filter(|c| *c == '*').count();
    stars <= 4 && name.len() <= 256 && rest_fits(pattern, name)
}

fn rest_fits(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    let (first, mut own) = (letters.next(), name.chars());
    let rest = letters.as_str();
    match first {
        None => name.is_empty(),
        Some('*') => name
            .char_indices()
            .map(|(at, _)| at)
            .chain([name.len()])
            .any(|at| rest_fits(rest, &name[at..])),
        Some(c) => own.next().is_some_and(|found| {
            let (fits, rest) = match set(rest).filter(|_| c == '[') {
                Some((set, rest)) => (is_in(set, found), rest),
                None => (c == '?' || c == found, rest),
            };
            fits && rest_fits(rest, own.as_str())
        }),
    }
}

/// Returns the characters of a set up to the closing `]`, and the rest of the pattern. A `]` at the
/// start of the set belongs to the set.
fn set(pattern: &str) -> Option<(&str, &str)> {
    let skip = usize::from(pattern.starts_with(['!', '^']));
    let end = pattern
        .char_indices()
        .skip(skip + 1)
        .find(|(_, c)| *c == ']')?
        .0;
    Some((&pattern[..end], &pattern[end + 1..]))
}

fn is_in(set: &str, found: char) -> bool {
    let members = set.strip_prefix(['!', '^']).unwrap_or(set);
    let letters: Vec<char> = members.chars().collect();
    let range = |three: &[char]| three[1] == '-' && (three[0]..=three[2]).contains(&found);
    (letters.contains(&found) || letters.windows(3).any(range)) == (members.len() == set.len())
}

pub(super) fn is_preset_file(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, kind)| kind == "preset")
}

/// A valid line of a preset.
pub(super) struct PresetLine<'a> {
    pub(super) enables: bool,
    pub(super) pattern: TextSpan<'a>,
    /// The index of the file.
    pub(super) file: usize,
    /// Whether systemd reads the file after [`STOCK`].
    after_stock: bool,
}

/// Returns the indices of the presets that systemd reads before CentOS's last preset, in the order
/// in which systemd reads them.
fn presets(files: &[File<'_>]) -> Vec<usize> {
    let name = |index: &usize| files[*index].path.rsplit('/').next().unwrap_or_default();
    let mut presets: Vec<usize> = (0..files.len())
        .filter(|index| is_preset_file(&files[*index].path) && name(index) < LAST)
        .collect();
    presets.sort_by_key(name);
    presets
}

/// Returns the valid lines of the presets that systemd reads before CentOS's last preset, in the
/// order in which systemd reads the lines.
pub(super) fn lines<'a>(files: &'a [File<'_>]) -> Vec<PresetLine<'a>> {
    let mut out = Vec::new();
    for file in presets(files) {
        let File { path, text, .. } = &files[file];
        let after_stock = path.rsplit('/').next().is_some_and(|name| name > STOCK);
        for line in TextSpan::whole(text).lines().map(TextSpan::trim) {
            let verb = line.text.split(char::is_whitespace).next();
            let Some(verb) = verb.filter(|verb| ["enable", "disable"].contains(verb)) else {
                continue;
            };
            out.push(PresetLine {
                enables: verb == "enable",
                pattern: line.from(verb.len()).trim(),
                file,
                after_stock,
            });
        }
    }
    out
}

/// Returns the line that decides whether a unit is enabled. Returns `None` if CentOS's presets
/// decide this.
pub(super) fn deciding<'l, 'a>(
    lines: &'l [PresetLine<'a>],
    name: &str,
) -> Option<&'l PresetLine<'a>> {
    lines
        .iter()
        .find(|line| fits(line.pattern.text, name))
        .filter(|line| !(line.after_stock && is_stock(name)))
}

/// Returns whether the presets enable a unit.
pub(super) fn is_enabled(lines: &[PresetLine<'_>], name: &str) -> bool {
    deciding(lines, name).map_or_else(|| is_stock(name), |line| line.enables)
}

/// Returns whether CentOS's presets enable a unit.
fn is_stock(name: &str) -> bool {
    tables::PRESETS.iter().any(|pattern| fits(pattern, name))
}

/// Finds lines that contradict CentOS's presets for a unit of a package. A package applies the
/// presets when it is installed, which is before the overlay exists. The kickstart applies the
/// presets only to the units in the overlay and to the units in [`APPLIED`].
fn not_applied(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let mut out = Vec::new();
    let own: Vec<&str> = files.iter().filter_map(unit::startable).collect();
    let presets = files
        .iter()
        .enumerate()
        .filter(|(_, file)| is_preset_file(&file.path) && file.path != IMAGE);
    for (index, file) in presets {
        for line in TextSpan::whole(file.text).split('\n').map(strip) {
            let words: Vec<TextSpan<'_>> = bare(line).collect();
            let [verb, name] = &words[..] else { continue };
            let enables = verb.text == "enable";
            let is_unit = name.text.contains('.') && !name.text.contains(['*', '?', '[']);
            if !is_unit
                || own.contains(&name.text)
                || APPLIED.contains(&name.text)
                || !["enable", "disable"].contains(&verb.text)
                || enables == is_stock(name.text)
            {
                continue;
            }
            let (stays, command) = if enables {
                ("disabled", "enable")
            } else {
                ("enabled", "disable")
            };
            let message = format!("the installer does not apply presets to {}", name.text);
            let finding = Finding::warning("preset/not-applied", *name, message)
                .effect(format!(
                    "the overlay does not contain the unit, so the unit stays {stays}"
                ))
                .fix(format!(
                    "run `systemctl {command} {}` in a script of [files] post",
                    name.text
                ));
            out.push((index, finding));
        }
    }
    out
}

/// Reports each preset line for a unit to which the installer applies no presets. Also reports each
/// unit that stays disabled although no preset disables the unit by its full name.
pub(super) fn cross_check(files: &[File<'_>]) -> Vec<(usize, Finding)> {
    let lines = lines(files);
    let mut own = presets(files).into_iter().map(|index| &files[index]);
    let own = own.find(|file| file.path != IMAGE);
    let mut out = not_applied(files);
    for (index, file) in files.iter().enumerate() {
        let Some(name) = unit::installable(file) else {
            continue;
        };
        let (message, effect, instead) = match deciding(&lines, name) {
            // A `disable` line with the unit's full name is intentional.
            Some(line) if line.enables || line.pattern.text == name => continue,
            // The module `enabling` reports a line that disables one of the image's units.
            Some(_) if APPLIED.contains(&name) => continue,
            Some(line) => (
                format!(
                    "`disable {}` in {} comes before any line that enables {name}",
                    line.pattern.text, files[line.file].shown
                ),
                "the unit stays disabled",
                format!("write `enable {name}` above the line with `disable`"),
            ),
            None if is_stock(name) => continue,
            None => (
                format!("no preset enables {name}"),
                "the unit stays disabled; the presets of CentOS end with `disable *`",
                own.map_or_else(
                    || {
                        format!(
                            "add /usr/lib/systemd/system-preset/20-own.preset with `enable {name}`"
                        )
                    },
                    |file| format!("add `enable {name}` to {}", file.shown),
                ),
            ),
        };
        let at = file.text.find("[Install]").unwrap_or(0);
        let finding = Finding::error("preset/off", at..at + "[Install]".len(), message);
        out.push((index, finding.effect(effect).fix(instead)));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "a.service", true),
            ("a.*", "a.timer", true),
            ("a?.service", "ab.service", true),
            ("a.service", "b.service", false),
            ("[a-c]?.service", "bx.service", true),
            ("[!a-c]?.service", "bx.service", false),
            ("[].service", "[].service", true),
            ("[]x].service", "].service", true),
        ] {
            assert_eq!(super::fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
