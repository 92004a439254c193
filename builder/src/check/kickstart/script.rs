//! Checks the scripts of a kickstart: the program that runs them, the commands that they use, and
//! whether bash can parse them (anaconda 21.48.22.159, pyanaconda/kickstart.py, AnacondaKSScript;
//! lorax 19.7.28, runtime-cleanup.tmpl).

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, Stdio};

use super::section::Section;
use crate::check::finding::Finding;
use crate::check::tables;
use crate::check::text::TextSpan;

/// Checks a script against the installer's commands.
pub(super) fn check(section: &Section<'_>, out: &mut Vec<Finding>) {
    let name = section.name();
    // In %post, all packages of the node are installed.
    let in_installer = name != "%post" || section.header.has("--nochroot");
    let interpreter = section.header.value("--interpreter").unwrap_or("/bin/sh");
    let program = interpreter.rsplit('/').next().unwrap_or_default();
    if in_installer && tables::INSTALLER_ABSENT.contains(program) {
        let place = section.header.span();
        out.push(
            Finding::error(
                "kickstart/interpreter",
                place,
                format!("the installer does not have {program}"),
            )
            .effect("the script does not run")
            .fix("write the script for /bin/bash or /usr/bin/python"),
        );
    } else if in_installer && ["python3", "ruby", "zsh", "ksh"].contains(&program) {
        let place = section.header.span();
        out.push(
            Finding::error(
                "kickstart/interpreter",
                place,
                format!("the installer does not have {program}"),
            )
            .effect("the script does not run")
            .fix("write the script for /bin/bash, or /usr/bin/python, which is Python 2.7"),
        );
    }
    if is_shell(interpreter) {
        out.extend(section.body.carriage_return().map(carriage_return));
    }
    if in_installer && is_shell(interpreter) {
        absent_commands(section, out);
    }
}

/// Returns the finding for a carriage return, which pykickstart keeps in the lines of a script.
fn carriage_return(place: TextSpan<'_>) -> Finding {
    Finding::error(
        "kickstart/carriage-return",
        place,
        "a carriage return is at the end of the line",
    )
    .effect("the shell reads the carriage return as part of the last word")
    .fix("end each line with only a line feed; dos2unix converts a file")
}

fn is_shell(interpreter: &str) -> bool {
    matches!(interpreter.rsplit('/').next(), Some("sh" | "bash"))
}

/// Reports each command that a script runs but that the installer does not have, at its first use.
fn absent_commands(section: &Section<'_>, out: &mut Vec<Finding>) {
    let words = commands(section.body);
    let functions: BTreeSet<&str> = words
        .iter()
        .filter_map(|word| word.text.strip_suffix("()"))
        .collect();
    // A script that tests whether a command exists can also run without that command.
    let asked: BTreeSet<&str> = section
        .body
        .lines()
        .filter(|line| line.text.contains("command -v ") || line.text.contains("type "))
        .flat_map(|line| line.text.split(|c: char| c.is_whitespace() || c == ';'))
        .collect();
    let mut reported = BTreeSet::new();
    for word in words {
        let name = word.text.rsplit('/').next().unwrap_or_default();
        if !tables::INSTALLER_ABSENT.contains(name)
            || functions.contains(name)
            || asked.contains(name)
            || !reported.insert(name)
        {
            continue;
        }
        let instead = match name {
            "gpg" | "gpg2" | "openssl" | "sha512sum" | "sha224sum" | "sha384sum" | "cksum"
            | "sum" => "use sha256sum with a pinned digest",
            "stat" => "use ls -l, or test the file with [",
            "diff" | "cmp" => "compare the output of sha256sum",
            "base64" => "use python -c 'import base64 …'",
            "timeout" => "use curl --max-time, or run the command in the background and kill it",
            "useradd" | "usermod" | "groupadd" | "passwd" | "userdel" | "groupdel" | "groupmod" => {
                "use the commands user, group and rootpw, or a %post in the chroot"
            }
            "perl" => "use awk, sed or python (2.7)",
            "whoami" | "logname" | "who" | "users" => "the script runs as root",
            "hostid" | "nproc" => "read /proc",
            "install" => "use mkdir, cp, chmod and chown",
            "su" | "runuser" => "run the command in a %post in the chroot",
            _ => "run the command in a %post in the chroot, or avoid it",
        };
        out.push(
            Finding::error(
                "kickstart/absent-command",
                word,
                format!("the installer does not have {name}"),
            )
            .effect("the command fails with status 127: command not found")
            .fix(instead),
        );
    }
}

