//! tmpfiles.d, as CentOS 7's systemd 219 takes it (src/tmpfiles/tmpfiles.c). Of its types, e is Red Hat's back-port of
//! 219-35 (#1225739), and h and H are that of 219-45 (#1299714; the changelog of its systemd.spec).

use super::finding::Finding;
use super::text::Part;

const TYPES: &str = "fFdDvpLcbCwetTaAxXrRzZmhH";

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut paths: Vec<&str> = Vec::new();
    for line in
        Part::whole(text).lines().map(Part::trim).filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
    {
        let fields: Vec<Part<'_>> = line.words().collect();
        let Some((kind, rest)) = fields.split_first() else { continue };
        kind_of(*kind, &mut out);
        let Some(path) = rest.first() else {
            out.push(
                Finding::error("tmpfiles/fields", line, "a line has at least a type and a path")
                    .does("ignored")
                    .instead("write TYPE PATH MODE USER GROUP AGE ARGUMENT"),
            );
            continue;
        };
        if !path.text.starts_with(['/', '%', '"', '\'']) {
            out.push(
                Finding::error("tmpfiles/path", *path, format!("`{}` is no path from the root", path.text))
                    .does("the line is ignored")
                    .instead("begin it with /"),
            );
        }
        specifier(*path, &mut out);
        if let Some(mode) = rest.get(1) {
            let digits = mode.text.trim_start_matches('~');
            if mode.text.starts_with(':') {
                out.push(
                    Finding::error("tmpfiles/mode", *mode, "219 does not know the : before a mode")
                        .does("the line is ignored")
                        .instead("write the mode alone"),
                );
            } else if mode.text != "-" && !u32::from_str_radix(digits, 8).is_ok_and(|mode| mode <= 0o7777) {
                out.push(
                    Finding::error("tmpfiles/mode", *mode, format!("`{}` are no permissions", mode.text))
                        .does("the line is ignored")
                        .instead("write them in octal, as 0750, or - for the default"),
                );
            }
        }
        let letter = kind.text.chars().next().unwrap_or(' ');
        if let Some(age) = rest.get(4).filter(|age| age.text != "-" && "dDeCxXv".contains(letter)) {
            let span = age.text.trim_start_matches('~');
            if super::systemd::time::sec(span).is_none() {
                out.push(
                    Finding::error("tmpfiles/age", *age, format!("`{}` is no age", age.text))
                        .does("the line is ignored")
                        .instead("write a time, as 10d, or - for never"),
                );
            }
        }
        if "dDfFv".contains(letter) && paths.contains(&path.text) {
            out.push(
                Finding::warning("tmpfiles/twice", *path, format!("{} has a line already", path.text))
                    .does("219 takes the first and drops the other")
                    .instead("take one away"),
            );
        }
        paths.push(path.text);
    }
    out
}

fn kind_of(kind: Part<'_>, out: &mut Vec<Finding>) {
    let mut letters = kind.text.chars();
    let letter = letters.next().unwrap_or(' ');
    let rest = letters.as_str();
    if let Some(later) = rest.chars().find(|c| !"!+".contains(*c)) {
        let message = format!("219 does not know the modifier {later}");
        out.push(
            Finding::error("tmpfiles/type", kind, message)
                .does("the line is ignored: bad modifier")
                .instead("219 has ! for boot only, and + for w, p, L, c, b, a, t"),
        );
    } else if !TYPES.contains(letter) {
        let finding =
            Finding::error("tmpfiles/type", kind, format!("219 has no type {letter}")).does("the line is ignored");
        out.push(finding.instead(if "qQ".contains(letter) {
            "write d, or v for a subvolume of btrfs"
        } else {
            "f, d, D, L, C, w, z, Z and others: see tmpfiles.d(5)"
        }));
    }
}

fn specifier(path: Part<'_>, out: &mut Vec<Finding>) {
    for (at, _) in path.text.match_indices('%') {
        let Some(letter) = path.text[at + 1..].chars().next().filter(|letter| !"mbHv%".contains(*letter)) else {
            continue;
        };
        if path.text[..at].ends_with('%') {
            continue;
        }
        let place = path.cut(at..at + 1 + letter.len_utf8());
        out.push(
            Finding::error("tmpfiles/specifier", place, format!("219 does not know %{letter} here"))
                .does("it stays as these two characters")
                .instead("it has %m, %b, %H and %v; write anything else out"),
        );
    }
}
