//! The forms of values, as systemd 219 takes them (src/core/load-fragment.c, src/shared/util.c).

use super::super::finding::Finding;
use super::super::text::Part;
use super::amount;
use recipes::diagnostic::nearest;

/// What is wrong with the value of a directive of this form. An empty value is right: it resets what was set before.
pub(super) fn check(form: &str, key: &str, value: Part<'_>, out: &mut Vec<Finding>) {
    if value.text.is_empty() {
        return;
    }
    specifiers(key, value, out);
    match form {
        "text" | "uris" => {}
        "bool" => words(key, value, form, out),
        "span" => {
            expect(amount::is_span(value.text), "value-form", value, "a time, as in 10, 5min 20s or infinity", out);
        }
        "path" => path(value, out),
        "optional-path" => path(value.strip("-").unwrap_or(value), out),
        "paths" | "directories" => {
            value.words().for_each(|word| path(word.strip("-").filter(|_| form == "directories").unwrap_or(word), out));
        }
        "names" => {
            let whole = |word: &Part<'_>| !word.text.contains('/');
            for word in value.words().filter(|word| !whole(word)) {
                expect(false, "value-form", word, "a name without slashes: it becomes a folder right below /run", out);
            }
        }
        "mode" => expect(
            u32::from_str_radix(value.text, 8).is_ok_and(|mode| mode <= 0o7777),
            "value-form",
            value,
            "permissions in octal, as in 0750",
            out,
        ),
        "uint" => expect(value.text.parse::<u32>().is_ok(), "value-form", value, "a whole number", out),
        "size" => {
            expect(amount::is_size(value.text), "value-form", value, "a number of bytes, as in 1048576 or 512M", out);
        }
        "limit" | "limit-bytes" | "limit-time" => amount::limit(form, value, out),
        "condition-path" => path(condition(value), out),
        "condition-bool" => words(key, condition(value), "bool", out),
        "environment" => environment(value, out),
        "capabilities" => capabilities(value, out),
        "families" => families(value, out),
        "syscalls" => syscalls(value, out),
        "statuses" => statuses(value, out),
        "calendar" => calendar(value, out),
        "units" => value.words().for_each(|word| unit_name(key, word, out)),
        "exec" => super::exec::check(key, value, out),
        _ if form.starts_with("int:") => amount::integer(form, value, out),
        _ => words(key, value, form, out),
    }
}

pub(super) fn is_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn expect(right: bool, rule: &'static str, value: Part<'_>, expected: &str, out: &mut Vec<Finding>) {
    if !right {
        let name = if rule.contains('/') { rule } else { "unit/value-form" };
        let finding = Finding::error(name, value, format!("`{}` is no value that 219 takes here", value.text));
        // Of a list 219 leaves out only the word.
        let what = if ["unit/environment", "word-form"].contains(&rule) {
            "the word is ignored"
        } else {
            "the line is ignored"
        };
        out.push(finding.does(what).instead(format!("expected {expected}")));
    }
}

/// One of a few words; `bool` among them stands for all its spellings.
fn words(key: &str, value: Part<'_>, form: &str, out: &mut Vec<Finding>) {
    let words: Vec<&str> = form.split('|').collect();
    if words.contains(&value.text) || (words[0] == "bool" && is_bool(value.text).is_some()) {
        return;
    }
    let shown = form.replacen("bool", "yes|no", 1).replace('|', ", ");
    let mut finding =
        Finding::error("unit/value-word", value, format!("{key}={} is none of the words that 219 knows", value.text));
    finding = finding.does(match (key, value.text) {
        ("ProtectSystem" | "ProtectHome", _) => "the line is ignored: nothing is protected",
        ("Type", _) => "the line is ignored: the type is what the rest suggests",
        _ => "the line is ignored",
    });
    let hint = match (key, value.text) {
        ("ProtectSystem", "strict") => {
            Some("strict came with systemd 232: write ProtectSystem=full, ReadOnlyDirectories=/ and ReadWriteDirectories= for what it writes".to_owned())
        }
        ("ProtectHome", "tmpfs") => Some("tmpfs came later: write ProtectHome=yes".to_owned()),
        ("Type", "exec") => Some("Type=exec came with systemd 240: write Type=simple".to_owned()),
        ("Type", "notify-reload") => Some("it came later: write Type=notify, and ExecReload=".to_owned()),
        ("StandardOutput" | "StandardError", text) if text.starts_with("append:") || text.starts_with("file:") || text.starts_with("truncate:") => {
            Some("files came with systemd 236 and 240: write journal, or let a shell redirect it".to_owned())
        }
        (_, text) => nearest(text, words.iter().copied().filter(|word| *word != "bool")).map(|near| format!("did you mean {near}?")),
    };
    out.push(finding.instead(hint.unwrap_or_else(|| format!("expected one of: {shown}"))));
}

