//! Checks the scripts of a kickstart: the program that runs them, the commands that they use, and
//! whether bash can parse them (anaconda 21.48.22.159, pyanaconda/kickstart.py, AnacondaKSScript;
//! lorax 19.7.28, runtime-cleanup.tmpl).

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::commands::{commands, defined_function};
use super::section::Section;
use crate::check::finding::Finding;
use crate::check::tables;
use crate::check::text::TextSpan;

/// Checks whether the installer has a script's interpreter and commands, and whether a line of a
/// shell script ends with a carriage return.
pub(super) fn check(section: &Section<'_>, out: &mut Vec<Finding>) {
    let name = section.name();
    // A %post without --nochroot runs on the installed system, which has all packages of the node.
    let in_installer = name != "%post" || section.header.has("--nochroot");
    let interpreter = section.header.value("--interpreter").unwrap_or("/bin/sh");
    let program = interpreter.rsplit('/').next().unwrap_or_default();
    if in_installer && tables::INSTALLER_ABSENT.contains(program) {
        let span = section.header.span();
        out.push(
            Finding::error(
                "kickstart/interpreter",
                span,
                format!("the installer does not have {program}"),
            )
            .effect("the script does not run")
            .fix("write the script for /bin/bash or /usr/bin/python"),
        );
    } else if in_installer && ["python3", "ruby", "zsh", "ksh"].contains(&program) {
        let span = section.header.span();
        out.push(
            Finding::error(
                "kickstart/interpreter",
                span,
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
fn carriage_return(span: TextSpan<'_>) -> Finding {
    Finding::error(
        "kickstart/carriage-return",
        span,
        "a carriage return is at the end of the line",
    )
    .effect("the shell reads the carriage return as part of the last word")
    .fix("end each line with only a line feed; dos2unix converts a file")
}

fn is_shell(interpreter: &str) -> bool {
    matches!(interpreter.rsplit('/').next(), Some("sh" | "bash"))
}

/// Reports each command that a script runs but that the installer does not have. The finding marks
/// the command's first use.
fn absent_commands(section: &Section<'_>, out: &mut Vec<Finding>) {
    let words = commands(section.body);
    let functions: BTreeSet<&str> = words
        .iter()
        .filter_map(|word| word.text.strip_suffix("()"))
        .chain(section.body.lines().filter_map(defined_function))
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
            || word.text.starts_with("/mnt/sysimage/")
            || functions.contains(name)
            || asked.contains(name)
            || !reported.insert(name)
        {
            continue;
        }
        let instead = match name {
            "gpg" | "gpg2" | "openssl" | "sha512sum" | "sha224sum" | "sha384sum" | "cksum"
            | "sum" => "use sha256sum with a pinned digest",
            "stat" => "use ls -l, or test the file with the command [",
            "diff" | "cmp" => "compare the digests that sha256sum prints",
            "base64" => "use python -c 'import base64 …'",
            "timeout" => "use curl --max-time, or run the command in the background and kill it",
            "useradd" | "usermod" | "groupadd" | "passwd" | "userdel" | "groupdel" | "groupmod" => {
                "use the commands `user`, `group` and `rootpw`, or a %post in the chroot"
            }
            "perl" => "use awk, sed or python (2.7)",
            "whoami" | "logname" | "who" | "users" => {
                "omit the command, because the script runs as root"
            }
            "hostid" | "nproc" => "read /proc",
            "install" => "use mkdir, cp, chmod and chown",
            "su" | "runuser" => "run the command in a %post in the chroot",
            _ => "run the command in a %post in the chroot, or avoid the command",
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

/// Checks a script with bash, if bash is installed.
pub(super) fn bash(section: &Section<'_>) -> Option<Finding> {
    if !is_shell(section.header.value("--interpreter").unwrap_or("/bin/sh"))
        || section.body.carriage_return().is_some()
    {
        return None;
    }
    let (line, message) = bash_says(section.body.text)?;
    let span = section
        .body
        .lines()
        .nth(line - 1)
        .map_or(section.header.span(), |line| line.trim().span());
    Some(
        Finding::error(
            "kickstart/bash",
            span,
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
