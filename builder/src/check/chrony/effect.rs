//! Reports directives that chronyd 3.4 can parse but may be unable to carry out (conf.c,
//! parse_include; refclock.c; sources.c).

use super::words::words;
use crate::check::finding::Finding;
use crate::check::text::TextSpan;

/// The effect of a directive that chronyd parses but that makes chronyd exit afterwards.
pub(super) const STOPS: &str = "chronyd reads the file and then exits";

/// Reports a file that an include directive names without a pattern. chronyd must find such a file,
/// whereas a pattern need not match any file (conf.c, parse_include, CNF_ReadFile).
pub(super) fn include(rest: TextSpan<'_>) -> Option<Finding> {
    if rest.text.contains(['*', '?', '[']) || rest.text.is_empty() || words(rest).count() > 1 {
        return None;
    }
    let message = format!("chronyd needs the file {}", rest.text);
    let likely = ["/etc/", "/run/", "/usr/", "/var/"]
        .iter()
        .any(|folder| rest.text.starts_with(folder));
    let finding = if likely {
        Finding::warning("chrony/include", rest, message)
    } else {
        Finding::error("chrony/include", rest, message)
    };
    let finding = finding.effect("chronyd does not start if the file is missing");
    Some(finding.fix("write an absolute path, or a pattern, which need not match any file"))
}

/// Reports a time source that chronyd accepts but cannot resolve, and each option `maxsources` that
/// has no effect.
pub(super) fn source(kind: &str, rest: TextSpan<'_>, out: &mut Vec<Finding>) {
    let Some(host) = words(rest).next() else {
        return;
    };
    let good = host
        .text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
    if !good {
        out.push(
            Finding::warning(
                "chrony/host",
                host,
                format!("`{}` is not a host", host.text),
            )
            .effect("chronyd starts, and keeps trying to resolve the name")
            .fix("write a name or an address, without http:// or a port"),
        );
    }
    if kind != "pool" {
        for word in words(rest)
            .skip(1)
            .filter(|word| word.text.eq_ignore_ascii_case("maxsources"))
        {
            out.push(
                Finding::warning(
                    "chrony/option",
                    word,
                    format!("the option maxsources has no effect on {kind}"),
                )
                .effect("chronyd uses only one of the name's addresses")
                .fix("write `pool` instead of `server` or `peer`, or remove `maxsources`"),
            );
        }
    }
}

/// Checks the driver of a reference clock. chronyd looks up the driver after it has read the file
/// (refclock.c, RCL_AddRefclock).
pub(super) fn driver(rest: TextSpan<'_>, out: &mut Vec<Finding>) {
    let Some(name) = words(rest).next().filter(|_| words(rest).count() >= 2) else {
        return;
    };
    if !["SHM", "SOCK", "PPS", "PHC"].contains(&name.text) {
        let message = format!("chrony 3.4 has no driver `{}`", name.text);
        let finding = Finding::warning("chrony/refclock", name, message).effect(STOPS);
        out.push(finding.fix("write SHM, SOCK, PPS or PHC in capitals"));
    }
}
