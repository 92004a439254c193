//! Checks shell scripts. The kickstart runs the scripts of `[files] post` with `bash -eu`,
//! regardless of their first line.

use super::finding::Finding;
use super::kickstart;
use super::text::TextSpan;

/// The folder, on the node, that contains the scripts of `[files] post`.
const POST: &str = "/etc/firstboot/post/";

/// Returns the program in a script's first line, or `None` if the script does not name one.
fn program(text: &str) -> Option<&str> {
    let mut words = text.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let first = words.next()?.rsplit('/').next()?;
    if first == "env" {
        words.next()
    } else {
        Some(first)
    }
}

fn is_shell(text: &str) -> bool {
    program(text).is_none_or(|program| ["sh", "bash"].contains(&program))
}

/// Checks a script without running bash.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let whole = TextSpan::whole(text);
    let mut out = Vec::new();
    let first = whole.lines().next().unwrap_or(whole);
    match program(text) {
        Some(program) if path.starts_with(POST) && !is_shell(text) => {
            let message = format!("this is a script for {program}");
            let finding = Finding::error("script/interpreter", first, message);
            out.push(
                finding
                    .effect("the installer runs every script of `post` with bash, so the script fails, and the installation ends with an error")
                    .fix("write the script in bash, or add this script to the overlay and start it from a bash script"),
            );
        }
        _ if !is_shell(text) => {}
        _ => out.extend(whole.carriage_return().map(|span| {
            Finding::error(
                "script/carriage-return",
                span,
                "a carriage return is at the end of the line",
            )
            .effect("bash reads the carriage return as part of the last word")
            .fix("end each line with only a line feed; dos2unix converts a file")
        })),
    }
    out
}

/// Returns a finding if bash cannot parse a shell script.
pub(super) fn bash(text: &str) -> Option<Finding> {
    if !is_shell(text) || TextSpan::whole(text).carriage_return().is_some() {
        return None;
    }
    let (line, message) = kickstart::bash_says(text)?;
    let span = TextSpan::whole(text)
        .lines()
        .nth(line - 1)
        .map_or(0..0, |line| line.trim().span());
    let finding = Finding::error(
        "script/bash",
        span,
        format!("bash cannot parse the script: {message}"),
    );
    Some(
        finding
            .effect("bash runs the commands above this line and then stops")
            .fix("correct the syntax; `bash -n` reports the same error"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(path, text)
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn a_post_script_must_be_a_shell_script() {
        let post = "/etc/firstboot/post/01-a";
        for text in [
            "true\n",
            "#!/bin/sh\n",
            "#! /usr/bin/env bash\n",
            "#!/bin/bash -x\n",
            "",
            "#!\n",
        ] {
            assert_eq!(rules(post, text), [""; 0], "{text}");
        }
        for text in [
            "#!/usr/bin/python\nimport os\n",
            "#!/usr/bin/env perl\n",
            "#!/bin/csh\n",
        ] {
            assert_eq!(rules(post, text), ["script/interpreter"], "{text}");
            assert_eq!(rules("/usr/local/bin/a.sh", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_carriage_return_at_the_end_of_a_command_is_found() {
        assert_eq!(rules("/a.sh", "#!/bin/sh\r\n# a\r\n\necho a\n"), [""; 0]);
        assert_eq!(
            rules("/a.sh", "#!/bin/sh\r\nuseradd a\r\n"),
            ["script/carriage-return"]
        );
    }
}
