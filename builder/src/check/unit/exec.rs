//! Command lines: `config_parse_exec` of systemd 219 (src/core/load-fragment.c).

use super::super::finding::Finding;
use super::super::text::Part;

pub(super) fn check(key: &str, value: Part<'_>, out: &mut Vec<Finding>) {
    // `-` and `@`, in any order, each once.
    let mut command = value;
    for _ in 0..2 {
        command = command.strip("-").or_else(|| command.strip("@")).unwrap_or(command);
    }
    let prefix = command.text.chars().next().filter(|c| "+!:|".contains(*c));
    if let Some(prefix) = prefix {
        let instead = match prefix {
            '+' | '!' if key != "ExecStart" => {
                "write PermissionsStartOnly=yes: then all but ExecStart= runs as root".to_owned()
            }
            '+' | '!' => "put what needs root into ExecStartPre= of a unit with PermissionsStartOnly=yes".to_owned(),
            _ => "write the command without it".to_owned(),
        };
        out.push(
            Finding::error("unit/exec-prefix", command.cut(0..1), format!("219 does not know the prefix {prefix}"))
                .does("the line is ignored: the path is not absolute")
                .instead(instead),
        );
    } else if !command.text.starts_with(['/', '"', '\'']) {
        let word = command.words().next().unwrap_or(command);
        out.push(
            Finding::error("unit/exec-path", word, format!("`{}` is no absolute path", word.text))
                .does("the line is ignored; 219 looks into no PATH")
                .instead(format!("write the whole path, as in /usr/bin/{}", word.text.trim_start_matches(['.', '/']))),
        );
    } else if command.words().next().is_some_and(|word| word.text.ends_with('/')) {
        out.push(
            Finding::error("unit/exec-path", command.words().next().unwrap_or(command), "the command is a folder")
                .does("the line is ignored")
                .instead("name the program in it"),
        );
    }
    if let Some(open) = open_quote(value) {
        out.push(
            Finding::error("unit/exec-quote", open, "the quote is not closed")
                .does("the line is ignored")
                .instead("close it, or write \\x22 for \" and \\x27 for '"),
        );
    }
    let of_a_shell = |word: &Part<'_>| matches!(word.text, "|" | "||" | "&&" | ">" | ">>" | "<" | "2>&1" | "&");
    if let Some(word) = value.words().skip(1).find(of_a_shell) {
        out.push(
            Finding::warning("unit/exec-shell", word, format!("`{}` means nothing here", word.text))
                .does("no shell reads this line: the program gets it as an argument")
                .instead("write /bin/sh -c '…', or StandardOutput="),
        );
    }
}

/// The quote that is left open.
fn open_quote(value: Part<'_>) -> Option<Part<'_>> {
    let (mut open, mut escaped, mut boundary) = (None, false, true);
    for (at, c) in value.text.char_indices() {
        match (escaped, open, c) {
            (true, ..) => escaped = false,
            (_, _, '\\') => escaped = true,
            (_, Some((quote, _)), c) if quote == c => open = None,
            // 219 opens a quote only where a word begins (util.c, split).
            (_, None, '"' | '\'') if boundary => open = Some((c, at)),
            _ => {}
        }
        boundary = c.is_whitespace();
    }
    open.map(|(_, at)| value.cut(at..at + 1))
}
