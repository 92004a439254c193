//! Checks sets of capabilities, capabilities in libcap's text form, and SecureBits=.

use recipes::diagnostic::nearest;

use super::assignment::{Assignment, ignored_line, ignored_word};
use crate::check::finding::Finding;
use crate::check::systemd::number;
use crate::check::systemd::words::{Extract, Words, bare};
use crate::check::text::TextSpan;

/// The capabilities of kernel 3.10 (include/uapi/linux/capability.h, up to CAP_BLOCK_SUSPEND),
/// without CAP_.
const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT \
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE \
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND";

fn is_name(text: &str) -> bool {
    let name = text.to_ascii_uppercase();
    name.strip_prefix("CAP_")
        .is_some_and(|name| NAMES.split_whitespace().any(|known| known == name))
}

/// Checks a set of capabilities, each given as a name or a number. A `~` before the set means all
/// capabilities except those in the set (`config_parse_capability_set`).
pub(super) fn set(assignment: &Assignment<'_>, out: &mut Vec<Finding>) -> usize {
    let value = assignment.value;
    let mut words = Extract::quoted(value.strip("~").unwrap_or(value), " \t\n\r");
    // systemd always accepts the line, because even an empty set is valid.
    let accepted_count = 1;
    loop {
        let (name, span) = match words.next() {
            Ok(Some(word)) => word,
            Ok(None) => return accepted_count,
            Err(rest) => {
                out.push(super::split::quote(rest));
                return accepted_count;
            }
        };
        if is_name(&name) || number::int(&name).is_some_and(|number| number >= 0) {
            continue;
        }
        let upper = name.to_ascii_uppercase();
        if upper == "CAP_AUDIT_READ" {
            // The finding is only a warning, because systemd 219's own journald unit names
            // CAP_AUDIT_READ.
            let finding =
                Finding::warning("unit/capability", span, "kernel 3.10 has no CAP_AUDIT_READ");
            out.push(
                finding
                    .effect("the capability is neither granted nor kept")
                    .fix("remove it"),
            );
            continue;
        }
        let instead = match nearest(upper.trim_start_matches("CAP_"), NAMES.split_whitespace()) {
            _ if ["CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"].contains(&upper.as_str()) => {
                "write CAP_SYS_ADMIN, which includes this capability on kernel 3.10".to_owned()
            }
            Some(near) => format!("did you mean CAP_{near}?"),
            None => "remove it".to_owned(),
        };
        out.push(ignored_word("unit/capability", span, "a capability of kernel 3.10").fix(instead));
    }
}

/// Returns whether a value of Capabilities= is in libcap's text form (`cap_from_text` of libcap
/// 2.22): clauses such as `cap_chown,cap_kill=ep`.
pub(super) fn is_text(text: &str) -> bool {
    text.split_ascii_whitespace().all(is_clause)
}

fn is_clause(clause: &str) -> bool {
    let named = clause.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let names_end = clause.find(['=', '+', '-']).unwrap_or(clause.len());
    let (list, actions) = clause.split_at(names_end);
    let is_listed = |name: &str| {
        let number = name
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| number::unsigned_long(name));
        name.eq_ignore_ascii_case("all")
            || number.map_or_else(|| is_name(name), |n| n.is_some_and(|n| n < 64))
    };
    if (named && !list.split(',').all(is_listed)) || (!named && !list.is_empty()) {
        return false;
    }
    let flags = |text: &str| text.bytes().all(|byte| b"eip".contains(&byte));
    let mut rest = actions;
    if let Some(behind) = rest.strip_prefix('=') {
        // `=+` and `=-` are each parsed as a single operator.
        let (joined, behind) = behind
            .strip_prefix(['+', '-'])
            .map_or((false, behind), |behind| (true, behind));
        let end = behind.find(['+', '-']).unwrap_or(behind.len());
        if !flags(&behind[..end]) || (joined && (end == 0 || !named)) {
            return false;
        }
        rest = &behind[end..];
    }
    // The rest of the clause can contain only `+FLAGS` and `-FLAGS`. These are valid only if the
    // clause begins with the name of a capability.
    (rest.is_empty() && !actions.is_empty())
        || (named
            && !rest.is_empty()
            && rest[1..]
                .split(['+', '-'])
                .all(|part| !part.is_empty() && flags(part)))
}

/// Checks SecureBits= (`config_parse_exec_secure_bits`). systemd 219 stops at the first wrong word.
pub(super) fn secure_bits(assignment: &Assignment<'_>, out: &mut Vec<Finding>) -> usize {
    const BITS: [&str; 6] = [
        "keep-caps",
        "keep-caps-locked",
        "no-setuid-fixup",
        "no-setuid-fixup-locked",
        "noroot",
        "noroot-locked",
    ];
    let (words, rest) = Words::of(assignment.value).all();
    // systemd compares the text from the word's start to the next blank, so a quote after the word
    // is part of the compared text.
    let is_bit = |word: &&TextSpan<'_>| {
        let from = assignment
            .value
            .from(word.span().start - assignment.value.span().start);
        bare(from)
            .next()
            .is_some_and(|word| BITS.contains(&word.text))
    };
    if let Some(word) = words.iter().find(|word| !is_bit(word)) {
        out.push(ignored_line(
            "unit/value-word",
            assignment.key,
            *word,
            &format!("one or more of: {}", BITS.join(", ")),
        ));
        return 0;
    }
    out.extend(rest.map(super::split::quote));
    words.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_as_libcap_reads_them() {
        for text in [
            "",
            "=",
            "all=eip",
            "cap_chown,CAP_KILL=ep cap_mknod-e",
            "cap_chown=+ep",
            "=ep",
            "7=e",
            "cap_chown+e-p",
            "cap_chown=",
        ] {
            assert!(is_text(text), "{text}");
        }
        for text in [
            "cap_chown",
            "CAP_FOO=e",
            "+e",
            "=+e",
            "cap_chown=x",
            "cap_chown+",
            "cap_chown,=e",
            "64=e",
            "cap_chown=e=",
        ] {
            assert!(!is_text(text), "{text}");
        }
    }
}
