//! Reads the settings of a sysctl.d file.

use crate::check::finding::Finding;
use crate::check::systemd::words::strip;
use crate::check::text::TextSpan;

/// A setting, `KEY = VALUE`. The key is a path below `/proc/sys`, in which dots and slashes are
/// swapped.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) key: String,
    pub(super) span: TextSpan<'a>,
    pub(super) value: TextSpan<'a>,
}

/// The longest line, in bytes, that systemd 219 reads in one piece (glibc's LINE_MAX, less the line
/// end and the NUL).
const MAX_LINE_BYTES: usize = 2046;

pub(super) fn read<'a>(text: &'a str, out: &mut Vec<Finding>) -> Vec<Setting<'a>> {
    let mut settings = Vec::new();
    for line in TextSpan::whole(text).split('\n').map(strip) {
        if line.text.len() > MAX_LINE_BYTES {
            out.push(
                Finding::error(
                    "sysctl/no-assignment",
                    line,
                    format!("the line has more than {MAX_LINE_BYTES} bytes"),
                )
                .effect("systemd 219 reads the line in pieces, and treats each piece as a line")
                .fix("write a shorter line"),
            );
            continue;
        }
        if line.text.is_empty() || line.text.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            out.push(
                Finding::error(
                    "sysctl/no-assignment",
                    line,
                    "the line is neither a comment nor KEY = VALUE",
                )
                .effect(
                    "systemd-sysctl ignores the line, and exits with an error after the last line",
                )
                .fix("write KEY = VALUE on one line; a line cannot be continued"),
            );
            continue;
        };
        let (key, value) = (strip(key), strip(value));
        // If the first separator is a slash, slashes separate the names and dots are part of the
        // names.
        let slashes = key
            .text
            .find(['/', '.'])
            .is_some_and(|at| key.text[at..].starts_with('/'));
        let swap = |c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        };
        let name = if slashes {
            key.text.chars().map(swap).collect()
        } else {
            key.text.to_owned()
        };
        settings.push(Setting {
            key: name,
            span: key,
            value,
        });
    }
    settings
}