/// Returns the words in command position, and `NAME()` for functions. This scanner does not parse
/// the complete shell grammar. It skips the contents of quotes, comments and heredocs, and any
/// command that is the value of a variable.
fn commands(body: TextSpan<'_>) -> Vec<TextSpan<'_>> {
    let mut found = Vec::new();
    let mut heredoc: Option<String> = None;
    // The closing delimiters of the open quotes and parentheses: `\'`, `"`, or `)` for a `$(` or
    // `(`.
    let mut open: Vec<char> = Vec::new();
    for line in body.lines() {
        if let Some(end) = &heredoc {
            if line.text.trim_start_matches('\t') == end {
                heredoc = None;
            }
            continue;
        }
        let quoted = |open: &[char]| open.last().is_some_and(|c| *c != ')');
        let (mut expecting, mut start, mut escaped) = (!quoted(&open), None, false);
        for (at, c) in line.text.char_indices().chain([(line.text.len(), '\n')]) {
            let was_escaped = escaped;
            escaped = !escaped && c == '\\' && open.last() != Some(&'\'');
            if quoted(&open) {
                expecting |= opens_command(&mut open, &line.text[..at], c, was_escaped);
                continue;
            }
            if is_word(c) {
                start.get_or_insert(at);
                continue;
            }
            if let Some(from) = start.take() {
                let word = line.slice(from..at);
                let goes_on =
                    KEYWORDS.contains(&word.text) || (assigns(word.text) && c.is_whitespace());
                if expecting {
                    let is_closed = c == ')' && open.last() != Some(&')');
                    found.extend(command_at(line, from..at, !goes_on && !is_closed));
                }
                expecting = expecting && goes_on;
            }
            match c {
                '#' if line.text[..at]
                    .chars()
                    .next_back()
                    .is_none_or(|c| c.is_whitespace() || c == ';') =>
                {
                    break;
                }
                '\'' | '"' if !was_escaped => {
                    open.push(c);
                    expecting = false;
                }
                ')' if open.last() == Some(&')') => {
                    open.pop();
                    expecting = false;
                }
                '(' if !was_escaped => {
                    open.push(')');
                    expecting = true;
                }
                ';' | '|' | '&' | '`' if !was_escaped => expecting = true,
                '<' => heredoc = heredoc.or_else(|| heredoc_end(line.text, at)),
                _ => {}
            }
        }
    }
    found
}

/// Handles one more character of quoted text, which may close the quote. Returns whether the
/// character opens a command, as `$(` does.
fn opens_command(open: &mut Vec<char>, before: &str, c: char, was_escaped: bool) -> bool {
    if was_escaped {
        return false;
    }
    if open.last() == Some(&c) {
        open.pop();
        return false;
    }
    let opens = open.last() == Some(&'"') && c == '(' && before.ends_with('$');
    if opens {
        open.push(')');
    }
    opens
}

/// Returns the function or command that starts at a word in command position. `can_run` is true if
/// the word is neither a keyword nor a pattern of a `case`.
fn command_at(line: TextSpan<'_>, word: Range<usize>, can_run: bool) -> Option<TextSpan<'_>> {
    if line.text[word.end..].trim_start().starts_with("()") {
        return Some(line.slice(word.start..(word.end + 2).min(line.text.len())));
    }
    let word = line.slice(word);
    (can_run && !assigns(word.text)).then_some(word)
}

/// Words that are followed by a command.
const KEYWORDS: [&str; 13] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec", "env",
    "command",
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_-./+=$@:%~[]{}!?*,".contains(c)
}

fn assigns(word: &str) -> bool {
    let name = word
        .split_once('=')
        .map_or("", |(name, _)| name.trim_end_matches('+'));
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the delimiter of the heredoc whose `<<` begins at `at`.
fn heredoc_end(line: &str, at: usize) -> Option<String> {
    let begins = line[at..].starts_with("<<")
        && !line[at..].starts_with("<<<")
        && !line[..at].ends_with('<');
    let word = begins.then(|| line[at + 2..].trim_start_matches('-').trim_start())?;
    let name = word
        .trim_start_matches(['\'', '"', '\\'])
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Checks a script with bash, if bash is installed.
pub(super) fn bash(section: &Section<'_>) -> Option<Finding> {
    if !is_shell(section.header.value("--interpreter").unwrap_or("/bin/sh"))
        || section.body.carriage_return().is_some()
    {
        return None;
    }
    let (line, message) = bash_says(section.body.text)?;
    let place = section
        .body
        .lines()
        .nth(line - 1)
        .map_or(section.header.span(), |line| line.trim().span());
    Some(
        Finding::error(
            "kickstart/bash",
            place,
            format!("bash cannot parse {}: {message}", section.name()),
        )
        .effect("bash runs the commands above this line and then stops")
        .fix("correct the syntax; `bash -n` reports the same error"),
    )
}

/// Returns the first error that `bash -n` reports, with its line.
pub(in crate::check) fn bash_says(script: &str) -> Option<(usize, String)> {
    let mut child = Command::new("bash")
        .arg("-n")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // This write cannot deadlock, because bash reads the whole script before it writes more
    // messages than fit in the pipe's buffer.
    let written = child.stdin.take()?.write_all(script.as_bytes());
    let output = child.wait_with_output().ok()?;
    if output.status.success() && written.is_ok() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let rest = text.lines().next()?.split_once("line ")?.1;
    let (line, message) = rest.split_once(": ")?;
    Some((line.parse::<usize>().ok()?.max(1), message.to_owned()))
}