fn path(value: Part<'_>, out: &mut Vec<Finding>) {
    let right = value.text.starts_with('/') || value.text.starts_with('%');
    expect(right, "unit/relative-path", value, "a path from the root", out);
}

fn condition(value: Part<'_>) -> Part<'_> {
    let value = value.strip("|").unwrap_or(value);
    value.strip("!").unwrap_or(value)
}

/// Specifiers that came later stay as they are: `%S` is then a folder of that name.
fn specifiers(key: &str, value: Part<'_>, out: &mut Vec<Finding>) {
    const LATER: &[(char, &str)] = &[
        ('S', "/var/lib"),
        ('C', "/var/cache"),
        ('L', "/var/log"),
        ('E', "/etc"),
        ('T', "/tmp"),
        ('V', "/var/tmp"),
        ('j', "the last part of the name"),
        ('J', "the last part of the name"),
        ('l', "%H"),
    ];
    let mut rest = value;
    while let Some(at) = rest.text.find('%') {
        let name = rest.text[at + 1..].chars().next();
        let found = LATER.iter().find(|(letter, _)| Some(*letter) == name);
        // A date's format has the same letters, and means them.
        if let (Some((letter, instead)), false) = (found, value.text.contains('+') || key.starts_with("OnCalendar")) {
            let place = rest.cut(at..at + 2);
            out.push(
                Finding::error("unit/specifier", place, format!("219 does not know the specifier %{letter}"))
                    .does("it stays as these two characters")
                    .instead(format!("write {instead}")),
            );
        }
        rest = rest.from(at + 1 + name.map_or(0, char::len_utf8));
    }
}

fn environment(value: Part<'_>, out: &mut Vec<Finding>) {
    // Quotes keep spaces together; only words that begin a new assignment are looked at.
    let mut quote = None;
    let mut fresh = true;
    let mut start = 0;
    for (at, c) in value.text.char_indices().chain([(value.text.len(), ' ')]) {
        if c.is_whitespace() && quote.is_none() {
            if !fresh {
                let word = value.cut(start..at);
                let bare = word.text.trim_matches(['"', '\'']);
                let name = bare.split('=').next().unwrap_or_default();
                let right = bare.contains('=')
                    && !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                expect(
                    right,
                    "unit/environment",
                    word,
                    "NAME=VALUE; with spaces: \"NAME=VALUE\", the quotes around both",
                    out,
                );
            }
            fresh = true;
            continue;
        }
        if fresh {
            (start, fresh) = (at, false);
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
    }
}

/// The capabilities of kernel 3.10 (include/uapi/linux/capability.h, up to CAP_BLOCK_SUSPEND).
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT \
    SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE \
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND";

fn capabilities(value: Part<'_>, out: &mut Vec<Finding>) {
    for word in value.strip("~").unwrap_or(value).words() {
        let name = word.text.to_ascii_uppercase();
        let known =
            name.strip_prefix("CAP_").is_some_and(|name| CAPABILITIES.split_whitespace().any(|known| known == name));
        if !known {
            let finding =
                Finding::error("unit/capability", word, format!("there is no capability {} on 3.10", word.text));
            let near = nearest(name.trim_start_matches("CAP_"), CAPABILITIES.split_whitespace());
            let instead = match (name.as_str(), near) {
                ("CAP_BPF" | "CAP_PERFMON" | "CAP_CHECKPOINT_RESTORE", _) => {
                    "it was a part of CAP_SYS_ADMIN then".to_owned()
                }
                (_, Some(near)) => format!("did you mean CAP_{near}?"),
                _ => "take it away".to_owned(),
            };
            out.push(finding.does("the word is ignored").instead(instead));
        }
    }
}

fn families(value: Part<'_>, out: &mut Vec<Finding>) {
    for word in value.strip("~").unwrap_or(value).words().filter(|word| !word.text.starts_with("AF_")) {
        expect(false, "word-form", word, "names as AF_UNIX AF_INET AF_INET6; `none` came later", out);
    }
}

fn syscalls(value: Part<'_>, out: &mut Vec<Finding>) {
    for word in value.strip("~").unwrap_or(value).words() {
        if word.text.starts_with('@') {
            out.push(
                Finding::error("unit/syscall-group", word, format!("219 has no group {} of system calls", word.text))
                    .does("the word is ignored: nothing of the group is in the filter")
                    .instead("groups came with systemd 231: write the calls by name"),
            );
        } else if word.text.contains(':') {
            expect(false, "word-form", word, "a name alone; an errno of its own for each call came later", out);
        }
    }
}

fn statuses(value: Part<'_>, out: &mut Vec<Finding>) {
    for word in value.words() {
        let signal = word.text.strip_prefix("SIG").unwrap_or(word.text);
        let right = word.text.parse::<u8>().is_ok()
            || (!signal.is_empty()
                && signal.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
                && signal.starts_with(|c: char| c.is_ascii_uppercase())
                && !signal.starts_with("EX"));
        expect(
            right,
            "value-form",
            word,
            "exit codes from 0 to 255 and names of signals; names of exit codes came later",
            out,
        );
    }
}

fn calendar(value: Part<'_>, out: &mut Vec<Finding>) {
    let place = |text: &str| value.text.find(text).map(|at| value.cut(at..at + text.len()));
    if let Some(dots) = place("..") {
        let finding = Finding::error("unit/calendar", dots, "a range with .. came with systemd 231");
        out.push(
            finding
                .does("the line is ignored: the timer does not run")
                .instead("write Mon-Fri for days; list the numbers of anything else: 1,2,3"),
        );
    } else if let Some(tilde) = place("~") {
        let finding = Finding::error("unit/calendar", tilde, "days from the end of a month came with systemd 233");
        out.push(
            finding
                .does("the line is ignored: the timer does not run")
                .instead("write a day that each month has, as *-*-28"),
        );
    } else if let Some(zone) = value
        .words()
        .last()
        .filter(|word| word.text.contains('/') && word.text.starts_with(|c: char| c.is_ascii_uppercase()))
    {
        let finding = Finding::error("unit/calendar", zone, "a time zone in a time came with systemd 235");
        out.push(
            finding.does("the line is ignored: the timer does not run").instead("write the node's own time, or UTC"),
        );
    }
}

fn unit_name(key: &str, word: Part<'_>, out: &mut Vec<Finding>) {
    const KINDS: [&str; 12] = [
        "service",
        "socket",
        "target",
        "device",
        "mount",
        "automount",
        "swap",
        "timer",
        "path",
        "slice",
        "scope",
        "busname",
    ];
    let right = word
        .text
        .rsplit_once('.')
        .is_some_and(|(name, kind)| !name.is_empty() && (KINDS.contains(&kind) || kind == "snapshot"));
    if !right {
        let finding = Finding::error("unit/unit-name", word, format!("`{}` in {key}= is no name of a unit", word.text));
        out.push(
            finding
                .does("ignored")
                .instead(format!("write the kind as well, as in {}.service", word.text.trim_end_matches('.'))),
        );
    }
}
